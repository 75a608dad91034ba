"""Every kernel of a network compiled for a GPU, run once on the emulated one beside a CPU.

The schedules that leave are the ones that run, at their real sizes; of a launch with many blocks some run,
the first and the last among them, and what they wrote is compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cost_models.lowering.pipeline import Compiled, kernels
from cost_models.runner.emulated_check import CheckedRun, KernelRun, blank_arrays, check_kernels
from cost_models.runner.runner import arguments_of
from cost_models.schedules.default import schedule_default
from cost_models.schedules.launches import launches
from cost_models.tvm_import import tvm
from targets import load_target

MOST_BLOCKS = 16  # of a launch
_WITHIN = {"float32": 1e-4, "float16": 1e-2}  # of the largest value
_SAME = 0.99  # of whole numbers, such as classes: near a tie a rounding decides
_MARKS = {2: 0x7E5A, 4: 0x7FC0DEAD, 8: 0x7FF800000000DEAD}  # by bytes: not-a-numbers that no arithmetic gives

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Loads:
    """What a launch loads from the GPU's memory.

    Attributes:
        bytes_asked: by all threads together, each byte as often as it is asked for.
        bytes_moved: of the 32-byte sectors that these lie in, warp by warp: more where neighbours read apart,
            less where they read the same.
    """

    bytes_asked: float
    bytes_moved: float


@dataclass(frozen=True, slots=True)
class KernelVerdict:
    """What the emulated GPU says of a kernel.

    Attributes:
        name: in the network; of equal kernels the first.
        tuned: its schedule is a tuned one, not the default.
        faults: all that is wrong, a line each; empty for a sound kernel.
        loads: of each launch, where all were counted.
    """

    name: str
    tuned: bool
    faults: tuple[str, ...]
    loads: tuple[Loads, ...] = ()


def check_compiled(compiled: Compiled, lowered: Any, arch: str) -> Iterator[KernelVerdict]:
    """Verdicts on the distinct kernels of a network, one after the other.

    Args:
        compiled: for a CUDA target.
        lowered: what it was compiled from.
        arch: of its GPU, such as ``sm_72``.

    Raises:
        MissingTool: no C++ compiler on this machine.
        CompileError, OSError: the emulated GPU's libraries could not be built.
    """
    plain = kernels(lowered)
    distinct = {kernel.hash: name for name, kernel in reversed(list(compiled.kernels.items()))}
    names = sorted(distinct.values())
    host = load_target("local-cpu").tvm_target()
    runs = (_run_of(name, compiled.kernels[name].mod, plain[name].mod) for name in names)
    for name, done in zip(names, check_kernels(runs, arch), strict=True):
        kernel = compiled.kernels[name]
        whole = _runs_whole(kernel.mod)
        faults = done.faults or _differences(name, plain[name].mod, done, host, whole=whole)
        yield KernelVerdict(name, kernel.tuned, tuple(faults), _loads(kernel.mod, done))


def _run_of(name: str, scheduled: Any, plain: Any) -> KernelRun:
    """What the emulated GPU is to run; what is not written of its results keeps a mark."""
    infos, results = arguments_of(plain), _results(plain)
    arrays = tuple(
        _marked(array) if place in results else array for place, array in enumerate(blank_arrays(infos))
    )
    return KernelRun(name, scheduled, arrays, None if _runs_whole(scheduled) else MOST_BLOCKS)


def _runs_whole(scheduled: Any) -> bool:
    """Also what has several launches: a second one reads what all blocks of the first have written."""
    started = launches(scheduled)
    return len(started) != 1 or started[0].blocks <= max(2, MOST_BLOCKS)


def _loads(scheduled: Any, done: CheckedRun) -> tuple[Loads, ...]:
    """Of all blocks, from those that ran."""
    counted = []
    for index, launch in enumerate(launches(scheduled)):
        name = f"main_kernel_{index}" if index else "main_kernel"  # TVM's
        counts = (done.counts or {}).get(name)
        if counts is None or not counts.threads:
            return ()
        share = launch.blocks * launch.threads / counts.threads
        counted.append(Loads(share * counts.load_bytes, share * counts.moved_load_bytes))
    return tuple(counted)


def _results(plain: Any) -> list[int]:
    """Which of the kernel's parameters it writes."""
    sch, written = tvm.s_tir.Schedule(plain), []
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        written += [region.source for region in sch.get(block).writes]
    params = plain["main"].params
    return [place for place, param in enumerate(params) if any(param.same_as(buffer) for buffer in written)]


def _marked(array: Array) -> Array:
    """An array of its form, filled with what no kernel gives as a result."""
    marks = np.full(array.shape, _mark(array.dtype), f"u{array.dtype.itemsize}")
    return marks.view(array.dtype)


def _mark(dtype: np.dtype[Any]) -> int:
    """The bits of that: of a not-a-number of ours, or of a class that is never one."""
    return _MARKS[dtype.itemsize] if dtype.kind == "f" else int(np.iinfo(dtype).max)


def _differences(name: str, plain: Any, done: CheckedRun, host: Any, *, whole: bool) -> list[str]:
    """How its results differ from this CPU's, a line each; ``whole``: all blocks have run."""
    results = _results(plain)
    expected = _on_host(plain, done.arrays, host)
    said = (_difference(done.arrays[place], expected[place], whole=whole) for place in results)
    return [f"kernel {name}: {difference}" for difference in said if difference]


def _on_host(plain: Any, arrays: tuple[Array, ...], host: Any) -> list[Array]:
    executable = tvm.compile(schedule_default(plain, host), host)
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    executable["main"](*tensors)
    return [tensor.numpy() for tensor in tensors]


def _difference(found: Array, expected: Array, *, whole: bool) -> str | None:
    """Of what was written; None where it is what it should be."""
    written = found.view(f"u{found.dtype.itemsize}") != _mark(found.dtype)
    if not written.any() or (whole and not written.all()):
        return f"writes {int(written.sum())} of the {written.size} values of its result"
    ours, theirs = found[written].astype("float64"), expected[written].astype("float64")
    if found.dtype.kind != "f":
        same = float((ours == theirs).mean())
        return None if same >= _SAME else f"{100 * (1 - same):.3g} % of its result differ from the CPU's"
    scale = float(np.abs(theirs).max()) or 1.0
    worst = float(np.abs(ours - theirs).max()) / scale
    allowed = _WITHIN[str(found.dtype)]
    if worst <= allowed:
        return None
    return f"its result differs from the CPU's by {worst:.2g} of the largest value, allowed: {allowed:g}"
