"""What building takes, found for targets of every kind."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import targets
from targets import MissingTool, Target, load_target
from targets.toolchain.tools import Tools, find_tools

ROOT = Path(targets.__file__).parents[1]


def tools_of(target: Target, dtype: str = "float32") -> Tools:
    try:
        return find_tools(target, dtype)
    except MissingTool as missing:
        pytest.skip(str(missing))


def test_this_machine_needs_none(local_cpu: Target) -> None:
    assert find_tools(local_cpu) == Tools(None, None)
    Tools().install()  # nothing


def test_a_board_with_a_cpu_needs_a_linker() -> None:
    tools = tools_of(load_target("raspberry-pi-4"))
    assert tools.linker is not None
    assert tools.cuda is None


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("name", "arch", "major"),
    [("jetson-xavier", "sm_72", 11), ("jetson-orin", "sm_87", 12), ("jetson-orin-jetpack5", "sm_87", 11)],
)
def test_a_board_with_a_gpu_needs_its_compiler_too(name: str, arch: str, major: int, dtype: str) -> None:
    tools = tools_of(load_target(name), dtype)
    assert tools.linker is not None
    assert tools.cuda is not None
    assert (tools.cuda.arch, tools.cuda.version[0]) == (arch, major)
    assert pickle.loads(pickle.dumps(tools)) == tools


def test_no_cuda_runtime_of_tvm_is_named_before_anything_is_built(tmp_path: Path) -> None:
    script = "import targets\nfrom targets.toolchain.tools import find_tools\n"
    script += "find_tools(targets.load_target('jetson-xavier'))"
    tools_of(load_target("jetson-xavier"))
    for name in ("gcc", "g++"):  # the linker is there, a compiler for this machine is not
        found = shutil.which(f"aarch64-linux-gnu-{name}")
        if found:
            (tmp_path / Path(found).name).symlink_to(found)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "PATH": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        pytest.skip("this machine has NVIDIA's libraries")
    assert done.stderr.splitlines()[-1] == (
        "targets.errors.MissingTool: TVM's CUDA runtime does not load here, and without it TVM writes no "
        "machine code for GPUs: there are no CUDA libraries and no C compiler to make stand-ins; "
        "on Debian and Ubuntu: apt install gcc"
    )
