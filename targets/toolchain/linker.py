"""Links what TVM compiled into a shared object for a board, on this machine.

The board's C library may be older than this machine's: what is linked is checked for symbols that the board
has not. The ``ziglang`` package from PyPI links against the very version that the target names; Debian's
cross compiler links against its own, which is fine for what kernels need as a rule.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from targets.errors import CompileError, MissingTool
from targets.spec import Toolchain
from targets.support.child_python import child_python

_SYMBOL_VERSION = re.compile(rb"GLIBC_(\d+)\.(\d+)")
_PYTHON_M = (sys.executable, "-m")  # of a driver that is a Python module; it is started sealed


@dataclass(frozen=True, slots=True)
class Linker:
    """A cross linker, as TVM's ``export_library`` takes it.

    Attributes:
        command: compiler driver and its options.
        glibc: the newest C library version whose symbols may be needed, such as ``2.31``; None for any.
    """

    command: tuple[str, ...]
    glibc: str | None = None

    def __call__(self, output: str, objects: Sequence[str], options: Sequence[str] = ()) -> None:
        """Link ``objects``, also C sources, to the shared object ``output``.

        Raises:
            CompileError: the compiler failed, or the result needs a newer C library; ``output`` is not there.
        """
        module = self.command[: len(_PYTHON_M)] == _PYTHON_M
        driver = child_python(*self.command[len(_PYTHON_M) :]) if module else self.command
        command = [*driver, "-shared", "-fPIC", "-o", output, *objects, *options, "-lm"]
        english = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, env=english
        )
        if done.returncode:
            reason = _first_fault(done.stderr + done.stdout)
            raise CompileError(f"{' '.join(self.command)} failed with {done.returncode}: {reason}")
        needed = needed_glibc(Path(output))
        if self.glibc is not None and needed > _version(self.glibc):
            Path(output).unlink()
            raise CompileError(
                f"{output} needs C library {needed[0]}.{needed[1]}, the target has {self.glibc}; "
                "install a linker for that version: pip install ziglang"
            )


def find_linker(toolchain: Toolchain) -> Linker:
    """A linker for the toolchain's triple that works: ``ziglang`` where it is installed, or else Debian's.

    Raises:
        MissingTool: neither is there, or what is there cannot link.
    """
    triple = toolchain.triple
    assert triple is not None
    zig, gcc = importlib.util.find_spec("ziglang"), shutil.which(f"{triple}-gcc")
    install = f"pip install ziglang, or on Debian and Ubuntu: apt install g++-{triple}"
    command: tuple[str, ...]
    if zig is not None:
        version = f".{toolchain.glibc}" if toolchain.glibc else ""
        command = (*_PYTHON_M, "ziglang", "cc", "-O2", "-target", triple + version)
    elif gcc is not None:
        command = (gcc,)
    else:
        raise MissingTool(f"no linker for {triple}; install one: {install}")
    linker = Linker(command, toolchain.glibc)
    try:
        _try(linker)
    except CompileError as error:
        raise MissingTool(
            f"the linker for {triple} does not work: {error}; install another: {install}"
        ) from None
    return linker


def needed_glibc(path: Path) -> tuple[int, int]:
    """The newest version of the C library's symbols that a shared object asks for; (0, 0) for none."""
    found = [(int(major), int(minor)) for major, minor in _SYMBOL_VERSION.findall(path.read_bytes())]
    return max(found, default=(0, 0))


def _try(linker: Linker) -> None:
    """Link next to nothing. Zig also builds what it links with, once: that would cost kernels their time."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.c"
        source.write_text("int nothing;\n", encoding="ascii")
        linker(str(source.with_suffix(".so")), [str(source)])


def _first_fault(said: str) -> str:
    """The first error, or the first line; GNU's linker has no word for errors, and its driver adds one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line and not line.startswith("collect2")]
    return next(iter([*errors, *lines]), "no message")


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)
