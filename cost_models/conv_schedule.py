"""Default CPU schedule of a fused NCHW convolution: packed input tile, register tile, vectors along a row.

The kernel is written anew from its parameters, because a fast schedule needs buffers that the original has
not: rows rounded up to whole vectors (a predicate in a vector loop makes TVM fall back to scalar code, 25
times slower) and, under a stride, columns sorted by their remainder (strided vector loads are scalar, too)::

    packed[n, c, y, x % s, x // s] = data, zero outside       one tile at a time, stays in the L2 cache
    conv[n, f, y, x]               = sum(packed * weight)     a register tile, x rounded up
    out[n, f, y, x]                = epilogue(conv)           bias, activation, residual: as in the original
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cost_models.tvm_import import tvm, tvm_ffi

te, tirx = tvm.te, tvm.tirx

_CACHE_BYTES = 128 * 1024  # wanted size of a packed tile: a part of any L2 cache
_LATENCY = 10  # multiply-adds in flight that keep two vector units busy
_MAX_WINDOW = 49  # taps; the window is unrolled


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """What tile sizes depend on: ``lanes`` (float32) of a vector register, how many of them, and cores."""

    lanes: int
    registers: int
    cores: int

    @staticmethod
    def of(target: Any) -> "Cpu":
        """From a tvm Target of kind llvm; four cores where it does not say."""
        # llvm_get_vector_width says 512 bits for every x86 processor
        features = set(map(str, tvm.target.codegen.llvm_get_cpu_features(target)))
        lanes = 16 if "avx512f" in features else 8 if "avx" in features else 4
        many = lanes == 16 or "neon" in features
        cores = int(target.attrs.get("num-cores", 4))
        return Cpu(lanes=lanes, registers=32 if many else 16, cores=cores)


@dataclass(frozen=True, kw_only=True, slots=True)
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

    @property
    def groups(self) -> int:
        return int(self.data.shape[1]) // int(self.weight.shape[1])

    @property
    def depthwise(self) -> bool:
        return self.groups == int(self.weight.shape[0]) and int(self.weight.shape[1]) == 1

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of input that one output depends on."""
        rows, columns = ((int(self.weight.shape[2 + i]) - 1) * self.dilation[i] + 1 for i in (0, 1))
        return rows, columns

    def ragged(self, width: int) -> bool:
        """Whether the last tile of ``width`` columns in a row is not full."""
        return int(self.intermediate.shape[3]) % width != 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """Register tile: ``channels`` x ``rows`` x ``vectors`` of ``lanes`` floats.

    A packed tile of the input serves ``down`` x ``across`` of them, and all channels.
    """

    channels: int
    rows: int
    vectors: int
    lanes: int
    down: int
    across: int

    @property
    def width(self) -> int:
        """Columns of a register tile."""
        return self.vectors * self.lanes


def _divisors(n: int, limit: int) -> list[int]:
    return [d for d in range(1, min(n, limit) + 1) if n % d == 0]


def _register_tile(conv: Conv, cpu: Cpu, needed: int) -> tuple[int, int, int]:
    """(channels, rows, vectors) with the least time a multiply-add, of ``needed`` vectors in a row."""
    filters, height = int(conv.weight.shape[0]), int(conv.intermediate.shape[2])
    if conv.depthwise:  # every input is used window times from the first-level cache; rows share their loads
        rows = max(_divisors(height, 4))
        return 1, rows, max(_divisors(needed, 4 // rows))
    best: tuple[float, ...] = (math.inf,)
    choice = (1, 1, 1)
    rows_of = _divisors(height, 4) if needed == 1 else [1]
    for channels, rows, vectors in itertools.product(
        _divisors(filters // conv.groups, cpu.registers), rows_of, range(1, min(needed, 8) + 1)
    ):
        sums, inputs = channels * rows * vectors, rows * vectors
        if sums + inputs + 1 > cpu.registers:
            continue
        # two multiply-adds and two loads a cycle; too few sums wait for each other; padding is lost work
        cycles = max(sums, inputs + channels, _LATENCY) / sums * math.ceil(needed / vectors) * vectors
        rank = (round(cycles, 3), inputs, abs(sums - cpu.registers / 2))
        if rank < best:
            best, choice = rank, (channels, rows, vectors)
    return choice


def _packed_tile(conv: Conv, cpu: Cpu, rows: int, width: int, tiles_x: int) -> tuple[int, int]:
    """(register tiles down, across) of a packed tile: little halo, in the cache budget, tiles for every core.

    ``rows`` and ``width`` are the register tile's, ``tiles_x`` how many of them make a row.
    """
    depth = 1 if conv.depthwise else int(conv.data.shape[1])
    height = int(conv.intermediate.shape[2])
    (stride_y, stride_x), (window_y, window_x) = conv.stride, conv.window
    best: tuple[float, ...] = (math.inf,)
    choice = (1, 1)
    across_of = [tiles_x] if conv.ragged(width) else _divisors(tiles_x, tiles_x)
    for down, across in itertools.product(_divisors(height // rows, 64), across_of):
        used_y, used_x = down * rows * stride_y, across * width * stride_x
        packed_y, packed_x = used_y + window_y - stride_y, used_x + window_x - stride_x
        tasks = height // (down * rows) * (tiles_x // across) * (int(conv.data.shape[1]) // depth)
        over = max(0.0, packed_y * packed_x * depth * 4 / _CACHE_BYTES - 1)
        idle = max(0.0, 4 * cpu.cores / tasks - 1)
        # a piece of a row also brings in the cache line that it ends in
        fetched = packed_y / used_y * (packed_x + 16) / used_x
        rank = (round(over + idle + fetched, 3), down)
        if rank < best:
            best, choice = rank, (down, across)
    return choice


def choose_tile(conv: Conv, cpu: Cpu) -> Tile:
    """Tile sizes by a small model of registers and caches; deterministic."""
    width = int(conv.intermediate.shape[3])
    lanes = min(cpu.lanes, 1 << (width - 1).bit_length())
    needed = math.ceil(width / lanes)
    channels, rows, vectors = _register_tile(conv, cpu, needed)
    down, across = _packed_tile(conv, cpu, rows, vectors * lanes, math.ceil(needed / vectors))
    return Tile(channels=channels, rows=rows, vectors=vectors, lanes=lanes, down=down, across=across)


def find_conv(sch: Any) -> Conv:
    """The convolution of an unscheduled kernel whose elementwise blocks are inlined.

    Raises:
        ValueError: the kernel is none, or one that this schedule does not cover.
    """
    blocks = [sch.get(block) for block in sch.get_child_blocks(sch.get_sblock("root"))]
    names = [block.name_hint for block in blocks]
    if len(blocks) != 3 or "conv2d" not in names[1] or len(blocks[1].iter_vars) != 7:
        raise ValueError(f"not a fused NCHW convolution: blocks {names}")
    pad, conv, last = blocks
    if math.prod(int(iv.dom.extent) for iv in conv.iter_vars[5:]) > _MAX_WINDOW:
        raise ValueError("the window is too large to unroll")
    if list(last.writes[0].source.shape) != list(conv.writes[0].source.shape):
        raise ValueError("the epilogue has another shape than the convolution")
    packed, weight = conv.body.value.b.a, conv.body.value.b.b
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


def substitute(value: Any, variables: Mapping[Any, Any], load: Callable[[Any], Any]) -> Any:
    """An expression with other variables; ``load`` gets every buffer load, its indices replaced already."""
    return tvm_ffi.structural_map(
        value,
        [
            (tvm.ir.expr.TensorLoad, load),
            (tvm.ir.expr.Var, lambda variable: variables.get(variable, variable)),
        ],
    )


def write_conv(conv: Conv, tile: Tile) -> Any:
    """A PrimFunc of the blocks ``packed``, ``conv``, ``out``; parameters and result are the kernel's."""
    batch, channels, height, width = (int(extent) for extent in conv.data.shape)
    filters, depth, window_y, window_x = (int(extent) for extent in conv.weight.shape)
    out_shape = [int(extent) for extent in conv.intermediate.shape]
    (stride_y, stride_x), (dilation_y, dilation_x), (top, left) = conv.stride, conv.dilation, conv.pads
    columns = math.ceil(out_shape[3] / tile.width) * tile.width
    packed_shape = (
        batch,
        channels,
        (out_shape[2] - 1) * stride_y + conv.window[0],
        stride_x,
        columns + (window_x - 1) * dilation_x // stride_x,
    )
    tensors = {p: te.placeholder(p.shape, p.dtype, p.name) for p in conv.params[:-1]}
    data, weight = tensors[conv.data], tensors[conv.weight]

    def packed_value(n: Any, c: Any, row: Any, phase: Any, column: Any) -> Any:
        y, x = row - top, column * stride_x + phase - left
        inside = []
        if top:
            inside.append(y >= 0)
        if packed_shape[2] - top > height:
            inside.append(y < height)
        if left:
            inside.append(x >= 0)
        if packed_shape[4] * stride_x - left > width:
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
        shift = rx * dilation_x
        value = packed[n, c, y * stride_y + ry * dilation_y, shift % stride_x, x + shift // stride_x]
        return te.sum(value * weight[f, rc, ry, rx], axis=[rc, ry, rx])

    tensors[conv.intermediate] = te.compute((*out_shape[:3], columns), conv_value, name="conv")

    def out_value(*indices: Any) -> Any:
        at = dict(zip(conv.axes, indices, strict=True))
        return substitute(conv.epilogue, at, lambda load: tensors[load.source](*load.indices))

    out = te.compute(out_shape, out_value, name="out")
    return te.create_prim_func([*(tensors[p] for p in conv.params[:-1]), out])


def schedule_conv(func: Any, conv: Conv, tile: Tile) -> Any:
    """The schedule of what ``write_conv`` wrote: packed tiles in parallel, register tiles, vectors."""
    sch = tvm.s_tir.Schedule(func)
    packed, conv_block, out = (sch.get_sblock(name) for name in ("packed", "conv", "out"))
    n, f, y, x, rc, ry, rx = sch.get_loops(conv_block)
    fo, fi = sch.split(f, [None, tile.channels])
    yo, ym, yi = sch.split(y, [None, tile.down, tile.rows])
    xo, xm, xi, xv = sch.split(x, [None, tile.across, tile.vectors, tile.lanes])
    ragged = conv.ragged(tile.width)
    tasks, tiles = ([n, fo, yo, xo], [ym, xm]) if conv.depthwise else ([n, yo, xo], [ym, xm, fo])
    if ragged:  # whole rows before the epilogue: it then needs no predicate
        tiles = [ym, xm] if conv.depthwise else [ym, fo, xm]
    sch.reorder(*tasks, *tiles, rc, ry, rx, fi, yi, xi, xv)
    task = sch.fuse(*tasks)
    sch.parallel(task)
    sch.compute_at(packed, task, preserve_unit_loops=True)
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
        if not any(conv.pads) and conv.stride == (1, 1):
            _vectorize(sch, packed, tile.lanes)
    return sch


def _vectorize(sch: Any, block: Any, lanes: int) -> None:
    loop = sch.get_loops(block)[-1]
    extent = int(sch.get(loop).extent)
    if extent % lanes == 0:
        sch.vectorize(sch.split(loop, [None, lanes])[1] if extent > lanes else loop)
