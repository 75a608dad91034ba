"""What each kernel of a deployed network asks of its device, known without running it."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cost_models.errors import InvalidGraph, LoweringError
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import Compiled, ScheduledKernel, structural_hash
from cost_models.runner.compiled_check import Loads
from cost_models.schedules.launches import launches
from targets import Target
from targets.toolchain.cubin import KernelResources, read_cubins
from targets.toolchain.cuda_compiler import plain_architecture
from targets.toolchain.occupancy import MULTIPROCESSORS, occupancy


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchProfile:
    """One start of a GPU.

    Attributes:
        name: of the function in the machine code.
        stack_bytes: of each thread: spilled registers and indexed arrays, which lie in DRAM.
        occupancy: share of a multiprocessor's warps that fit at once, 0 to 1; None for an unknown GPU.
        loads: from memory, as the emulated GPU counted them; None where it did not run.

    What machine code tells is None for an emulated GPU, which has none.
    """

    name: str
    blocks: int
    threads: int
    registers: int | None
    stack_bytes: int | None
    shared_bytes: int | None
    occupancy: float | None
    loads: Loads | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelProfile:
    """A distinct kernel.

    Attributes:
        kernel: its label, or TVM's name for one that has none.
        functions: TVM's names of it in the network.
        calls: in one run of the network.
        values: of its result.
        macs: multiply-adds of a call; None where they are not known.
        bytes_moved: that a call reads and writes at least, each once: maps, weights and result.
        roofline_s: of a call by the target's peaks, all that it moves through memory; None without peaks.
        launches: of a GPU; none on a CPU.
    """

    kernel: str
    functions: tuple[str, ...]
    calls: int
    tuned: bool
    values: int
    macs: int | None
    bytes_moved: int
    roofline_s: float | None
    launches: tuple[LaunchProfile, ...]


def profile_kernels(
    compiled: Compiled,
    known: Sequence[Kernel],
    target: Target,
    dtype: str,
    module: Path,
    loads: Mapping[str, tuple[Loads, ...]] | None = None,
) -> list[KernelProfile]:
    """The kernels of a network, those that could take longest first.

    Args:
        known: its kernels as the network describes them.
        module: the shared object that was exported.
        loads: what the launches of a kernel load, by its name in the network.

    Raises:
        InvalidCubin: its machine code cannot be read.
    """
    tvm_target = target.tvm_target()
    described = _described(known, tvm_target, dtype)
    resources: dict[str, KernelResources] = {}
    for cubin in read_cubins(module.read_bytes(), str(module)) if target.uses_cuda else ():
        resources |= {kernel.name: kernel for kernel in cubin.kernels}
    by_hash: dict[str, list[str]] = {}
    for name, kernel in compiled.kernels.items():
        by_hash.setdefault(kernel.hash, []).append(name)
    profiles = []
    for hash_, names in by_hash.items():
        kernel, described_as = compiled.kernels[names[0]], described.get(hash_)
        macs, moved = described_as.macs if described_as else None, _bytes_moved(kernel.mod)
        profiles.append(
            KernelProfile(
                kernel=described_as.label if described_as else names[0],
                functions=tuple(names),
                calls=sum(compiled.kernels[name].calls for name in names),
                tuned=kernel.tuned,
                values=math.prod(int(side) for side in kernel.mod["main"].params[-1].shape),
                macs=macs,
                bytes_moved=moved,
                roofline_s=_roofline_s(macs or 0, moved, target, dtype),
                launches=tuple(_launches(names[0], kernel, resources, tvm_target, loads or {})),
            )
        )
    return sorted(profiles, key=lambda profile: -profile.calls * (profile.roofline_s or profile.bytes_moved))


def _described(known: Sequence[Kernel], tvm_target: Any, dtype: str) -> dict[str, Kernel]:
    """By structural hash; without those of others' networks that cannot be lowered by themselves."""
    found = {}
    for kernel in known:
        with contextlib.suppress(InvalidGraph, LoweringError):
            found[structural_hash(kernel_module(kernel, tvm_target, dtype))] = kernel
    return found


def network_roofline_s(profiles: Sequence[KernelProfile]) -> float | None:
    """Of a run of the network, one kernel after another; None where the target tells no peaks."""
    if any(profile.roofline_s is None for profile in profiles):
        return None
    return sum(profile.calls * (profile.roofline_s or 0.0) for profile in profiles)


def kernels_document(profiles: Sequence[KernelProfile], target: Target, dtype: str) -> dict[str, Any]:
    """What kernels.json of a bundle tells of them, and of the target's peaks."""
    rates = _rates(target)
    peaks = None
    if target.peaks is not None and dtype in rates:
        peaks = {
            "macs_per_s": rates[dtype] * 1e9,
            "bytes_per_s": target.peaks.memory_bandwidth_gb_per_s * 1e9,
            "source": target.peaks.source,
        }
    kernels = [
        {
            "kernel": own.kernel,
            "functions": list(own.functions),
            "macs": own.macs,
            "bytes_moved": own.bytes_moved,
        }
        for own in profiles
    ]
    return {"kernels": kernels, "peaks": peaks}


def _launches(
    name: str,
    kernel: ScheduledKernel,
    resources: Mapping[str, KernelResources],
    tvm_target: Any,
    loads: Mapping[str, tuple[Loads, ...]],
) -> Iterator[LaunchProfile]:
    gpu = MULTIPROCESSORS.get(plain_architecture(str(tvm_target.attrs.get("arch", ""))))
    for index, launch in enumerate(launches(kernel.mod)):
        function = f"{name}_kernel_{index}" if index else f"{name}_kernel"  # TVM's names
        found = resources.get(function)
        yield LaunchProfile(
            name=function,
            blocks=launch.blocks,
            threads=launch.threads,
            registers=found.registers if found else None,
            stack_bytes=found.stack_bytes if found else None,
            shared_bytes=found.shared_bytes if found else None,
            occupancy=occupancy(found, launch.threads, gpu) if found and gpu else None,
            loads=loads[name][index] if loads.get(name) else None,
        )


def _bytes_moved(mod: Any) -> int:
    """Of all arguments of a kernel, the result's among them."""
    return sum(
        math.prod(int(side) for side in param.shape) * np.dtype(str(param.dtype)).itemsize
        for param in mod["main"].params
    )


def _roofline_s(macs: int, bytes_moved: int, target: Target, dtype: str) -> float | None:
    peaks, rates = target.peaks, _rates(target)
    if peaks is None or dtype not in rates:
        return None
    return max(macs / (rates[dtype] * 1e9), bytes_moved / (peaks.memory_bandwidth_gb_per_s * 1e9))


def _rates(target: Target) -> dict[str, float]:
    """Its peaks by data type, GMAC/s."""
    return {str(name): rate for name, rate in target.peaks.gmacs_per_s.items()} if target.peaks else {}
