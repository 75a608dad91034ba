"""Stand-ins for NVIDIA's libraries, in processes of their own: a library once loaded stays."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import targets

ROOT = Path(targets.__file__).parents[1]

PRELOADED = """
import ctypes
from targets import cuda_stand_in
for name in cuda_stand_in._SOURCES:
    ctypes.CDLL(str(cuda_stand_in._stand_in(name)))
"""
ASK_TVM = """
from targets.toolchain.tools import has_cuda_runtime
from targets.tvm_import import tvm
print(has_cuda_runtime(), bool(tvm.cuda(0).exist))
"""
ASK_DRIVER = """
from targets import cuda_stand_in
print(cuda_stand_in.driver_version(), cuda_stand_in.has_driver(), cuda_stand_in.why_no_gpu())
"""


def python(script: str, **environ: str) -> str:
    """What a script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def driver(folder: Path, version: int, failed: int = 0) -> str:
    """The folder of a libcuda.so.1 that says so of its version."""
    source = folder / "driver.c"
    source.write_text(f"int cuDriverGetVersion(int *version) {{ *version = {version}; return {failed}; }}\n")
    command = ["gcc", "-shared", "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so.1"), str(source)]
    subprocess.run(command, check=True)
    return str(folder)


def test_tvm_loads_its_cuda_runtime_with_stand_ins_and_finds_no_gpu() -> None:
    assert python(PRELOADED + ASK_TVM) == "True False"


def test_tvm_loads_its_cuda_runtime_with_what_this_machine_has() -> None:
    assert python(ASK_TVM).startswith("True ")


def test_stand_ins_are_no_driver() -> None:
    said = python(PRELOADED + ASK_DRIVER)
    assert said == "None False NVIDIA's driver (libcuda.so.1) is not installed"


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            12040,
            "(12, 4) True NVIDIA's driver serves CUDA 12.4, TVM needs one for CUDA 13.0 or newer; update it",
        ),
        (
            13010,
            "(13, 1) True libcudart.so.13 is not installed; install it: pip install 'squeezenas-tvm[cuda13]'",
        ),
    ],
)
def test_why_a_driver_is_not_enough(version: int, said: str, tmp_path: Path) -> None:
    runtime = "ctypes.CDLL(str(cuda_stand_in._stand_in('libcudart.so.13')))"
    script = f"import ctypes\nfrom targets import cuda_stand_in\n{runtime}\n{ASK_DRIVER}"
    assert python(script, LD_LIBRARY_PATH=driver(tmp_path, version)) == said


def test_a_driver_that_answers_with_an_error_is_none(tmp_path: Path) -> None:
    """So do the stub libraries of CUDA toolkits."""
    said = python(ASK_DRIVER, LD_LIBRARY_PATH=driver(tmp_path, 13000, failed=34))
    assert said.startswith("None False ")


def test_they_are_built_once(tmp_path: Path) -> None:
    script = "from targets import cuda_stand_in as c; print(*map(c._stand_in, c._SOURCES))"
    first = python(script, XDG_CACHE_HOME=str(tmp_path)).split()
    assert all(Path(path).is_file() and Path(path).is_relative_to(tmp_path) for path in first)
    before = [Path(path).stat().st_ino for path in first]
    assert python(script, XDG_CACHE_HOME=str(tmp_path), PATH="").split() == first  # without the compiler
    assert [Path(path).stat().st_ino for path in first] == before
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["libcuda.so.1", "libcudart.so.13"]


@pytest.mark.parametrize("lacking", ["compiler", "folder"])
def test_without_compiler_or_folder_tvm_goes_without_cuda(lacking: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    if lacking == "folder":
        cache.write_text("a file")
    path = "" if lacking == "compiler" else os.environ["PATH"]
    loads = python(
        "import ctypes\ntry: print(bool(ctypes.CDLL('libcuda.so.1')))\nexcept OSError: print(False)"
    )
    if loads == "True":
        pytest.skip("this machine has an NVIDIA driver")
    assert python(ASK_TVM, XDG_CACHE_HOME=str(cache), PATH=path) == "False False"


def test_a_compiler_that_fails_stops_nobody(tmp_path: Path) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    python(ASK_TVM, XDG_CACHE_HOME=str(tmp_path / "cache"), PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_home_may_be_missing() -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    unset = "import os; os.environ.pop('HOME', None); os.environ.pop('XDG_CACHE_HOME', None)\n"
    python(unset + ASK_TVM)
