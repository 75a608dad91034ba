"""What schedules for NVIDIA's GPUs ask of a GPU: its limits, and how many blocks share a multiprocessor."""

from dataclasses import dataclass
from typing import Any

from targets.target import multiprocessors
from targets.toolchain.cubin import KernelResources
from targets.toolchain.cuda_compiler import plain_architecture
from targets.toolchain.occupancy import MULTIPROCESSORS, Multiprocessor, resident_blocks

WARP = 32  # threads that run together

_UNKNOWN = "sm_75"  # an architecture that is not known counts as this one, which holds the fewest threads
_FEWER_LANES = ("sm_60", "sm_70", "sm_72", "sm_75", "sm_80")
_USUAL = 64  # multiprocessors
_OF_COMMON_GPUS = {"sm_60": 56, "sm_70": 80, "sm_75": 40, "sm_80": 108, "sm_86": 82, "sm_90": 132}


def round_up(value: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-value // step) * step


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        multiprocessors: how many it has; what each of them holds.
        lanes: float32 multiply-adds of a multiprocessor a cycle.
        block_threads, block_shared_bytes: of one block at most.
    """

    multiprocessors: int
    multiprocessor: Multiprocessor
    lanes: int
    block_threads: int
    block_shared_bytes: int

    @staticmethod
    def of(target: Any) -> "Gpu":
        """From a tvm Target of kind cuda; as many multiprocessors as usual where no target tells them."""
        arch = plain_architecture(str(target.attrs.get("arch", "")))
        return Gpu(
            multiprocessors=multiprocessors().get(arch, _OF_COMMON_GPUS.get(arch, _USUAL)),
            multiprocessor=MULTIPROCESSORS.get(arch, MULTIPROCESSORS[_UNKNOWN]),
            lanes=64 if arch in _FEWER_LANES else 128,
            block_threads=int(target.attrs.get("max_threads_per_block", 1024)),
            block_shared_bytes=int(target.attrs.get("max_shared_memory_per_block", 49152)),
        )

    @property
    def threads(self) -> int:
        """Resident at most."""
        return self.multiprocessors * self.multiprocessor.warps * WARP

    def resident_blocks(self, threads: int, registers: int, shared_bytes: int) -> int:
        """Blocks that one multiprocessor holds at a time; 0 where not even one fits.

        Args:
            threads: of a block. registers: of a thread. shared_bytes: of a block.
        """
        if threads > self.block_threads or shared_bytes > self.block_shared_bytes:
            return 0
        taken = KernelResources(
            name="",
            registers=registers,
            stack_bytes=0,
            shared_bytes=shared_bytes,
            constant_bytes=0,
            max_threads=None,
        )
        return resident_blocks(taken, threads, self.multiprocessor)
