"""How many threads of a kernel a multiprocessor of a GPU can hold at once, of those that it could."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from targets.toolchain.cubin import KernelResources

_WARP = 32
_REGISTERS = 65536  # of a multiprocessor, and mostly of a block
_REGISTERS_OF_WARP = 256  # a warp gets a multiple of it
_ASSUMED_WARPS = 4  # a block's registers are checked as if it had a multiple of it
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Multiprocessor:
    """What one multiprocessor holds.

    Attributes:
        reserved_bytes: of shared memory, taken by each block for the GPU's own use.
        shared_unit_bytes: a block gets a multiple of it.
        schedulers: each has its part of the registers, for whole warps.
    """

    warps: int
    blocks: int
    shared_bytes: int
    reserved_bytes: int
    shared_unit_bytes: int
    registers_per_block: int = _REGISTERS
    schedulers: int = 4


def _before_ampere(warps: int, blocks: int, shared_kib: int, **others: int) -> Multiprocessor:
    return Multiprocessor(warps, blocks, shared_kib * _KIB, 0, 256, **others)


def _since_ampere(warps: int, blocks: int, shared_kib: int) -> Multiprocessor:
    return Multiprocessor(warps, blocks, shared_kib * _KIB, _KIB, 128)


# NVIDIA, CUDA C++ Programming Guide, "Compute Capabilities": technical specifications (for 5.3 to 7.2 its
# editions of CUDA 11); units of allocation: the "GPU Data" of NVIDIA's CUDA Occupancy Calculator.
MULTIPROCESSORS: Mapping[str, Multiprocessor] = {
    "sm_53": _before_ampere(64, 32, 64, registers_per_block=32768),
    "sm_60": _before_ampere(64, 32, 64, schedulers=2),
    "sm_61": _before_ampere(64, 32, 96),
    "sm_62": _before_ampere(64, 32, 64, registers_per_block=32768),
    "sm_70": _before_ampere(64, 32, 96),
    "sm_72": _before_ampere(64, 32, 96),
    "sm_75": _before_ampere(32, 16, 64),
    "sm_80": _since_ampere(64, 32, 164),
    "sm_86": _since_ampere(48, 16, 100),
    "sm_87": _since_ampere(48, 16, 164),
    "sm_89": _since_ampere(48, 24, 100),
    "sm_90": _since_ampere(64, 32, 228),
    "sm_100": _since_ampere(64, 32, 228),
    "sm_103": _since_ampere(64, 32, 228),
    "sm_110": _since_ampere(48, 24, 228),
    "sm_120": _since_ampere(48, 24, 100),
    "sm_121": _since_ampere(48, 24, 100),
}


def resident_blocks(kernel: KernelResources, threads: int, gpu: Multiprocessor) -> int:
    """How many blocks of so many threads one multiprocessor holds; 0 where it cannot run one."""
    warps = math.ceil(threads / _WARP)
    limits = [gpu.blocks, gpu.warps // warps]
    if kernel.registers:
        of_warp = _up(kernel.registers * _WARP, _REGISTERS_OF_WARP)
        if of_warp * _up(warps, _ASSUMED_WARPS) > gpu.registers_per_block:
            return 0
        limits.append(_REGISTERS // gpu.schedulers // of_warp * gpu.schedulers // warps)
    shared = kernel.shared_bytes + gpu.reserved_bytes
    if shared:
        limits.append(gpu.shared_bytes // _up(shared, gpu.shared_unit_bytes))
    return min(limits)


def occupancy(kernel: KernelResources, threads: int, gpu: Multiprocessor) -> float:
    """Share of a multiprocessor's warps that blocks of so many threads fill, 0 to 1."""
    return resident_blocks(kernel, threads, gpu) * math.ceil(threads / _WARP) / gpu.warps


def _up(number: int, unit: int) -> int:
    """The next multiple of a unit."""
    return math.ceil(number / unit) * unit
