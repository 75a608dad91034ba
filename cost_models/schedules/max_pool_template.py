"""Default CPU schedule of max pooling with large windows: first between rows, then along them.

A window of k x k pixels takes 2 k comparisons a pixel so, not k squared, and none of them asks whether a
pixel is outside: outside the map stands the nearest pixel of the map, which every window that reaches out
there has, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cost_models.schedules.conv_template import substitute
from cost_models.schedules.sblocks import blocks_of, require_one_result, vectorize_last
from cost_models.schedules.tile_model import Cpu
from cost_models.tvm_import import tvm

te, tirx = tvm.te, tvm.tirx

_LEAST = 5  # pixels of a window's longer side


@dataclass(frozen=True, kw_only=True)
class MaxPool:
    """A fused NCHW max pooling as found in a kernel; pairs are of rows and columns.

    Attributes:
        params: buffers that the kernel takes, the result last.
        data, intermediate: buffers of input and bare result.
        epilogue: value of the kernel's result at the variables ``axes``; reads ``intermediate``.
        pads: at the top and at the left.
    """

    params: tuple[Any, ...]
    data: Any
    intermediate: Any
    epilogue: Any
    axes: tuple[Any, ...]
    window: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int]


def find_max_pool(mod: Any) -> MaxPool:
    """The max pooling of an unscheduled kernel.

    Raises:
        ValueError: the kernel is none, or its window is small or has gaps.
    """
    sch = tvm.s_tir.Schedule(mod)
    require_one_result(sch)
    names = [sch.get(block).name_hint for block in blocks_of(sch)]
    if "pool_max" not in names[:2]:
        raise ValueError(f"not a max pooling: blocks {names}")
    place = names.index("pool_max")
    for block in blocks_of(sch)[place + 1 : -1]:
        sch.compute_inline(block)
    if len(names) == place + 1:
        sch.cache_write(blocks_of(sch)[-1], 0, "global")
    blocks = [sch.get(block) for block in blocks_of(sch)]
    if len(blocks) != place + 2:
        raise ValueError(f"not a max pooling: blocks {names}")
    pool, last = blocks[place:]
    if len(pool.iter_vars) != 6 or not isinstance(pool.body.value, tirx.Max):
        raise ValueError("not a max pooling of a map")
    variables = [iv.var for iv in pool.iter_vars]
    steps = [tvm.sym.detect_linear_equation(pool.body.value.b.indices[i], variables) for i in (2, 3)]
    dilation = int(steps[0][4]), int(steps[1][5])
    window = int(pool.iter_vars[4].dom.extent), int(pool.iter_vars[5].dom.extent)
    if max(window) < _LEAST or dilation != (1, 1):
        raise ValueError(f"a window of {window} with dilation {dilation}")
    pads = (0, 0)
    if place:
        pad = blocks[0]
        shifts = [
            tvm.sym.detect_linear_equation(pad.reads[0].region[i].min, [pad.iter_vars[i].var]) for i in (2, 3)
        ]
        pads = -int(shifts[0][1]), -int(shifts[1][1])
    return MaxPool(
        params=tuple(sch.mod["main"].params),
        data=blocks[0].reads[0].source if place else pool.body.value.b.source,
        intermediate=pool.writes[0].source,
        epilogue=last.body.value,
        axes=tuple(iv.var for iv in last.iter_vars),
        window=window,
        stride=(int(steps[0][2]), int(steps[1][3])),
        pads=pads,
    )


def _check(pool: MaxPool) -> None:
    """Every window has a pixel of the map. Raises ValueError."""
    sides = (pool.data.shape[2:], pool.intermediate.shape[2:], pool.window, pool.stride, pool.pads)
    for side, count, window, stride, pad in zip(*sides, strict=True):
        if pad >= window or (int(count) - 1) * stride - pad >= int(side):
            raise ValueError("a window lies outside the map")
    if list(pool.params[-1].shape) != list(pool.intermediate.shape):
        raise ValueError("the epilogue has another shape than the pooling")


def _write(pool: MaxPool) -> Any:
    """A PrimFunc of the blocks ``between``, ``padded``, ``along`` and ``out``."""
    batch, channels, height, width = (int(side) for side in pool.data.shape)
    rows, columns = (int(side) for side in pool.intermediate.shape[2:])
    (window_y, window_x), (stride_y, stride_x), (top, left) = pool.window, pool.stride, pool.pads
    tensors = {p: te.placeholder(p.shape, p.dtype, p.name) for p in pool.params[:-1]}
    data = tensors[pool.data]
    ry, rx = te.reduce_axis((0, window_y), "ry"), te.reduce_axis((0, window_x), "rx")
    last_row = (rows - 1) * stride_y + window_y - 1 - top
    last_column = (columns - 1) * stride_x + window_x - 1 - left
    between = te.compute(
        (batch, channels, rows, width),
        lambda n, c, y, x: te.max(
            data[n, c, _clamped(y * stride_y + ry - top, top, last_row, height), x], axis=ry
        ),
        name="between",
    )
    padded = te.compute(
        (batch, channels, rows, last_column + left + 1),
        lambda n, c, y, x: between[n, c, y, _clamped(x - left, left, last_column, width)],
        name="padded",
    )
    tensors[pool.intermediate] = te.compute(
        (batch, channels, rows, columns),
        lambda n, c, y, x: te.max(padded[n, c, y, x * stride_x + rx], axis=rx),
        name="along",
    )

    def out_value(*indices: Any) -> Any:
        at: Mapping[Any, Any] = dict(zip(pool.axes, indices, strict=True))
        return substitute(pool.epilogue, at, lambda load: tensors[load.source](*load.indices))

    out = te.compute(pool.params[-1].shape, out_value, name="out")
    return te.create_prim_func([*(tensors[p] for p in pool.params[:-1]), out])


def _clamped(index: Any, before: int, last: int, side: int) -> Any:
    """An index that is outside by ``before`` at most, and goes up to ``last``; the nearest one inside."""
    if last >= side:
        index = tirx.min(index, side - 1)
    return tirx.max(index, 0) if before else index


def schedule_max_pool(pool: MaxPool, cpu: Cpu) -> Any:
    """The kernel as a scheduled PrimFunc: rows in parallel, each with two scratch rows.

    Raises:
        ValueError: a window has no pixel, or what comes after has another shape.
    """
    _check(pool)
    sch = tvm.s_tir.Schedule(_write(pool))
    between, padded, along, out = (sch.get_sblock(name) for name in ("between", "padded", "along", "out"))
    row = sch.fuse(*sch.get_loops(out)[:-1])
    sch.parallel(row)
    for block in (along, padded, between):
        sch.compute_at(block, row, preserve_unit_loops=True)
    for block in (between, along):
        *_, column, window = sch.get_loops(block)
        whole = int(sch.get(column).extent) % cpu.lanes == 0
        if whole:
            piece, column = sch.split(column, [None, cpu.lanes])
            sch.reorder(piece, window, column)
            sch.unroll(window)
            sch.vectorize(column)
        else:
            sch.reorder(window, column)
        vectorize_last(sch, sch.decompose_reduction(block, window), cpu.lanes)
    vectorize_last(sch, out, cpu.lanes)
    return sch.mod["main"]
