"""Default schedules: what a kernel runs with when no tuning record is there. Deterministic.

Rules for llvm CPUs, the first that fits: templates for fused NCHW convolutions, the largest channel of
resized maps, resizes, products of matrices and max pooling with large windows; ``reductions`` (softmax,
normalisation), ``shuffles`` (pixel shuffle, transpose); ``_by_rows`` for all else (other pooling, argmax,
concatenation ...); the kernel as it is. A rule that fails costs speed, never the result. Kernels for NVIDIA's
GPUs get the schedules of ``gpu_rules``, or else TVM's own (DLight): they run, and are slow; a schedule by
which threads would read what others keep for themselves does not fit. Other targets' kernels are returned as
they are.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cost_models.schedules.conv_template import find_conv, schedule_conv
from cost_models.schedules.gpu_rules import GPU_RULES
from cost_models.schedules.labels_template import find_labels, schedule_labels, write_labels
from cost_models.schedules.matmul_template import choose_matmul_tile, find_matmul, schedule_matmul
from cost_models.schedules.max_pool_template import find_max_pool, schedule_max_pool
from cost_models.schedules.reductions import schedule_reductions
from cost_models.schedules.registers import require_own_registers
from cost_models.schedules.resize_template import schedule_resize, write_resize
from cost_models.schedules.sblocks import blocks_of, inline, reduces, scheduled_module, spatial_shape
from cost_models.schedules.shuffles import schedule_shuffle
from cost_models.schedules.tile_model import Cpu, choose_tile
from cost_models.tvm_import import tvm

_log = logging.getLogger(__name__)

_ROW = 8  # shorter rows are not worth a vector


def schedule_default(mod: Any, target: Any) -> Any:
    """The kernel with a default schedule; as it is where no rule fits. Never fails.

    Where every rule makes threads of a GPU read what others keep for themselves, the last one's schedule is
    returned: who builds it refuses it, and names the buffer.

    Args:
        mod: IRModule with one PrimFunc ``main``, as ``lowering.kernels`` gives it.
        target: tvm Target.

    Returns:
        IRModule with one PrimFunc ``main`` of the same parameters and, up to rounding, the same result.
    """
    rules: Mapping[str, Callable[[Any, Any], Any]] = {}
    if target.kind.name == "cuda":
        rules, machine = _gpu_rules(), target
    elif target.kind.name == "llvm":
        rules, machine = _CPU_RULES, Cpu.of(target)
    result = mod
    for name, rule in rules.items():
        try:
            scheduled = scheduled_module(rule(mod, machine))
            result = scheduled
            require_own_registers(scheduled, target, "kernel")
        except Exception as error:  # TVM raises many types, and the next rule is there for it
            _log.debug("%s does not fit: %s", name, str(error).splitlines()[:1])
        else:
            break
    return result


def _gpu_rules() -> dict[str, Callable[[Any, Any], Any]]:
    """Ours, then DLight's in the order in which TVM's own GPU pipeline applies them; first its products."""
    gpu = tvm.s_tir.dlight.gpu
    rules = (gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback())
    dlight = {type(rule).__name__: partial(_dlight, rule) for rule in rules}
    return {"products": partial(_product, dlight["Matmul"]), **GPU_RULES, **dlight}


def _product(rule: Callable[[Any, Any], Any], mod: Any, target: Any) -> Any:
    """Products of matrices alone: a thread of ours would take one sum from beginning to end."""
    find_matmul(mod)
    return rule(mod, target)


def _dlight(rule: Any, mod: Any, target: Any) -> Any:
    # No tensor cores: they take headers of the CUDA compiler (crt/mma.h), and TVM 13 s a process to import.
    func = mod["main"].with_attr("dlight.do_not_tensorize", 1)
    copy = tvm.IRModule({"main": func})  # the pass writes into the module that it is given
    with target:
        func = tvm.s_tir.dlight.ApplyDefaultSchedule(rule)(copy)["main"]
    if "tirx.is_scheduled" not in func.attrs:
        raise LookupError("no schedule for this kernel")
    return func


def _conv(mod: Any, cpu: Cpu) -> Any:
    conv = find_conv(mod)
    return schedule_conv(conv, choose_tile(conv, cpu))


def _labels(mod: Any, cpu: Cpu) -> Any:
    labels = find_labels(tvm.s_tir.Schedule(mod))
    return schedule_labels(write_labels(labels, cpu), cpu).mod["main"]


def _resize(mod: Any, cpu: Cpu) -> Any:
    sch = tvm.s_tir.Schedule(mod)
    inline(sch, blocks_of(sch)[1:])
    return schedule_resize(write_resize(sch, cpu), cpu).mod["main"]


def _matmul(mod: Any, cpu: Cpu) -> Any:
    product = find_matmul(mod)
    return schedule_matmul(product, choose_matmul_tile(product, cpu))


def _max_pool(mod: Any, cpu: Cpu) -> Any:
    return schedule_max_pool(find_max_pool(mod), cpu)


def _shuffle(mod: Any, _cpu: Cpu) -> Any:
    return schedule_shuffle(mod)


def _by_rows(mod: Any, cpu: Cpu) -> Any:
    """Rows in parallel; the innermost loop is left whole for LLVM to vectorise, as predicates are slow."""
    sch = tvm.s_tir.Schedule(mod)
    inline(sch, blocks_of(sch))
    for block in reversed(blocks_of(sch)):
        if not reduces(sch, block):
            _parallel(sch, sch.get_loops(block)[:-1])
        elif _walks_rows(sch, block):
            _sum_rows(sch, block)
        else:
            _interleave_sums(sch, block)
    return sch.mod["main"]


def _sum_rows(sch: Any, block: Any) -> None:
    """Sums of a whole row at a time, in the consumer's row where there is one."""
    consumers = sch.get_consumers(block)
    inside = len(consumers) == 1 and spatial_shape(sch, consumers[0]) == spatial_shape(sch, block)
    if inside:
        sch.compute_at(block, sch.get_loops(consumers[0])[0], preserve_unit_loops=True)
    count = len(spatial_shape(sch, block))
    loops = sch.get_loops(block)[-len(sch.get(block).iter_vars) :]
    rows, row, sums = loops[: count - 1], loops[count - 1], loops[count:]
    sch.reorder(*sums, row)
    if not inside:
        _parallel(sch, rows)
    sch.decompose_reduction(block, sums[0])


def _interleave_sums(sch: Any, block: Any) -> None:
    """Several sums at once, so that one need not wait for the other."""
    count = len(spatial_shape(sch, block))
    loops = sch.get_loops(block)
    spatial = sch.fuse(*loops[:count])
    together = max(d for d in range(1, 9) if int(sch.get(spatial).extent) % d == 0)
    outer, inner = sch.split(spatial, [None, together])
    sch.reorder(outer, *loops[count:], inner)
    sch.unroll(inner)
    _parallel(sch, [outer])
    sch.decompose_reduction(block, loops[count])


def _parallel(sch: Any, loops: list[Any]) -> None:
    """Run ``loops`` in parallel, as one loop; none for a block of one dimension."""
    if loops:
        sch.parallel(sch.fuse(*loops))


def _walks_rows(sch: Any, block: Any) -> bool:
    """Whether neighbours in a row of the result need neighbours in a row of the input: contiguous loads."""
    stmt = sch.get(block)
    count = len(spatial_shape(sch, block))
    region = stmt.reads[0].region
    steps = tvm.sym.detect_linear_equation(region[-1].min, [stmt.iter_vars[count - 1].var])
    return len(steps) == 2 and int(steps[0]) == 1 and spatial_shape(sch, block)[-1] >= _ROW


_CPU_RULES: Mapping[str, Callable[[Any, Cpu], Any]] = {
    "conv": _conv,
    "labels": _labels,
    "shuffle": _shuffle,  # enlarging to the nearest pixel, by a whole number, among them
    "resize": _resize,
    "matmul": _matmul,
    "max pool": _max_pool,
    "reductions": schedule_reductions,
    "by rows": _by_rows,
}
