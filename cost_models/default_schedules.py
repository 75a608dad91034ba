"""Default schedules for llvm CPUs: what a kernel runs with when no tuning record is there. Deterministic.

Rules, the first that fits: ``conv_schedule`` for fused NCHW convolutions; ``resize_schedule`` for enlarging;
``_by_rows`` for all else (pooling, argmax, concatenation, layout changes ...); the kernel as it is. A rule
that fails costs speed, never the result.

Other targets than llvm are returned as they are.
"""

import logging
import math
from collections.abc import Callable
from typing import Any

from cost_models.conv_schedule import Cpu, choose_tile, find_conv, schedule_conv, write_conv
from cost_models.resize_schedule import schedule_resize, write_resize
from cost_models.tvm_import import tvm

_log = logging.getLogger(__name__)

_REDUCED = 2  # IterVar.CommReduce
_ROW = 8  # shorter rows are not worth a vector


def schedule_default(mod: Any, target: Any) -> Any:
    """The kernel with a default schedule; as it is where no rule fits. Never fails.

    Args:
        mod: IRModule with one PrimFunc ``main``, as ``lowering.kernels`` gives it.
        target: tvm Target; schedules are written for kind ``llvm``.

    Returns:
        IRModule with one PrimFunc ``main`` of the same parameters and, up to rounding, the same result.
    """
    if target.kind.name != "llvm":
        return mod
    cpu = Cpu.of(target)
    rules: tuple[Callable[[Any, Cpu], Any], ...] = (_conv, _resize, _by_rows)
    for rule in rules:
        try:
            func = rule(mod, cpu)
        except Exception as error:  # TVM raises many types, and the next rule is there for it
            _log.debug("%s does not fit: %s", rule.__name__, str(error).splitlines()[:1])
            continue
        attrs = {"global_symbol": "main", "tirx.noalias": True, "tirx.is_scheduled": True}
        return tvm.IRModule({"main": func.with_attrs(attrs)})
    return mod


def _conv(mod: Any, cpu: Cpu) -> Any:
    sch = tvm.s_tir.Schedule(mod)
    _pad, conv_block, *epilogue = _blocks(sch)
    if epilogue:
        _inline(sch, epilogue)
    else:
        sch.cache_write(conv_block, 0, "global")
    conv = find_conv(sch)
    tile = choose_tile(conv, cpu)
    return schedule_conv(write_conv(conv, tile), conv, tile).mod["main"]


def _resize(mod: Any, cpu: Cpu) -> Any:
    sch = tvm.s_tir.Schedule(mod)
    _inline(sch, _blocks(sch)[1:])
    return schedule_resize(write_resize(sch)).mod["main"]


def _by_rows(mod: Any, cpu: Cpu) -> Any:
    """Rows in parallel; the innermost loop is left whole for LLVM to vectorise, as predicates are slow."""
    sch = tvm.s_tir.Schedule(mod)
    _inline(sch, _blocks(sch))
    for block in reversed(_blocks(sch)):
        if not _reduces(sch, block):
            _parallel(sch, sch.get_loops(block)[:-1])
        elif _walks_rows(sch, block):
            _sum_rows(sch, block)
        else:
            _interleave_sums(sch, block)
    return sch.mod["main"]


def _sum_rows(sch: Any, block: Any) -> None:
    """Sums of a whole row at a time, in the consumer's row where there is one."""
    consumers = sch.get_consumers(block)
    inside = len(consumers) == 1 and _spatial_shape(sch, consumers[0]) == _spatial_shape(sch, block)
    if inside:
        sch.compute_at(block, sch.get_loops(consumers[0])[0], preserve_unit_loops=True)
    count = len(_spatial_shape(sch, block))
    loops = sch.get_loops(block)[-len(sch.get(block).iter_vars) :]
    rows, row, sums = loops[: count - 1], loops[count - 1], loops[count:]
    sch.reorder(*sums, row)
    if not inside:
        _parallel(sch, rows)
    sch.decompose_reduction(block, sums[0])


def _interleave_sums(sch: Any, block: Any) -> None:
    """Several sums at once, so that one need not wait for the other."""
    count = len(_spatial_shape(sch, block))
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


def _inline(sch: Any, blocks: list[Any]) -> None:
    """Inline what is elementwise, unless a consumer would evaluate it more often (a sigmoid, broadcast)."""
    for block in blocks:
        consumers = sch.get_consumers(block)
        size = math.prod(_spatial_shape(sch, block))
        if (
            consumers
            and not _reduces(sch, block)
            and all(math.prod(_spatial_shape(sch, consumer)) <= size for consumer in consumers)
        ):
            sch.compute_inline(block)


def _blocks(sch: Any) -> list[Any]:
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def _reduces(sch: Any, block: Any) -> bool:
    return any(int(iv.iter_type) == _REDUCED for iv in sch.get(block).iter_vars)


def _spatial_shape(sch: Any, block: Any) -> list[int]:
    return [int(iv.dom.extent) for iv in sch.get(block).iter_vars if int(iv.iter_type) != _REDUCED]


def _walks_rows(sch: Any, block: Any) -> bool:
    """Whether neighbours in a row of the result need neighbours in a row of the input: contiguous loads."""
    stmt = sch.get(block)
    count = len(_spatial_shape(sch, block))
    region = stmt.reads[0].region
    steps = tvm.sym.detect_linear_equation(region[-1].min, [stmt.iter_vars[count - 1].var])
    return len(steps) == 2 and int(steps[0]) == 1 and _spatial_shape(sch, block)[-1] >= _ROW
