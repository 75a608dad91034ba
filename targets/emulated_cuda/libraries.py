"""The emulated GPU's libraries: built once by the host's C++ compiler, kept in the user's cache.

Whoever starts a process that is to run kernels on the emulated GPU sets `VARIABLE` to its architecture; that
process loads these libraries before TVM, in the place of NVIDIA's, and never sees a real GPU.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from targets.emulated_cuda.gpus import GPUS
from targets.errors import CompileError, MissingTool
from targets.support.partial import partial_folder

VARIABLE = "SQUEEZENAS_EMULATED_GPU"
DEVICE = Path(__file__).parent / "device"  # the C++ of the device and of what its kernels include
RUNTIME = "libcudart.so.13"
_DRIVER = "libcuda.so.1"
_COMPILERS = ("g++", "clang++", "c++")
_OPTIONS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-pthread", "-fno-exceptions")


def host_compiler() -> str:
    """This machine's C++ compiler. Raises MissingTool."""
    named = os.environ.get("CXX")
    found = next(filter(None, map(shutil.which, [named] if named else _COMPILERS)), None)
    if found is None:
        raise MissingTool(
            "no C++ compiler on this machine, which the emulated GPU needs for its kernels; "
            "on Debian and Ubuntu: apt install g++"
        )
    return found


def run_compiler(command: Sequence[str]) -> None:
    """Run a compiler. Raises CompileError with its first error."""
    english = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=english)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line and not line.startswith("collect2")]
        reason = next(iter([*errors, *lines]), f"exit code {done.returncode}")
        raise CompileError(f"emulated CUDA: {Path(command[0]).name}: {reason}")


def plug_in(arch: str) -> None:
    """Load the libraries and plug in the GPU of an architecture. Call before TVM is imported.

    Raises:
        MissingTool: no C++ compiler, or a GPU that is not known.
        CompileError: it failed.
        OSError: there is no folder to keep them in.
    """
    if arch not in GPUS:
        raise MissingTool(f"{VARIABLE}: no emulated GPU is {arch!r}, allowed: {', '.join(GPUS)}")
    folder = build_libraries()
    runtime = ctypes.CDLL(str(folder / RUNTIME))
    ctypes.CDLL(str(folder / _DRIVER))  # empty: all is in the other, and TVM asks for both names
    gpu = GPUS[arch]
    attributes = gpu.attributes(arch)
    numbers, values = ((ctypes.c_int * len(attributes))(*each) for each in (attributes, attributes.values()))
    runtime.emu_plug_in.argtypes = (ctypes.c_char_p, ctypes.c_size_t, *[ctypes.c_void_p] * 2, ctypes.c_int)
    runtime.emu_plug_in(gpu.title.encode(), gpu.memory_bytes, numbers, values, len(attributes))


def build_libraries() -> Path:
    """The folder with both; built in 2 s where it is not there.

    Raises:
        MissingTool, CompileError, OSError: as `plug_in`.
    """
    compiler = host_compiler()
    sources = sorted(path for path in DEVICE.iterdir() if path.suffix in (".cc", ".h", ".map"))
    text = "\n".join([platform.machine(), *_OPTIONS, *(path.read_text(encoding="utf-8") for path in sources)])
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "squeezenas-tvm"
    folder = cache / f"emulated-cuda-{key}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with partial_folder(folder) as work:
        built = work / "built"
        built.mkdir()
        names = [str(path) for path in sources if path.suffix == ".cc"]
        versions = f"-Wl,--version-script={DEVICE / f'{RUNTIME}.map'}"
        run_compiler(
            [compiler, *_OPTIONS, f"-Wl,-soname,{RUNTIME}", versions, "-o", str(built / RUNTIME), *names]
        )
        empty = work / "empty.cc"
        empty.touch()
        run_compiler([compiler, *_OPTIONS, f"-Wl,-soname,{_DRIVER}", "-o", str(built / _DRIVER), str(empty)])
        try:
            os.rename(built, folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    return folder
