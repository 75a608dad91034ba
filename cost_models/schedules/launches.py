"""How a kernel's schedule starts a GPU: one launch or several, of so many blocks of so many threads."""

import math
from dataclasses import dataclass
from typing import Any

from cost_models.schedules.own_accesses import THREAD
from cost_models.tvm_import import tvm, tvm_ffi

_BLOCK = "blockIdx."


@dataclass(frozen=True, slots=True)
class Launch:
    """Blocks, and threads of each."""

    blocks: int
    threads: int


def launches(mod: Any) -> tuple[Launch, ...]:
    """Those of a scheduled kernel, in order; none for a CPU's.

    Args:
        mod: IRModule with one scheduled PrimFunc ``main``, not lowered.
    """
    return tuple(_launch(loop) for loop in _outermost(mod["main"].body))


def _outermost(stmt: Any) -> list[Any]:
    """The outermost loops that are bound to blocks or threads: each becomes a kernel of the GPU."""
    if isinstance(stmt, tvm.tirx.For) and stmt.thread_binding is not None:
        return [stmt]
    if isinstance(stmt, tvm.tirx.SeqStmt):
        return [loop for part in stmt.seq for loop in _outermost(part)]
    if isinstance(stmt, tvm.s_tir.SBlockRealize):
        return _outermost(stmt.block.body)
    return _outermost(stmt.body) if hasattr(stmt, "body") else []


def _launch(loop: Any) -> Launch:
    extents: dict[str, int] = {}

    def note(found: Any) -> None:
        if found.thread_binding is not None:
            extents[str(found.thread_binding.thread_tag)] = int(found.extent)

    tvm_ffi.structural_walk(loop, (tvm.tirx.For, note))
    return Launch(
        blocks=math.prod(n for tag, n in extents.items() if tag.startswith(_BLOCK)),
        threads=math.prod(n for tag, n in extents.items() if tag.startswith(THREAD)),
    )
