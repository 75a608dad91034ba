"""Default CPU schedules of kernels that sum before they compute: softmax, normalisation, means of rows.

Where the axes that are reduced are the last ones, a task takes rows from beginning to end, which stay in
the first-level cache meanwhile, and sums of a row are taken ``lanes`` at once. Where they come before the
last axis, as in a softmax over channels, a task takes a piece of the last axis, whose values are vectors.
"""

import math
from typing import Any

from cost_models.schedules.sblocks import (
    REDUCED,
    blocks_of,
    calls_functions,
    inline,
    reduced_shape,
    reduces,
    spatial_shape,
    vectorize_last,
)
from cost_models.schedules.tile_model import Cpu
from cost_models.tvm_import import tvm

_TASKS = 4  # a core
_LONG = 512  # summands of a row from which sums of four vectors pay, as none waits for the one before
_KEPT_BYTES = 128 * 1024  # of each value that a task of columns keeps: a part of any L2 cache


def schedule_reductions(mod: Any, cpu: Cpu) -> Any:
    """The kernel as a scheduled PrimFunc.

    Raises:
        ValueError: no sum, only one over a window or map, or sums over unlike axes.
    """
    sch = tvm.s_tir.Schedule(mod)
    _inline(sch)
    sums = [block for block in blocks_of(sch) if reduces(sch, block)]
    if not sums or (len(sums) == 1 and len(reduced_shape(sch, sums[0])) > 1):
        raise ValueError("no sum, or one over a window or a map alone")
    last = blocks_of(sch)[-1]
    if reduces(sch, last):
        if len(sums) > 1:
            raise ValueError("a sum after which nothing comes")
        last = sch.cache_write(last, 0, "global")
    if all(_is_along_rows(sch, block) for block in sums):
        _by_rows(sch, sums, last, cpu)
    elif len(sums) > 1 and all(len(reduced_shape(sch, block)) == 1 for block in sums):
        _by_columns(sch, sums, last, cpu)
    else:
        raise ValueError("sums over unlike axes")
    return sch.mod["main"]


def _inline(sch: Any) -> None:
    """What is read once, or no more than a few operations, moves into what reads it; not means and powers."""
    for block in blocks_of(sch):
        consumers = sch.get_consumers(block)
        if len(consumers) == 1 or not calls_functions(sch, block):
            inline(sch, [block])


def _is_along_rows(sch: Any, block: Any) -> bool:
    """Whether its summands lie one after another."""
    stmt = sch.get(block)
    largest = max(stmt.reads, key=lambda read: math.prod(int(side) for side in read.source.shape))
    return bool(largest.region[-1].min.same_as(stmt.iter_vars[-1].var))


def _by_rows(sch: Any, sums: list[Any], last: Any, cpu: Cpu) -> None:
    """Rows in parallel; all that belongs to one in turn."""
    lanes = [_sum_in_lanes(sch, block, cpu) for block in sums]
    row = sch.fuse(*_row_loops(sch, sums[0], last))
    sch.parallel(row)
    for block in reversed(blocks_of(sch)[:-1]):
        sch.compute_at(block, row, preserve_unit_loops=True)
    for block in blocks_of(sch):
        if not reduces(sch, block):
            vectorize_last(sch, block, cpu.lanes)
    for block in sums:
        first, *_ = _summed_last(sch, block)
        sch.decompose_reduction(block, first)
    for block in filter(None, lanes):
        lane = sch.get_loops(block)[1]  # its first axis
        (step,) = _summed_last(sch, block)
        sch.reorder(step, lane)
        vectorize_last(sch, block, cpu.lanes)
        vectorize_last(sch, sch.decompose_reduction(block, step), cpu.lanes)


def _summed_last(sch: Any, block: Any) -> list[Any]:
    """The loops over a block's summands, now innermost; all it has but one are its own."""
    loops, axes = sch.get_loops(block)[1:], sch.get(block).iter_vars
    summed = [loop for loop, iv in zip(loops, axes, strict=True) if int(iv.iter_type) == REDUCED]
    rest = [loop for loop, iv in zip(loops, axes, strict=True) if int(iv.iter_type) != REDUCED]
    sch.reorder(*rest, *summed)
    return summed


def _sum_in_lanes(sch: Any, block: Any, cpu: Cpu) -> Any | None:
    """A block that takes sums side by side, which ``block`` adds up; None where no vectors make a row."""
    count = len(spatial_shape(sch, block))
    summands = math.prod(reduced_shape(sch, block))
    widths = [4 * cpu.lanes] * (summands >= _LONG) + [cpu.lanes]
    together = next((width for width in widths if summands % width == 0 and summands > width), None)
    if together is None:
        return None
    _, lane = sch.split(sch.fuse(*sch.get_loops(block)[count:]), [None, together])
    return sch.rfactor(lane, count)


def _row_loops(sch: Any, block: Any, last: Any) -> list[Any]:
    """The first loops of ``last``, those over the rows of ``block``; a group of channels is one."""
    rows = [extent for extent in spatial_shape(sch, block) if extent > 1]
    found: list[Any] = []
    for loop in sch.get_loops(last):
        extent = int(sch.get(loop).extent)
        if not rows:
            break
        if extent == 1:
            found.append(loop)
            continue
        if extent % rows[0]:
            raise ValueError("its sums go over other rows than its result has")
        found.append(loop if extent == rows[0] else sch.split(loop, [rows[0], None])[0])
        rows.pop(0)
    if rows:
        raise ValueError("its sums go over more rows than its result has")
    return found or [sch.add_unit_loop(last)]


def _by_columns(sch: Any, sums: list[Any], last: Any, cpu: Cpu) -> None:
    """Pieces of the last axis in parallel, the axis that is reduced inside them."""
    shape = spatial_shape(sch, last)
    summed = reduced_shape(sch, sums[0])[0]
    axis = _summed_axis(sch, sums[0])
    loops = sch.get_loops(last)
    if len(loops) != len(shape) or shape[axis] != summed or axis == len(shape) - 1:
        raise ValueError("another axis is reduced than stands in the result")
    others = [loop for i, loop in enumerate(loops[:-1]) if i != axis]
    piece, column = sch.split(loops[-1], [_pieces(shape, axis, cpu), None])
    sch.reorder(*others, piece, loops[axis], column)
    task = sch.fuse(*others, piece)
    sch.parallel(task)
    for block in reversed(blocks_of(sch)[:-1]):
        sch.compute_at(block, task, preserve_unit_loops=True)
    for block in blocks_of(sch):
        if not reduces(sch, block):
            vectorize_last(sch, block, cpu.lanes)
    for block in sums:
        *_, column, k = sch.get_loops(block)
        sch.reorder(k, column)
        vectorize_last(sch, block, cpu.lanes)
        vectorize_last(sch, sch.decompose_reduction(block, k), cpu.lanes)


def _summed_axis(sch: Any, block: Any) -> int:
    """Which axis of what it reads is reduced."""
    stmt = sch.get(block)
    largest = max(stmt.reads, key=lambda read: math.prod(int(side) for side in read.source.shape))
    summed = stmt.iter_vars[-1].var
    return next(i for i, side in enumerate(largest.region) if side.min.same_as(summed))


def _pieces(shape: list[int], axis: int, cpu: Cpu) -> int:
    """The fewest pieces of a row, of whole vectors, that make enough tasks and fit in the cache."""
    columns, others = shape[-1], math.prod(shape[:-1]) // shape[axis]
    counts = [n for n in range(1, columns // cpu.lanes + 1) if columns % (n * cpu.lanes) == 0] or [1]
    fits = (
        n
        for n in counts
        if n * others >= _TASKS * cpu.cores and 4 * shape[axis] * columns // n <= _KEPT_BYTES
    )
    return next(fits, counts[-1])
