"""What our default schedules ask of a GPU, beside TVM's own (DLight): no GPU is needed, and none is timed.

    python benchmarks/gpu_schedules.py --arch sm_72
    python benchmarks/gpu_schedules.py --arch sm_90 --json

Every kernel of a network is scheduled both ways and compiled to machine code. Of each class of kernels it
prints launches; registers and spilled bytes of a thread, shared memory of a block, threads and blocks, all
at most; the warps that a multiprocessor can hold, at least; bytes loaded for one value of the result; an
estimate of the time; and the size of the CUDA text.

Loads are counted where they stand in the schedule, times the loops around them; the compiler may keep some in
registers, and padding is counted as if it were there. The estimate is a roofline, the same for both: the
longest of multiplications (of the tiles, which may be larger than the maps), of memory (each argument once),
of loads from the first-level cache, and of instructions (multiplications, loads, and 16 for each thread that
is begun), and longer where a launch gives multiprocessors less than 8 warps. What would read other threads'
registers is counted all the same.
"""

import argparse
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from refusals import run_benchmark

from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.default import schedule_default
from cost_models.schedules.gpu import WARP, Gpu
from cost_models.schedules.index_values import values, variables
from cost_models.tvm_import import tvm, tvm_ffi
from search.architecture import load_architecture
from search.costs.kernel_table import network_kernels
from search.resolution import Resolution
from squeezenas_tvm.cli import table
from targets.toolchain.cubin import read_cubins
from targets.toolchain.cuda_compiler import CudaCompiler, find_cuda_compiler

LIMITS = {
    "kind": "cuda",
    "max_num_threads": 1024,
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,
    "thread_warp_size": 32,
    "registers_per_block": 65536,
}
_SAMPLE = 1 << 18
_ISSUED = 4 * WARP  # instructions of threads that a multiprocessor begins in a cycle
_OF_A_THREAD = 16  # instructions, at least
_BUSY_WARPS = 8  # of a multiprocessor, which hide that one waits
_FIRST_LEVEL = 128  # bytes a cycle of a multiprocessor


Work = NDArray[np.float64]  # multiplications, loads from global memory, and their bytes


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Peaks of a GPU, by NVIDIA's data sheets."""

    clock_hz: float
    bytes_per_s: float


MACHINES = {
    "sm_72": Machine(clock_hz=1.377e9, bytes_per_s=136.5e9),  # Jetson AGX Xavier, MAXN
    "sm_87": Machine(clock_hz=1.3e9, bytes_per_s=204.8e9),  # Jetson AGX Orin, MAXN
    "sm_90": Machine(clock_hz=1.755e9, bytes_per_s=3352e9),  # H100 SXM5
}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One launch of a scheduled kernel: blocks, threads of each, what all of them do."""

    blocks: int
    threads: int
    products: float
    loads: float
    loaded_bytes: float


def launches_of(func: Any) -> Iterator[Launch]:
    """The launches of a scheduled PrimFunc, in order."""
    root = func.body.block.body
    for stmt in root.seq if isinstance(root, tvm.tirx.SeqStmt) else [root]:
        axes: dict[str, int] = {}
        products, loads, loaded_bytes = map(float, _work(stmt, {}, axes))
        blocks, threads = (
            math.prod(extent for axis, extent in axes.items() if axis.startswith(what))
            for what in ("blockIdx", "threadIdx")
        )
        yield Launch(
            blocks=blocks, threads=threads, products=products, loads=loads, loaded_bytes=loaded_bytes
        )


def _work(stmt: Any, loops: dict[Any, tuple[str, int]], axes: dict[str, int]) -> Work:
    """What is done below a statement.

    Args:
        loops: variable -> what it is bound to, or nothing, and extent, of those around it.
        axes: extents by what loops are bound to; they are noted here.
    """
    name = type(stmt).__name__
    if name == "SeqStmt":
        total: Work = np.sum([_work(part, loops, axes) for part in stmt.seq], axis=0)
        return total
    if name == "For":
        axis = str(stmt.thread_binding.thread_tag) if stmt.thread_binding is not None else ""
        if axis:
            axes[axis] = int(stmt.extent)
        return _work(stmt.body, {**loops, stmt.loop_var: (axis, int(stmt.extent))}, axes)
    if name == "SBlockRealize":
        shared = any(str(write.source.scope()) == "shared" for write in stmt.block.writes)
        around = {v: loop for v, loop in loops.items() if not (shared and loop[0].startswith("vthread"))}
        return _share(stmt.predicate, around) * _work(stmt.block.body, around, axes)
    found: Work = np.zeros(3)

    def note_load(load: Any) -> None:
        if str(load.source.scope()) == "global":
            found[1:] += 1, tvm.DataType(load.source.dtype).itemsize

    def note_product(product: Any) -> None:
        found[0] += str(product.ty).startswith("float")

    tvm_ffi.structural_walk(stmt, [(tvm.ir.expr.TensorLoad, note_load), (tvm.tirx.Mul, note_product)])
    threads = {
        axis: extent for axis, extent in loops.values() if axis
    }  # each once, however often it is bound
    turns = math.prod(extent for axis, extent in loops.values() if not axis)
    return found * turns * math.prod(threads.values())


def _share(condition: Any, loops: dict[Any, tuple[str, int]]) -> float:
    """Of the turns of loops, those in which a condition holds; by a sample where there are many."""
    if isinstance(condition, tvm.tirx.IntImm):
        return float(int(condition))
    random = np.random.default_rng(0)
    extents = [(var, loops[var][1]) for var in dict.fromkeys(variables(condition))]
    turns = math.prod(extent for _, extent in extents)
    numbers = np.arange(turns) if turns <= _SAMPLE else random.integers(0, turns, _SAMPLE)
    places = np.unravel_index(numbers, [extent for _, extent in extents])
    known = {var: place for (var, _), place in zip(extents, places, strict=True)}
    return float(np.mean(values(condition, known)))


@dataclass(kw_only=True)
class Sum:
    """Of a class of kernels, or of all."""

    launches: int = 0
    registers: int = 0
    spilled_bytes: int = 0
    shared_bytes: int = 0
    threads: int = 0
    blocks: int = 0
    warps: int = 64
    loaded_bytes: float = 0.0
    outputs: int = 0
    milliseconds: float = 0.0
    source_bytes: int = 0

    def row(self, name: str, way: str) -> list[str]:
        return [
            name,
            way,
            str(self.launches),
            str(self.registers),
            str(self.spilled_bytes),
            str(self.shared_bytes),
            str(self.warps),
            str(self.threads),
            str(self.blocks),
            f"{self.loaded_bytes / self.outputs:.1f}",
            f"{self.milliseconds:.3f}",
            f"{self.source_bytes / 1024:.0f}",
        ]


def _size(buffer: Any) -> int:
    return math.prod(int(side) for side in buffer.shape) * int(tvm.DataType(buffer.dtype).itemsize)


def add(total: Sum, mod: Any, target: Any, compiler: CudaCompiler, calls: int) -> None:
    """One kernel, compiled, of which a network has ``calls``."""
    gpu, machine = Gpu.of(target), MACHINES[compiler.arch]
    func = mod["main"]
    (device,) = tvm.compile(mod, target).mod.imports
    source = str(device.inspect_source())
    (cubin,) = read_cubins(compiler.cubin(source), "kernel")
    launches = list(launches_of(func))
    rate = gpu.multiprocessors * machine.clock_hz
    for launch, taken in zip(launches, sorted(cubin.kernels, key=lambda k: k.name), strict=True):
        resident = gpu.resident_blocks(launch.threads, taken.registers, taken.shared_bytes)
        of_block = math.ceil(launch.threads / WARP)
        running = min(resident, launch.blocks / gpu.multiprocessors) * of_block
        seconds = max(
            launch.products / (rate * gpu.lanes),
            sum(map(_size, func.params)) / len(launches) / machine.bytes_per_s,
            launch.loaded_bytes / (rate * _FIRST_LEVEL),
            (launch.products + launch.loads + launch.blocks * launch.threads * _OF_A_THREAD)
            / (rate * _ISSUED),
        ) / min(1.0, running / _BUSY_WARPS)
        total.launches += calls
        total.registers = max(total.registers, taken.registers)
        total.spilled_bytes = max(total.spilled_bytes, taken.stack_bytes)
        total.shared_bytes = max(total.shared_bytes, taken.shared_bytes)
        total.threads = max(total.threads, launch.threads)
        total.blocks = max(total.blocks, launch.blocks)
        total.warps = min(total.warps, resident * of_block)
        total.loaded_bytes += launch.loaded_bytes * calls
        total.milliseconds += seconds * 1000 * calls
    total.outputs += calls * math.prod(int(side) for side in func.params[-1].shape)
    total.source_bytes += len(source) - source.find('extern "C" __global__')


def of_tvm(mod: Any, target: Any) -> Any:
    """The kernel by DLight's rules, as TVM's own pipeline applies them."""
    gpu = tvm.s_tir.dlight.gpu
    rules = (gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback())
    func = mod["main"].with_attrs({"dlight.do_not_tensorize": 1, "global_symbol": "main"})
    with target:
        return tvm.s_tir.dlight.ApplyDefaultSchedule(*rules)(tvm.IRModule({"main": func}))


WAYS: dict[str, Callable[[Any, Any], Any]] = {"ours": schedule_default, "DLight": of_tvm}
HEADER = (
    *("kernels", "schedule", "launches", "registers", "spilled B", "shared B", "warps"),
    *("threads", "blocks", "loaded B/value", "ms", "source KiB"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arch", choices=MACHINES, default="sm_72")
    parser.add_argument("--network", default="squeezenas-lat-small")
    parser.add_argument("--resolution", default="512x1024", type=Resolution.parse)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    compiler = find_cuda_compiler(given.arch, "11.4")
    compiler.install()
    target = tvm.target.Target({**LIMITS, "arch": given.arch, "host": {"kind": "llvm"}})
    kernels = Counter(network_kernels(load_architecture(given.network), given.resolution))
    sums: dict[tuple[str, str], Sum] = defaultdict(Sum)
    for kernel, calls in kernels.items():
        mod = kernel_module(kernel, target, given.dtype)
        for way, schedule in WAYS.items():
            scheduled = schedule(mod, target)
            for name in (kernel.label.partition(" ")[0], "all"):
                add(sums[name, way], scheduled, target, compiler, calls)
    if given.json:
        print(
            json.dumps([{"kernels": name, "schedule": way, **asdict(s)} for (name, way), s in sums.items()])
        )
        return
    last = [key for key in sums if key[0] == "all"]
    print(table(HEADER, [sums[key].row(*key) for key in [*(k for k in sums if k not in last), *last]]))


if __name__ == "__main__":
    run_benchmark(main)
