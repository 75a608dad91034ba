"""Lets TVM load its CUDA runtime on a machine without NVIDIA's libraries, to build for one that has them.

Where ``libcuda.so.1`` or ``libcudart.so.13`` cannot be loaded, TVM leaves its CUDA runtime out, and a module
built for CUDA then silently holds source text in place of machine code. Empty libraries of those names are
enough to build: their functions answer that there is no device.
"""

import ctypes
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
from pathlib import Path

from targets.emulated_cuda.libraries import VARIABLE, plug_in
from targets.support.partial import partial_folder

_log = logging.getLogger(__name__)

# What TVM 0.27's CUDA runtime calls: without one of these names it does not load.
_DRIVER = """
cuDeviceGetName cuFuncSetAttribute cuLaunchKernelEx cuModuleGetFunction cuModuleLoadData cuModuleUnload
cuTensorMapEncodeTiled
"""
_RUNTIME = """
cudaDeviceGetAttribute cudaEventCreate cudaEventDestroy cudaEventElapsedTime cudaEventRecord
cudaEventSynchronize cudaFree cudaFreeHost cudaGetDevice cudaGetDeviceProperties cudaGetLastError
cudaGraphDestroy cudaGraphExecDestroy cudaGraphInstantiate cudaGraphLaunch cudaMalloc cudaMallocHost
cudaMemGetInfo cudaMemcpyAsync cudaMemcpyPeerAsync cudaPeekAtLastError cudaSetDevice cudaStreamBeginCapture
cudaStreamCreate cudaStreamCreateWithFlags cudaStreamDestroy cudaStreamEndCapture cudaStreamSynchronize
cudaStreamWaitEvent
"""
# 100 is cudaErrorNoDevice and CUDA_ERROR_NO_DEVICE.
_DRIVER_TEXTS = """
int cuGetErrorName(int error, const char** text) { *text = "no NVIDIA driver on this machine"; return 0; }
int cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }
"""
_RUNTIME_TEXTS = """
const char* cudaGetErrorName(int error) { return "no NVIDIA driver on this machine"; }
const char* cudaGetErrorString(int error) { return cudaGetErrorName(error); }
int cudaGetDeviceCount(int* count) { *count = 0; return 100; }
"""
_SOURCES = {
    library: "".join(f"int {name}(void) {{ return 100; }}\n" for name in names.split()) + texts
    for library, names, texts in (
        ("libcuda.so.1", _DRIVER, _DRIVER_TEXTS),
        ("libcudart.so.13", _RUNTIME, _RUNTIME_TEXTS),
    )
}
_NEEDED_DRIVER = (13, 0)  # by libcudart.so.13


def load_cuda_libraries() -> None:
    """Load NVIDIA's libraries, or else stand-ins, for TVM to find. Call before TVM is imported.

    Where no stand-in can be built, on a machine without a C compiler, TVM goes without CUDA. A process that
    is to run kernels on the emulated GPU gets that, or the error that says why not.
    """
    if arch := os.environ.get(VARIABLE):
        plug_in(arch)
        return
    for name in _SOURCES:
        if not any(_loads(place) for place in (name, *map(str, package_files(f"*/lib/{name}")))):
            try:
                ctypes.CDLL(str(_stand_in(name)))
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                _log.debug("no stand-in for %s: %s", name, error)


def driver_version() -> tuple[int, int] | None:
    """The newest CUDA that NVIDIA's driver on this machine serves; None without a driver."""
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):  # the stand-in, once it is loaded, answers to the same name without it
        return None
    return None if failed else (version.value // 1000, version.value % 1000 // 10)


def has_driver() -> bool:
    """Whether NVIDIA's driver is on this machine."""
    return driver_version() is not None


def why_no_gpu() -> str:
    """Why TVM sees no NVIDIA GPU on this machine, and what to do."""
    driver = driver_version()
    if driver is None:
        return "NVIDIA's driver (libcuda.so.1) is not installed"
    if driver < _NEEDED_DRIVER:
        return (
            f"NVIDIA's driver serves CUDA {driver[0]}.{driver[1]}, TVM needs one for "
            f"CUDA {_NEEDED_DRIVER[0]}.{_NEEDED_DRIVER[1]} or newer; update it"
        )
    if not (_loads("libcudart.so.13") and hasattr(ctypes.CDLL("libcudart.so.13"), "cudaRuntimeGetVersion")):
        return "libcudart.so.13 is not installed; install it: pip install 'squeezenas-tvm[cuda13]'"
    return "the driver finds none"


def package_files(pattern: str) -> list[Path]:
    """What NVIDIA's packages from PyPI have installed, sorted; ``pattern`` such as ``*/lib/libcuda*``."""
    package = importlib.util.find_spec("nvidia")
    folders = (package.submodule_search_locations if package else None) or []
    return [path for folder in folders for path in sorted(Path(folder).glob(pattern))]


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _stand_in(name: str) -> Path:
    """Path of a library with this name; built once, kept in the user's cache folder.

    Raises:
        OSError, RuntimeError, SubprocessError: no compiler, one that fails, or no folder to keep it in.
    """
    text = _SOURCES[name]
    key = hashlib.sha256(f"{platform.machine()}\n{text}".encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "squeezenas-tvm"
    path = cache / key / name
    if path.exists():
        return path
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("no C compiler")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_folder(path) as work:
        source, versions, built = (work / part for part in ("stub.c", "versions", name))
        source.write_text(text, encoding="utf-8")
        versions.write_text(f"{name} {{ global: *; }};\n", encoding="utf-8")
        options = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{name}"]
        if name.startswith("libcudart"):  # its symbols carry a version
            options.append(f"-Wl,--version-script={versions}")
        subprocess.run([compiler, *options, "-o", str(built), str(source)], check=True, capture_output=True)
        os.replace(built, path)
    return path
