"""Default schedules for llvm CPUs: what a kernel runs with when no tuning record is there. Deterministic.

Rules, first that fits: ``conv_schedule`` for fused NCHW convolutions; ``_by_rows`` for all else (resize, pooling,
argmax, concatenation, layout changes ...); the kernel as it is. A rule that fails costs speed, never the result.

Other targets than llvm are returned as they are.
"""

import logging
import math
from collections.abc import Callable
from typing import Any

from cost_models.conv_schedule import Cpu, choose_tile, find_conv, schedule_conv, write_conv
from cost_models.tvm_import import tvm

_log = logging.getLogger(__name__)

_SPATIAL = 0  # IterVar.DataPar
_SERIAL = 4096  # a block of fewer steps is not worth waking the other threads for (about 5 us)


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
    rules: tuple[Callable[[Any, Cpu], Any], ...] = (_conv, _by_rows)
    for rule in rules:
        try:
            func = rule(mod, cpu)
        except Exception as error:  # TVM raises many types; a schedule is a wish, the next rule is there for it
            _log.debug("%s does not fit: %s", rule.__name__, str(error).splitlines()[:1])
            continue
        attrs = {"global_symbol": "main", "tirx.noalias": True, "tirx.is_scheduled": True}
        return tvm.IRModule({"main": func.with_attrs(attrs)})
    return mod


def _conv(mod: Any, cpu: Cpu) -> Any:
    sch = tvm.s_tir.Schedule(mod)
    _inline(sch)
    conv = find_conv(sch)
    tile = choose_tile(conv, cpu)
    return schedule_conv(write_conv(conv, tile), conv, tile).mod["main"]


def _by_rows(mod: Any, cpu: Cpu) -> Any:
    """Rows in parallel; LLVM vectorises the innermost loop, which is left whole and without predicate."""
    sch = tvm.s_tir.Schedule(mod)
    _inline(sch, keep_pads=False)
    blocks = _blocks(sch)
    for position, block in enumerate(blocks):
        if not _is_reduction(sch, block):
            _parallel(sch, block, keep=1)
        elif not _walks_rows(sch, block):
            _interleave(sch, block)
        elif position + 1 < len(blocks) and _same_domain(sch, block, blocks[position + 1]):
            continue  # placed in the rows of its consumer below
        else:
            _row_sums(sch, block, _parallel(sch, block, keep=1))
    for block, consumer in zip(blocks, blocks[1:]):
        if _is_reduction(sch, block) and _walks_rows(sch, block) and _same_domain(sch, block, consumer):
            rows = sch.get_loops(consumer)[0]
            sch.compute_at(block, rows, preserve_unit_loops=True)
            _row_sums(sch, block)
    return sch.mod["main"]
