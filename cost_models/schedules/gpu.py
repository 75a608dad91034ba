"""What schedules for NVIDIA's GPUs ask of a GPU: its limits, and how many blocks share a multiprocessor."""

from dataclasses import dataclass
from typing import Any

from targets.target import multiprocessors
from targets.toolchain.cuda_compiler import plain_architecture

WARP = 32  # threads that run together


def round_up(value: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-value // step) * step


@dataclass(frozen=True, kw_only=True, slots=True)
class _Architecture:
    """By NVIDIA's programming guide (technical specifications by compute capability), of a multiprocessor.

    Attributes:
        lanes: float32 multiply-adds a cycle.
        threads, blocks: resident at most.
        shared_kib: shared memory.
        usual: multiprocessors of a common GPU of it; where a target's file tells them, that counts.
    """

    lanes: int = 128
    threads: int = 2048
    blocks: int = 32
    shared_kib: int
    usual: int


_ARCHITECTURES = {
    "sm_53": _Architecture(shared_kib=64, usual=1),
    "sm_60": _Architecture(lanes=64, shared_kib=64, usual=56),
    "sm_61": _Architecture(shared_kib=96, usual=20),
    "sm_62": _Architecture(shared_kib=64, usual=2),
    "sm_70": _Architecture(lanes=64, shared_kib=96, usual=80),
    "sm_72": _Architecture(lanes=64, shared_kib=96, usual=8),
    "sm_75": _Architecture(lanes=64, threads=1024, blocks=16, shared_kib=64, usual=40),
    "sm_80": _Architecture(lanes=64, shared_kib=164, usual=108),
    "sm_86": _Architecture(threads=1536, blocks=16, shared_kib=100, usual=46),
    "sm_87": _Architecture(threads=1536, blocks=16, shared_kib=164, usual=16),
    "sm_89": _Architecture(threads=1536, blocks=24, shared_kib=100, usual=58),
    "sm_90": _Architecture(shared_kib=228, usual=132),
    "sm_100": _Architecture(shared_kib=228, usual=148),
    "sm_120": _Architecture(threads=1536, blocks=24, shared_kib=100, usual=70),
}
_OTHER = _Architecture(threads=1024, blocks=16, shared_kib=64, usual=64)  # what every one of them has
_REGISTERS = 65536  # of every multiprocessor since sm_50
_REGISTER_STEP = 8  # a thread's are rounded up to these


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        multiprocessors: how many it has.
        lanes: float32 multiply-adds of one of them a cycle.
        threads, blocks, shared_bytes: resident on one of them at most.
        block_threads, block_shared_bytes: of one block at most.
    """

    multiprocessors: int
    lanes: int
    threads: int
    blocks: int
    shared_bytes: int
    block_threads: int
    block_shared_bytes: int

    @staticmethod
    def of(target: Any) -> "Gpu":
        """From a tvm Target of kind cuda; one of an unknown architecture counts as small."""
        arch = plain_architecture(str(target.attrs.get("arch", "")))
        known = _ARCHITECTURES.get(arch, _OTHER)
        return Gpu(
            multiprocessors=multiprocessors().get(arch, known.usual),
            lanes=known.lanes,
            threads=known.threads,
            blocks=known.blocks,
            shared_bytes=known.shared_kib * 1024,
            block_threads=int(target.attrs.get("max_threads_per_block", 1024)),
            block_shared_bytes=int(target.attrs.get("max_shared_memory_per_block", 49152)),
        )

    def resident_blocks(self, threads: int, registers: int, shared_bytes: int) -> int:
        """Blocks that one multiprocessor holds at a time; 0 where not even one fits.

        Args:
            threads: of a block. registers: of a thread. shared_bytes: of a block.
        """
        held = round_up(threads, WARP)
        registers = round_up(registers, _REGISTER_STEP)
        if threads > self.block_threads or shared_bytes > self.block_shared_bytes:
            return 0
        by_shared = self.shared_bytes // shared_bytes if shared_bytes else self.blocks
        return min(self.blocks, self.threads // held, _REGISTERS // (registers * held), by_shared)
