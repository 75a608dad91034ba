"""What this process's emulated GPU has found wrong with the kernels that it checked, and what they moved."""

import ctypes
from dataclasses import dataclass

from targets.emulated_cuda.libraries import RUNTIME, build_libraries


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a kernel.

    Attributes:
        kind: ``bounds``, ``alignment`` (of vectors), ``unwritten`` (a register array or shared memory is read
            where nobody wrote, and results depend on it), ``race`` (a barrier is missing), ``order`` (results
            depend on the order of threads), ``barrier`` (not all threads reach it) or ``shuffle``.
        line: of the CUDA text; 0 where it is not known.
        times: how often it was seen.
        text: the first time: ``thread (3, 0, 0) of block (7, 0, 0) reads 16 bytes at 4 bytes past the ...``.
    """

    kernel: str
    kind: str
    line: int
    times: int
    text: str

    def __str__(self) -> str:
        return f"kernel {self.kernel}: {self.text}" + (f" (line {self.line})" if self.line else "")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a kernel did, all its launches together.

    Loads and stores of global memory are as the C++ compiler left them, and exact; how well they lie together
    is taken from the first blocks: the bytes that the threads of a warp asked for, access by access, and the
    sectors of 32 bytes that these lie in.
    """

    launches: int
    threads: int
    load_bytes: int
    store_bytes: int
    shared_load_bytes: int
    shared_store_bytes: int
    sampled_load_bytes: int
    sampled_load_sectors: int
    sampled_store_bytes: int
    sampled_store_sectors: int

    @property
    def moved_load_bytes(self) -> float:
        """Bytes of the sectors that loads touch."""
        return _moved(self.load_bytes, self.sampled_load_bytes, self.sampled_load_sectors)

    @property
    def moved_store_bytes(self) -> float:
        """Bytes of the sectors that stores touch."""
        return _moved(self.store_bytes, self.sampled_store_bytes, self.sampled_store_sectors)


def _moved(total: int, sampled: int, sectors: int) -> float:
    return total * 32 * sectors / sampled if sampled else float(total)


def take_findings() -> list[Finding]:
    """Those since the last call; empty where no emulated GPU is plugged in. At most 20 a kernel."""
    rows = [line.split("\t", 4) for line in _taken("emu_findings")]
    return [Finding(kernel, kind, int(line), int(times), text) for kernel, kind, line, times, text in rows]


def take_counts() -> dict[str, Counts]:
    """Those since the last call, by kernel; of checked kernels alone."""
    rows = (line.split("\t") for line in _taken("emu_counts"))
    return {kernel: Counts(*map(int, numbers)) for kernel, *numbers in rows}


def check_at_most(blocks: int | None) -> None:
    """Run only so many blocks of a checked launch that has more: the first, the last, and some between."""
    function = _library().emu_check_at_most
    function.restype, function.argtypes = None, (ctypes.c_uint64,)
    function(blocks or 0)


def _taken(name: str) -> list[str]:
    function = getattr(_library(), name)
    function.restype, function.argtypes = ctypes.c_size_t, (ctypes.c_char_p, ctypes.c_size_t)
    size = function(None, 0) + 1
    text = ctypes.create_string_buffer(size)
    function(text, size)
    return text.value.decode(errors="replace").splitlines()


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(build_libraries() / RUNTIME))
