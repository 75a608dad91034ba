"""CUDA source to machine code (cubin) for one architecture, on any machine: NVRTC, from PyPI or a toolkit.

The compiler is chosen by the device: a driver of CUDA 11 loads what any CUDA 11.x compiled (NVIDIA calls it
minor version compatibility), nothing of CUDA 12; and CUDA 13 has dropped Volta (sm_72, Jetson AGX Xavier).
"""

import ctypes
import functools
import locale
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from targets.cuda_stand_in import driver_version, package_files
from targets.errors import CompileError, MissingTool
from targets.toolchain.cubin import cubin_architectures
from targets.toolchain.emulated_compiler import emulated_code

# What TVM's source asks NVIDIA's C++ library for, 20 MB of headers: kernels use the integers' names alone.
_CSTDINT = """\
namespace cuda { namespace std {
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
} }
"""
_TYPE_TRAITS = """\
namespace cuda { namespace std {
template <class A, class B> struct is_same;
template <class A, class B> constexpr bool is_same_v = false;
template <class A> struct is_integral;
template <class A> struct is_signed;
template <class A> struct is_unsigned;
template <class A> struct is_floating_point;
template <bool condition, class A> struct enable_if;
template <bool condition, class A, class B> struct conditional;
} }
"""
_BUILT_IN = {"cuda/std/cstdint": _CSTDINT, "cuda/std/type_traits": _TYPE_TRAITS}
_TOOLKITS = ("CUDA_HOME", "CUDA_PATH")
_EXTRAS = (11, 12, 13)  # of this package, with NVRTC of that version
_OLDEST = {13: 75}  # architectures before it were dropped
_HEADERS = ("cuda_fp16.h", "math_constants.h")  # the latter for infinity
_HEADERS_PACKAGE = "nvidia-cuda-runtime-cu11==11.8.89"


@dataclass(frozen=True, slots=True)
class CudaCompiler:
    """An NVRTC library and the architecture it is to compile for, such as ``sm_72``."""

    library: Path
    version: tuple[int, int]
    arch: str

    @property
    def code(self) -> str:
        """What `machine_code` calls what it makes."""
        return plain_architecture(self.arch)

    @property
    def headers(self) -> Path | None:
        """The folder of CUDA's headers, which float16 and infinity need; None without.

        Of this version or an older one: the headers of 11.8 compile with NVRTC 11.8, 12.9 and 13.0, those of
        12.9 and 13.0 not with 11.8. The packages of CUDA 11 and 12 share a folder, and what comes last wins.
        """
        packages = [header.parent for header in package_files("*/include/cuda_fp16.h")]
        places = (self.library.parents[1] / "include", *packages)
        known = [(_header_version(place), place) for place in places]
        fitting = [(version, place) for version, place in known if 0 < version <= self.version[0]]
        return max(fitting)[1] if fitting else None

    def require_headers(self) -> None:
        """Raises MissingTool where the headers that float16 needs are not here."""
        if self.headers is None:
            raise MissingTool(
                f"float16 for {self.arch}: no headers (cuda_fp16.h) of CUDA {self.version[0]} or older are "
                f"here, for {self.library}; "
                f"install them: pip install --force-reinstall --no-deps {_HEADERS_PACKAGE}"
            )

    def cubin(self, source: str) -> bytes:
        """Machine code of ``source``, an ELF file of machine type CUDA.

        Raises:
            CompileError: NVRTC refuses it; with its first error.
            MissingTool: the source needs CUDA's headers, and there are none that fit.
        """
        # Not TVM's --use_fast_math: it makes divisions and exponentials less exact than onnxruntime's.
        options = [f"--gpu-architecture={self.arch}", "--std=c++17", "-default-device"]
        if any(header in source for header in _HEADERS):
            self.require_headers()
        options += [f"-I{self.headers}"] if self.headers else []
        builtins = self.library.parent / "libnvrtc-builtins.so.{}.{}".format(*self.version)
        if builtins.exists():  # NVRTC 13 does not look for them in its own folder
            ctypes.CDLL(str(builtins))
        return _compile(ctypes.CDLL(str(self.library)), source, options)

    def install(self) -> None:
        """Make TVM compile CUDA with this compiler, in this process."""
        from targets.tvm_import import tvm_ffi

        tvm_ffi.register_global_func(
            "tvm_callback_cuda_compile", lambda source: self.cubin(str(source)), override=True
        )


def find_cuda_compiler(arch: str, cuda: str | None = None) -> CudaCompiler:
    """The newest NVRTC here that compiles for a device.

    Args:
        arch: such as ``sm_72``.
        cuda: CUDA version of the device, such as ``11.4``: the compiler's major version must be that one.
            None is this machine's GPU: any that its driver serves will do.

    Raises:
        MissingTool: none here does; says what to install.
    """
    digits, driver = plain_architecture(arch).removeprefix("sm_"), driver_version()
    number = int(digits) if digits.isdigit() else 0
    major = int(cuda.partition(".")[0]) if cuda else None
    newest = driver[0] if driver else max(_EXTRAS)
    found = sorted((nvrtc, library) for library in _libraries() for nvrtc in [_ask(library)] if nvrtc)
    served = [
        (nvrtc, library)
        for nvrtc, library in found
        if (nvrtc.version[0] <= newest if major is None else nvrtc.version[0] == major)
    ]
    fitting = [(nvrtc.version, library) for nvrtc, library in served if number in nvrtc.architectures]
    if fitting:
        version, library = max(fitting)
        return CudaCompiler(library, version, arch)
    if major and number < _OLDEST.get(major, 0):
        hint = f"CUDA {major} has dropped {arch}: correct toolchain.cuda or tvm in the target's file"
    else:
        able = [extra for extra in _EXTRAS if extra <= newest and number >= _OLDEST.get(extra, 0)]
        hint = install_hint(major or max(able, default=min(_EXTRAS)))
    there = ", ".join(str(nvrtc) for nvrtc, _ in found) or "none"
    raise MissingTool(
        f"no compiler for {arch}{f' and CUDA {cuda}' if cuda else ''}: NVRTC found here: {there}; {hint}"
    )


def install_hint(major: int) -> str:
    """How to get NVRTC of a major version."""
    if major not in _EXTRAS:
        return f"install a CUDA {major} toolkit and set CUDA_HOME to it"
    package = f"pip install 'squeezenas-tvm[cuda{major}]'"
    return f"install it: {package}, or a CUDA {major} toolkit with CUDA_HOME set"


def plain_architecture(arch: str) -> str:
    """``sm_90`` for ``sm_90a``: the letter asks for more of the same GPU."""
    return arch.rstrip("af")


def machine_code(data: bytes) -> list[str]:
    """The code for GPUs in a file: ``sm_72`` for real ones, ``emulated sm_72``; none for source."""
    return cubin_architectures(data) + [f"emulated {arch}" for arch in emulated_code(data)]


@dataclass(frozen=True, order=True, slots=True)
class _Nvrtc:
    """What an NVRTC library says of itself."""

    version: tuple[int, int]
    architectures: tuple[int, ...]

    def __str__(self) -> str:
        oldest, newest = min(self.architectures), max(self.architectures)
        return f"{self.version[0]}.{self.version[1]} (sm_{oldest} to sm_{newest})"


def _libraries() -> Iterator[Path]:
    """NVRTC libraries of PyPI's packages and of toolkits."""
    roots = [Path(os.environ[name]) for name in _TOOLKITS if os.environ.get(name)]
    roots += sorted(Path("/usr/local").glob("cuda*"))
    found = package_files("*/lib/libnvrtc.so.*")
    for root in roots:
        found += [*root.glob("lib64/libnvrtc.so.*"), *root.glob("targets/*/lib/libnvrtc.so.*")]
    yield from dict.fromkeys(path.resolve() for path in found)


@functools.cache
def _ask(library: Path) -> _Nvrtc | None:
    """None for a library that does not load here, such as another processor's, or is older than CUDA 11.2."""
    major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    try:
        nvrtc = ctypes.CDLL(str(library))
        nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        nvrtc.nvrtcGetSupportedArchs(numbers)
    except (OSError, AttributeError):
        return None
    return _Nvrtc((major.value, minor.value), tuple(numbers))


def _header_version(folder: Path) -> int:
    """Major version of the CUDA headers in a folder; 0 where there are none."""
    header = folder / "cuda_runtime_api.h"
    text = header.read_text(encoding="utf-8", errors="replace") if header.is_file() else ""
    found = re.search(r"#define\s+CUDART_VERSION\s+(\d+)", text)
    return int(found[1]) // 1000 if found else 0


def _compile(nvrtc: ctypes.CDLL, source: str, options: Sequence[str]) -> bytes:
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    program = ctypes.c_void_p()
    texts, names = _strings(_BUILT_IN.values()), _strings(_BUILT_IN)
    made = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"tvm_kernels.cu", len(_BUILT_IN), texts, names
    )
    _check(nvrtc, made)
    try:
        with _locale_kept():
            refused = nvrtc.nvrtcCompileProgram(program, len(options), _strings(options))
        if refused:
            raise CompileError(f"NVRTC: {_first_error(nvrtc, program)}")
        size = ctypes.c_size_t()
        _check(nvrtc, nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
        code = ctypes.create_string_buffer(size.value)
        _check(nvrtc, nvrtc.nvrtcGetCUBIN(program, code))
        return code.raw
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


@contextmanager
def _locale_kept() -> Iterator[None]:
    """NVRTC 11.8 leaves this thread in the locale C, where Python takes text files for ASCII."""
    uselocale = ctypes.CDLL(None).uselocale
    uselocale.restype, uselocale.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    of_thread, of_process = uselocale(None), locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        uselocale(of_thread)
        locale.setlocale(locale.LC_ALL, of_process)


def _strings(texts: Iterable[str]) -> "ctypes.Array[ctypes.c_char_p]":
    """As C takes several strings."""
    coded = [text.encode() for text in texts]
    return (ctypes.c_char_p * len(coded))(*coded)


def _check(nvrtc: ctypes.CDLL, code: int) -> None:
    if code:
        raise CompileError(f"NVRTC: {nvrtc.nvrtcGetErrorString(code).decode()}")


def _first_error(nvrtc: ctypes.CDLL, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    _check(nvrtc, nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    log = ctypes.create_string_buffer(size.value)
    _check(nvrtc, nvrtc.nvrtcGetProgramLog(program, log))
    lines = [line for line in log.value.decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "no message")
