"""Modules for the emulated GPU leave the house as such, and as nothing else."""

from pathlib import Path
from typing import Any

import pytest

from cost_models.errors import LoweringError
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import export
from cost_models.schedules.default import schedule_default
from cost_models.tvm_import import tvm
from targets import TargetError, load_target
from targets.toolchain.cuda_compiler import CudaCompiler, machine_code
from targets.toolchain.emulated_compiler import EmulatedCompiler, find_emulated_compiler
from targets.toolchain.tools import Tools, find_tools

from ..some_kernels import relu

REAL = CudaCompiler(Path("libnvrtc.so"), (11, 8), "sm_72")


@pytest.fixture(scope="module")
def executable() -> Any:
    try:
        tools = find_tools(load_target("emulated-cuda"), "float16")
    except TargetError as reason:
        pytest.skip(str(reason))
    tools.install()
    target = load_target("emulated-cuda").tvm_target()
    return tvm.compile(schedule_default(kernel_module(relu(2, 3, 5), target), target), target)


def test_the_emulated_gpus_code_is_exported_for_it_alone(executable: Any, tmp_path: Path) -> None:
    path = tmp_path / "kernel.so"
    export(executable, path, Tools(None, find_emulated_compiler("sm_72")))
    assert machine_code(path.read_bytes()) == ["emulated sm_72"]
    for compiler, allowed in ((REAL, "sm_72"), (find_emulated_compiler("sm_87"), "emulated sm_87")):
        said = f"holds emulated sm_72 for the GPU, allowed: machine code for {allowed} alone"
        with pytest.raises(LoweringError, match=said):
            export(executable, path, Tools(None, compiler))
        assert not path.exists()


def test_source_and_other_code_are_not_the_emulated_gpus() -> None:
    assert machine_code(b'extern "C" __global__') == []
    assert EmulatedCompiler("g++", "sm_72").code not in machine_code(b"emulated CUDA code for sm_87\0")


def test_without_a_cpp_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(TargetError, match=r"^no C\+\+ compiler on this machine, .*: apt install g\+\+$"):
        find_tools(load_target("emulated-cuda"))
