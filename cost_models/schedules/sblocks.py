"""What schedules ask of a kernel's blocks."""

import math
from typing import Any

from cost_models.errors import LoweringError
from cost_models.tvm_import import tvm

_REDUCED = 2  # IterVar.CommReduce


def blocks_of(sch: Any) -> list[Any]:
    """The blocks of a kernel, in order."""
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def reduces(sch: Any, block: Any) -> bool:
    """Whether the block sums, or takes a maximum, over some axis."""
    return any(int(iv.iter_type) == _REDUCED for iv in sch.get(block).iter_vars)


def spatial_shape(sch: Any, block: Any) -> list[int]:
    """Extents of the axes that are not reduced."""
    return [int(iv.dom.extent) for iv in sch.get(block).iter_vars if int(iv.iter_type) != _REDUCED]


def inline(sch: Any, blocks: list[Any]) -> None:
    """Inline what is elementwise, unless a consumer would evaluate it more often (a sigmoid, broadcast)."""
    for block in blocks:
        consumers = sch.get_consumers(block)
        size = math.prod(spatial_shape(sch, block))
        if (
            consumers
            and not reduces(sch, block)
            and all(math.prod(spatial_shape(sch, consumer)) <= size for consumer in consumers)
        ):
            sch.compute_inline(block)


def scheduled_module(func: Any) -> Any:
    """IRModule of a scheduled PrimFunc: its ``main``, which no later pass schedules again."""
    attrs = {"global_symbol": "main", "tirx.noalias": True, "tirx.is_scheduled": True}
    return tvm.IRModule({"main": func.with_attrs(attrs)})


def require_threads(mod: Any, target: Any, name: str) -> None:
    """Refuse a kernel for a GPU that would not run there: TVM compiles what has no threads for the host.

    Raises:
        LoweringError: part of it is not bound to threads.
    """
    if target.kind.name != "cuda":
        return
    sch = tvm.s_tir.Schedule(mod)
    for block in blocks_of(sch):
        if all(sch.get(loop).thread_binding is None for loop in sch.get_loops(block)):
            raise LoweringError(
                f"{name}: no schedule for a GPU: {sch.get(block).name_hint} would run on the host, which "
                "cannot reach the GPU's memory"
            )
