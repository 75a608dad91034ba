"""Default CPU schedule of a fused NCHW convolution: packed input tile, register tile, vectors along a row.

The kernel is written anew from its parameters, because a fast schedule needs buffers that the original has
not: rows rounded up to whole vectors (a predicate in a vector loop makes TVM fall back to scalar code, 25
times slower) and, under a stride, columns sorted by their remainder (strided vector loads are scalar, too).
They are sorted in registers, vectors of the input at a time, where no predicate tells edges from the rest::

    packed[n, c, y, x % s, x // s] = data, zero outside       one tile at a time, stays in a cache
    conv[n, f, y, x]               = sum(packed * weight)     a register tile, x rounded up
    out[n, f, y, x]                = epilogue(conv)           bias, activation, residual: as in the original
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cost_models.schedules.sblocks import blocks_of
from cost_models.tvm_import import tvm, tvm_ffi

te, tirx = tvm.te, tvm.tirx

_MAX_WINDOW = 49  # taps; the window is unrolled


@dataclass(frozen=True, kw_only=True)
class Conv:
    """A fused convolution as found in a kernel.

    Attributes:
        params: buffers that the kernel takes, the result last.
        data, weight, intermediate: buffers of input, weights and bare result, NCHW and OIHW.
        epilogue: value of the kernel's result at the variables ``axes``; reads ``intermediate``.
        stride, dilation: (y, x). pads: (top, left).
    """

    params: tuple[Any, ...]
    data: Any
    weight: Any
    intermediate: Any
    epilogue: Any
    axes: tuple[Any, ...]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int]

    @cached_property
    def batch(self) -> int:
        return int(self.data.shape[0])

    @cached_property
    def element_bytes(self) -> int:
        """Of its input's dtype."""
        return 2 if str(self.data.dtype) == "float16" else 4

    @cached_property
    def memory_bytes(self) -> int:
        """What the kernel reads and writes at least: each parameter once."""
        return sum(math.prod(map(int, param.shape)) for param in self.params) * self.element_bytes

    @cached_property
    def channels(self) -> int:
        """Of the input."""
        return int(self.data.shape[1])

    @cached_property
    def out_shape(self) -> tuple[int, int, int]:
        """(filters, height, width)."""
        _, filters, height, width = (int(extent) for extent in self.intermediate.shape)
        return filters, height, width

    @cached_property
    def taps(self) -> tuple[int, int]:
        """Rows and columns of the weights."""
        return int(self.weight.shape[2]), int(self.weight.shape[3])

    @cached_property
    def groups(self) -> int:
        return self.channels // int(self.weight.shape[1])

    @cached_property
    def depthwise(self) -> bool:
        return self.groups == self.out_shape[0] and int(self.weight.shape[1]) == 1

    @cached_property
    def window(self) -> tuple[int, int]:
        """Rows and columns of input that one output depends on."""
        rows, columns = ((self.taps[i] - 1) * self.dilation[i] + 1 for i in (0, 1))
        return rows, columns

    def ragged(self, width: int) -> bool:
        """Whether the last tile of ``width`` columns in a row is not full."""
        return self.out_shape[2] % width != 0

    def readable_directly(self, width: int) -> bool:
        """Whether tiles of ``width`` columns find all they need in the input, in whole vectors."""
        return self.stride == (1, 1) and not any(self.pads) and not self.ragged(width)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """Register tile: ``channels`` x ``rows`` x ``vectors`` of ``lanes`` floats.

    A packed tile of the input serves ``down`` x ``across`` of them, and all channels. ``channels`` divide
    those of a group; where there is but one group, the last register tile may have too many.

    Attributes:
        filters_first: all of the packed tile for some channels, then for the next, so that their weights stay
            in the cache and few rows are written at a time; not for depthwise kernels.
        direct: the input is read where it is and not packed; needs ``Conv.readable_directly``.
    """

    channels: int
    rows: int
    vectors: int
    lanes: int
    down: int
    across: int
    filters_first: bool = False
    direct: bool = False

    @property
    def width(self) -> int:
        """Columns of a register tile."""
        return self.vectors * self.lanes


def find_conv(mod: Any) -> Conv:
    """The convolution of an unscheduled kernel, for CPUs.

    Args:
        mod: IRModule with the kernel as its function ``main``.

    Raises:
        ValueError: the kernel is none, or one that this schedule does not cover.
    """
    conv = read_conv(mod)
    if (dtype := str(conv.data.dtype)) != "float32":
        raise ValueError(f"a convolution in {dtype}; tiles are made for vectors of float32")
    if math.prod(conv.taps) > _MAX_WINDOW:
        raise ValueError("the window is too large to unroll")
    if list(conv.params[-1].shape) != list(conv.intermediate.shape):
        raise ValueError("the epilogue has another shape than the convolution")
    return conv


def read_conv(mod: Any) -> Conv:
    """The convolution of an unscheduled kernel; in float16 its sums are in float32.

    Args:
        mod: IRModule with the kernel as its function ``main``.

    Raises:
        ValueError: the kernel is none.
    """
    sch = tvm.s_tir.Schedule(mod)
    found = blocks_of(sch)
    for block in found[2:-1]:  # evaluated more often where a result is broadcast
        sch.compute_inline(block)
    if len(found) == 2:
        sch.cache_write(found[1], 0, "global")
    blocks = [sch.get(block) for block in blocks_of(sch)]
    names = [block.name_hint for block in blocks]
    if len(blocks) != 3 or "conv2d" not in names[1] or len(blocks[1].iter_vars) != 7:
        raise ValueError(f"not a fused NCHW convolution: blocks {names}")
    pad, conv, last = blocks
    packed, weight = (_uncast(factor) for factor in (conv.body.value.b.a, conv.body.value.b.b))
    variables = [iv.var for iv in conv.iter_vars]
    steps = [tvm.sym.detect_linear_equation(packed.indices[axis], variables) for axis in (2, 3)]
    shifts = [
        tvm.sym.detect_linear_equation(pad.reads[0].region[axis].min, [pad.iter_vars[axis].var])
        for axis in (2, 3)
    ]
    return Conv(
        params=tuple(sch.mod["main"].params),
        data=pad.reads[0].source,
        weight=weight.source,
        intermediate=conv.writes[0].source,
        epilogue=last.body.value,
        axes=tuple(iv.var for iv in last.iter_vars),
        stride=(int(steps[0][2]), int(steps[1][3])),
        dilation=(int(steps[0][5]), int(steps[1][6])),
        pads=(-int(shifts[0][1]), -int(shifts[1][1])),
    )


def _uncast(value: Any) -> Any:
    return value.value if isinstance(value, tirx.Cast) else value


def substitute(value: Any, variables: Mapping[Any, Any], load: Callable[[Any], Any]) -> Any:
    """An expression with other variables; ``load`` gets every buffer load, its indices replaced already."""
    return tvm_ffi.structural_map(
        value,
        [
            (tvm.ir.expr.TensorLoad, load),
            (tvm.ir.expr.Var, lambda variable: variables.get(variable, variable)),
        ],
    )


def _write(conv: Conv, tile: Tile) -> Any:
    """A PrimFunc of the blocks ``packed``, ``conv``, ``out``; parameters and result are the kernel's."""
    batch, channels, height, width = (int(extent) for extent in conv.data.shape)
    filters, depth, window_y, window_x = (int(extent) for extent in conv.weight.shape)
    out_shape = (batch, *conv.out_shape)
    rounded = rounded_filters(conv, tile)
    (stride_y, stride_x), (dilation_y, dilation_x), (top, left) = conv.stride, conv.dilation, conv.pads
    columns = math.ceil(out_shape[3] / tile.width) * tile.width
    before = math.ceil(left / stride_x)  # whole columns of padding, so that remainders are those of the input
    first = before * stride_x - left
    packed_shape = (
        batch,
        channels,
        (out_shape[2] - 1) * stride_y + conv.window[0],
        stride_x,
        columns + ((window_x - 1) * dilation_x + first) // stride_x,
    )
    tensors = {p: te.placeholder(p.shape, p.dtype, p.name) for p in conv.params[:-1]}
    data, weight = tensors[conv.data], tensors[conv.weight]

    def packed_value(n: Any, c: Any, row: Any, phase: Any, column: Any) -> Any:
        y, x = row - top, (column - before) * stride_x + phase
        inside = []
        if top:
            inside.append(y >= 0)
        if packed_shape[2] - top > height:
            inside.append(y < height)
        if before:
            inside.append(column >= before)
        if (packed_shape[4] - before) * stride_x > width:
            inside.append(x < width)
        value = data[n, c, y, x]
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, value.dtype)) if inside else value

    packed = te.compute(packed_shape, packed_value, name="packed")
    rc, ry, rx = (
        te.reduce_axis((0, extent), name)
        for extent, name in ((depth, "rc"), (window_y, "ry"), (window_x, "rx"))
    )
    group = filters // conv.groups

    def conv_value(n: Any, f: Any, y: Any, x: Any) -> Any:
        c = f // group * depth + rc if conv.groups > 1 else rc
        shift = rx * dilation_x + first
        value = packed[n, c, y * stride_y + ry * dilation_y, shift % stride_x, x + shift // stride_x]
        filter_ = tirx.min(f, filters - 1) if rounded > filters else f
        return te.sum(value * weight[filter_, rc, ry, rx], axis=[rc, ry, rx])

    conv_shape = (batch, rounded, out_shape[2], columns)
    tensors[conv.intermediate] = te.compute(conv_shape, conv_value, name="conv")

    def out_value(*indices: Any) -> Any:
        at = dict(zip(conv.axes, indices, strict=True))
        return substitute(conv.epilogue, at, lambda load: tensors[load.source](*load.indices))

    out = te.compute(out_shape, out_value, name="out")
    return te.create_prim_func([*(tensors[p] for p in conv.params[:-1]), out])


def schedule_conv(conv: Conv, tile: Tile) -> Any:
    """The kernel as a scheduled PrimFunc: packed tiles in parallel, register tiles, vectors.

    Raises:
        ValueError: the tile does not divide the convolution.
    """
    _check(conv, tile)
    sch = tvm.s_tir.Schedule(_write(conv, tile))
    packed, conv_block, out = (sch.get_sblock(name) for name in ("packed", "conv", "out"))
    n, f, y, x, rc, ry, rx = sch.get_loops(conv_block)
    fo, fi = sch.split(f, [None, tile.channels])
    yo, ym, yi = sch.split(y, [None, tile.down, tile.rows])
    xo, xm, xi, xv = sch.split(x, [None, tile.across, tile.vectors, tile.lanes])
    ragged = conv.ragged(tile.width)
    tasks, tiles = ([n, fo, yo, xo], [ym, xm]) if conv.depthwise else ([n, yo, xo], [ym, xm, fo])
    if ragged:  # whole rows before the epilogue: it then needs no predicate
        tiles = [ym, xm] if conv.depthwise else [ym, fo, xm]
    if tile.filters_first and not conv.depthwise:
        tiles = [fo, ym, xm]
    sch.reorder(*tasks, *tiles, rc, ry, rx, fi, yi, xi, xv)
    task = sch.fuse(*tasks)
    sch.parallel(task)
    if tile.direct:
        sch.compute_inline(packed)
    else:
        sch.compute_at(packed, task, preserve_unit_loops=True)
        if conv.stride[1] > 1:
            _sort_in_registers(sch, packed)
        elif any(conv.pads) or ragged:
            _cut_edges(sch, sch.get_loops(packed)[-1])
    sch.reverse_compute_at(out, tiles[-2 if ragged else -1], preserve_unit_loops=True)
    for loop in (ry, rx, fi, yi, xi):
        sch.unroll(loop)
    sch.vectorize(xv)
    init = sch.decompose_reduction(conv_block, rc)
    *loops, last = sch.get_loops(init)[-4:]
    for loop in loops:
        sch.unroll(loop)
    sch.vectorize(last)
    if not ragged:  # else, and where it pads, LLVM vectorises loops that are left as they are
        _vectorize(sch, out, tile.lanes)
        if not tile.direct and not any(conv.pads) and conv.stride == (1, 1):
            _vectorize(sch, packed, tile.lanes)
    return sch.mod["main"]


def _sort_in_registers(sch: Any, packed: Any) -> None:
    """Remainders together in one loop over columns: LLVM then loads whole vectors and shuffles them."""
    *_, remainder, column = sch.get_loops(packed)
    sch.reorder(column, remainder)
    sch.unroll(remainder)
    _cut_edges(sch, column)


def _cut_edges(sch: Any, column: Any) -> None:
    """Let TVM cut what lies outside the input from a loop over columns: the rest asks for nothing."""
    sch.annotate(column, "pragma_loop_partition_hint", True)


def rounded_filters(conv: Conv, tile: Tile) -> int:
    """Filters of whole register tiles; what exceeds the convolution's is computed in vain."""
    filters = conv.out_shape[0]
    fills = conv.groups > 1 or not 1 <= tile.channels < filters
    return filters if fills else math.ceil(filters / tile.channels) * tile.channels


def _check(conv: Conv, tile: Tile) -> None:
    _, height, width = conv.out_shape
    filters = rounded_filters(conv, tile)
    columns = math.ceil(width / tile.width) * tile.width
    for whole, part, what in (
        (filters // conv.groups, tile.channels, "channels of a group"),
        (height, tile.rows * tile.down, "rows"),
        (columns, tile.width * tile.across, "columns"),
    ):
        if part < 1 or whole % part:
            raise ValueError(f"{part} does not divide {whole} {what}")
    if conv.ragged(tile.width) and tile.width * tile.across != columns:
        raise ValueError(f"a packed tile must have all {columns} columns, as the last of a row are padding")
    if tile.direct and not conv.readable_directly(tile.width):
        raise ValueError("the input must be packed: it is padded or strided, or a row has no whole vectors")


def _vectorize(sch: Any, block: Any, lanes: int) -> None:
    loop = sch.get_loops(block)[-1]
    extent = int(sch.get(loop).extent)
    if extent % lanes == 0:
        sch.vectorize(sch.split(loop, [None, lanes])[1] if extent > lanes else loop)
