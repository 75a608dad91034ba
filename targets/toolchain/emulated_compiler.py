"""CUDA source to the emulated GPU's machine code: a shared object of this machine, by its C++ compiler."""

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets.emulated_cuda.libraries import DEVICE, RUNTIME, build_libraries, host_compiler, run_compiler
from targets.emulated_cuda.source import host_units

_MARK = "emulated CUDA code for "  # EMU_MARK in abi.h
_FRAME_BYTES = 64 << 10  # of a thread: half of its stack
_OPTIONS = (
    *(
        "-std=gnu++17",
        "-fPIC",
        "-fno-exceptions",
        "-fno-strict-aliasing",
        "-fvisibility=hidden",
        "-march=native",
    ),
    *("-fno-gnu-unique", f"-Werror=frame-larger-than={_FRAME_BYTES}"),
)
# Calls before every load and store, which the device answers; vectors in one piece, and lines of the text.
_CHECKS = ("-fsanitize=thread,bounds", "-fno-tree-sra", "-g1", "-DEMU_CHECKED")


@dataclass(frozen=True, slots=True)
class EmulatedCompiler:
    """This machine's C++ compiler, for the emulated GPU of an architecture such as ``sm_72``.

    Attributes:
        checked: the code has the device check its every access: see ``findings``.
    """

    compiler: str
    arch: str
    checked: bool = False

    @property
    def code(self) -> str:
        """What `machine_code` calls what it makes."""
        return f"emulated {self.arch}"

    def cubin(self, source: str) -> bytes:
        """A shared object with the kernels of ``source``.

        Raises:
            CompileError: the compiler refuses it, with its first error; or a kernel asks for more static
                shared memory than a GPU has.
        """
        units = host_units(source, len(os.sched_getaffinity(0)), checked=self.checked)
        watching = [str(build_libraries() / RUNTIME)] if self.checked else []
        with tempfile.TemporaryDirectory(prefix="emulated-cuda-") as folder:
            built = Path(folder) / "kernels.so"
            objects = self._compile(units, Path(folder))
            # what TVM's text has before its kernels is in every object
            once = "-Wl,--allow-multiple-definition"
            run_compiler([self.compiler, "-shared", once, "-o", str(built), *map(str, objects), *watching])
            return built.read_bytes()

    def install(self, seen: Callable[[str], object] | None = None) -> None:
        """Make TVM compile CUDA with this compiler, in this process; ``seen`` is told each text."""
        from targets.tvm_import import tvm_ffi

        def compiled(source: Any) -> bytes:
            if seen is not None:
                seen(str(source))
            return self.cubin(str(source))

        tvm_ffi.register_global_func("tvm_callback_cuda_compile", compiled, override=True)

    def _compile(self, units: Sequence[str], folder: Path) -> list[Path]:
        number = self.arch.removeprefix("sm_")
        options = [
            *_OPTIONS,
            "-O1",
            *(_CHECKS if self.checked else ()),
            f"-DEMU_CUDA_ARCH={number}0",
            f'-DEMU_ARCH="{self.arch}"',
            f"-I{DEVICE}",
            "-include",
            str(DEVICE / "kernel.h"),
        ]

        def compiled(numbered: tuple[int, str]) -> Path:
            source = folder / f"{numbered[0]}.cc"
            source.write_text(numbered[1], encoding="utf-8")
            made = source.with_suffix(".o")
            run_compiler([self.compiler, *options, "-c", "-o", str(made), str(source)])
            return made

        with ThreadPoolExecutor(len(units)) as pool:
            return list(pool.map(compiled, enumerate(units)))


def find_emulated_compiler(arch: str, *, checked: bool = False) -> EmulatedCompiler:
    """Raises MissingTool where there is no C++ compiler."""
    return EmulatedCompiler(host_compiler(), arch, checked)


def emulated_code(data: bytes) -> list[str]:
    """Architectures (``sm_72``) of the emulated machine code in a file, in the order found."""
    return [match[1].decode() for match in re.finditer(re.escape(_MARK).encode() + rb"(sm_\d+)\0", data)]
