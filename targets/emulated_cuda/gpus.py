"""The GPUs that can be emulated: their limits, from NVIDIA's data sheets and programming guide."""

from collections.abc import Mapping
from dataclasses import dataclass

# cudaDeviceAttr
_MAX_THREADS, _BLOCK, _GRID, _SHARED, _WARP, _REGISTERS, _CLOCK_KHZ, _MULTIPROCESSORS = (
    1,
    2,
    5,
    8,
    10,
    12,
    13,
    16,
)
_L2_BYTES, _THREADS_OF_ONE, _MAJOR, _MINOR, _SHARED_OPT_IN = 38, 39, 75, 76, 97


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU and its limits.

    Attributes:
        shared_opt_in_bytes: of shared memory, which a block gets on request; without it gets 48 KiB.
    """

    name: str
    multiprocessors: int
    clock_mhz: int
    threads_of_multiprocessor: int
    shared_opt_in_bytes: int
    l2_bytes: int
    memory_bytes: int

    @property
    def title(self) -> str:
        """What it says it is."""
        return f"{self.name} (emulated)"

    def attributes(self, arch: str) -> Mapping[int, int]:
        """What it answers, by the numbers of ``cudaDeviceAttr``; ``arch`` such as ``sm_72``."""
        number = int(arch.removeprefix("sm_"))
        block, grid = (1024, 1024, 64), (2**31 - 1, 65535, 65535)
        return {
            _MAX_THREADS: 1024,
            **dict(enumerate(block, _BLOCK)),
            **dict(enumerate(grid, _GRID)),
            _SHARED: 48 << 10,
            _WARP: 32,
            _REGISTERS: 65536,
            _CLOCK_KHZ: self.clock_mhz * 1000,
            _MULTIPROCESSORS: self.multiprocessors,
            _L2_BYTES: self.l2_bytes,
            _THREADS_OF_ONE: self.threads_of_multiprocessor,
            _MAJOR: number // 10,
            _MINOR: number % 10,
            _SHARED_OPT_IN: self.shared_opt_in_bytes,
        }


def nearest_gpu(arch: str) -> str:
    """The architecture to emulate for any: itself, or the newest known one that is older, or the oldest."""
    number = int("".join(filter(str.isdigit, arch)) or 0)
    older = [known for known in GPUS if int(known.removeprefix("sm_")) <= number]
    return max(older, default=min(GPUS))


GPUS: Mapping[str, Gpu] = {
    "sm_72": Gpu(
        name="Jetson AGX Xavier",
        multiprocessors=8,
        clock_mhz=1377,
        threads_of_multiprocessor=2048,
        shared_opt_in_bytes=96 << 10,
        l2_bytes=512 << 10,
        memory_bytes=16 << 30,
    ),
    "sm_86": Gpu(
        name="GeForce RTX 3090",
        multiprocessors=82,
        clock_mhz=1695,
        threads_of_multiprocessor=1536,
        shared_opt_in_bytes=99 << 10,
        l2_bytes=6 << 20,
        memory_bytes=24 << 30,
    ),
    "sm_87": Gpu(
        name="Jetson AGX Orin",
        multiprocessors=16,
        clock_mhz=1300,
        threads_of_multiprocessor=1536,
        shared_opt_in_bytes=163 << 10,
        l2_bytes=4 << 20,
        memory_bytes=32 << 30,
    ),
    "sm_90": Gpu(
        name="H100",
        multiprocessors=132,
        clock_mhz=1980,
        threads_of_multiprocessor=2048,
        shared_opt_in_bytes=227 << 10,
        l2_bytes=50 << 20,
        memory_bytes=80 << 30,
    ),
}
