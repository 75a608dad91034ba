"""What schedules ask of a kernel's blocks."""

import math
from typing import Any

from cost_models.errors import LoweringError
from cost_models.tvm_import import tvm, tvm_ffi

REDUCED = 2  # IterVar.CommReduce


def blocks_of(sch: Any) -> list[Any]:
    """The blocks of a kernel, in order."""
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def reduces(sch: Any, block: Any) -> bool:
    """Whether the block sums, or takes a maximum, over some axis."""
    return any(int(iv.iter_type) == REDUCED for iv in sch.get(block).iter_vars)


def require_one_result(sch: Any) -> None:
    """Refuse a kernel that gives more than its last parameter. Raises ValueError."""
    others = sch.mod["main"].params[:-1]
    written = [write.source for block in blocks_of(sch) for write in sch.get(block).writes]
    if any(param.same_as(buffer) for param in others for buffer in written):
        raise ValueError("a kernel of several results")


def spatial_shape(sch: Any, block: Any) -> list[int]:
    """Extents of the axes that are not reduced."""
    return [int(iv.dom.extent) for iv in sch.get(block).iter_vars if int(iv.iter_type) != REDUCED]


def reduced_shape(sch: Any, block: Any) -> list[int]:
    """Extents of the axes that are reduced."""
    return [int(iv.dom.extent) for iv in sch.get(block).iter_vars if int(iv.iter_type) == REDUCED]


def calls_functions(sch: Any, block: Any) -> bool:
    """Whether it computes more than sums, products and comparisons."""
    found: list[Any] = []
    tvm_ffi.structural_walk(sch.get(block).body, (tvm.ir.Call, found.append))
    return bool(found)


def vectorize_last(sch: Any, block: Any, lanes: int) -> None:
    """A block's innermost loop in whole vectors, where it is made of such; else it is left to LLVM."""
    loop = sch.get_loops(block)[-1]
    extent = int(sch.get(loop).extent)
    if extent % lanes == 0:
        sch.vectorize(sch.split(loop, [None, lanes])[1] if extent > lanes else loop)


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
