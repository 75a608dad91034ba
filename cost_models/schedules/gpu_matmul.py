"""GPU schedule of dense and grouped NCHW convolutions: a tiled matrix product of weights and pixels.

The kernel is written anew from its parameters, as ``conv_template`` does for CPUs; the pixels of a map are
one axis, what a filter sums over is another, and both are rounded up to whole tiles::

    pixels[n, g, k, p] = data, zero outside      a tile at a time in shared memory; neighbours read neighbours
    weights[g, k, f]   = weight                  likewise; the filters of a row lie side by side
    conv[n, g, f, p]   = sum(pixels * weights)   float32, in registers
    out[n, f, y, x]    = epilogue(conv)          bias, activation, residual: as in the original

No tensor cores, for float16 either: TVM's intrinsics for them are C++ that includes ``crt/mma.h``, which
NVIDIA's packages of headers lack. ``mma.sync`` as inline PTX does compile (8x8x4 for sm_72, others since
sm_75), but nothing here could tell whether a schedule with it is right: the emulated GPU runs C++.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cost_models.schedules.conv_template import Conv, substitute
from cost_models.schedules.gpu import round_up
from cost_models.tvm_import import tvm

te, tirx = tvm.te, tvm.tirx

_BANKS = 32  # of shared memory
_SHIFT = 4  # rows of weights begin so many banks apart: threads that fill a column store to different ones


@dataclass(frozen=True, kw_only=True, slots=True)
class MatmulTile:
    """What a thread, and a block of them, computes.

    Attributes:
        filters: consecutive ones of a thread.
        vectors, lanes: of a thread's pixels; vectors of ``lanes`` pixels lie ``across`` of them apart.
        down, across: threads of a block, over filters and over pixels.
        depth: of the tiles in shared memory, in summands of an output.
        ahead: the next tiles are loaded while these are multiplied.
    """

    filters: int
    vectors: int
    lanes: int
    down: int
    across: int
    depth: int
    ahead: bool = False

    @property
    def threads(self) -> int:
        return self.down * self.across

    @property
    def height(self) -> int:
        """Filters of a block."""
        return self.filters * self.down

    @property
    def padded_height(self) -> int:
        """Of a row of weights in shared memory: filters, and what shifts the next row."""
        return round_up(self.height - _SHIFT, _BANKS) + _SHIFT

    @property
    def width(self) -> int:
        """Pixels of a block."""
        return self.vectors * self.lanes * self.across


def _write(conv: Conv, tile: MatmulTile) -> Any:
    """A PrimFunc of the blocks ``pixels``, ``weights``, ``conv`` and ``out``, whose pixels are one axis."""
    filters, height, width = conv.out_shape
    group, count = filters // conv.groups, height * width
    depth = round_up(_summands(conv), tile.depth)
    rows, columns = round_up(group, tile.height), round_up(count, tile.width)
    tensors = {p: te.placeholder(p.shape, p.dtype, p.name) for p in conv.params[:-1]}
    pixels = te.compute(
        (conv.batch, conv.groups, depth, columns), _pixels(conv, tile, tensors[conv.data]), name="pixels"
    )
    weights = te.compute(
        (conv.groups, depth, rows), _weights(conv, tile, tensors[conv.weight]), name="weights"
    )
    k = te.reduce_axis((0, depth), "k")
    product = te.compute(
        (conv.batch, conv.groups, rows, columns),
        lambda n, g, f, p: te.sum(pixels[n, g, k, p] * weights[g, k, f], axis=[k]),
        name="conv",
    )

    def out_value(n: Any, g: Any, f: Any, p: Any) -> Any:
        at = dict(zip(conv.axes, (n, g * group + f, p // width, p % width), strict=True))

        def load(found: Any) -> Any:
            if found.source.same_as(conv.intermediate):
                return product(n, g, f, p)
            return tensors[found.source](*found.indices)

        return substitute(conv.epilogue, at, load)

    out = te.compute((conv.batch, conv.groups, group, count), out_value, name="out")
    return te.create_prim_func([*(tensors[p] for p in conv.params[:-1]), out])


def _summands(conv: Conv) -> int:
    """Of one output."""
    return conv.channels // conv.groups * math.prod(conv.taps)


def _or_zero(value: Any, conditions: list[Any]) -> Any:
    if not conditions:
        return value
    return tirx.if_then_else(tirx.all(*conditions), value, tirx.const(0, "float32"))


def _pixels(conv: Conv, tile: MatmulTile, data: Any) -> Callable[..., Any]:
    """What a filter's summand ``k`` is for the output pixel ``p``: an input, or the zero around them."""
    (height, width), (_, out_height, out_width) = map(int, conv.data.shape[2:]), conv.out_shape
    taps_x, taps, count = conv.taps[1], math.prod(conv.taps), out_height * out_width
    (stride_y, stride_x), (dilation_y, dilation_x), (top, left) = conv.stride, conv.dilation, conv.pads
    bottom = (out_height - 1) * stride_y + conv.window[0] - top > height
    right = (out_width - 1) * stride_x + conv.window[1] - left > width

    def value(n: Any, g: Any, k: Any, p: Any) -> Any:
        y = p // out_width * stride_y + k % taps // taps_x * dilation_y - top
        x = p % out_width * stride_x + k % taps_x * dilation_x - left
        inside = [k < _summands(conv)] * (_summands(conv) % tile.depth > 0)
        # of whole vectors, so that TVM keeps them
        inside += [p // tile.lanes < count // tile.lanes] * (count % tile.width > 0)
        inside += [y >= 0] * (top > 0) + [y < height] * bottom + [x >= 0] * (left > 0) + [x < width] * right
        channel = g * (conv.channels // conv.groups) + k // taps
        return _or_zero(data[n, channel, y, x].astype("float32"), inside)

    return value


def _weights(conv: Conv, tile: MatmulTile, weight: Any) -> Callable[..., Any]:
    """What the summand ``k`` of filter ``f`` of a group is multiplied by."""
    group, taps_x, taps = conv.out_shape[0] // conv.groups, conv.taps[1], math.prod(conv.taps)

    def value(g: Any, k: Any, f: Any) -> Any:
        inside = [k < _summands(conv)] * (_summands(conv) % tile.depth > 0)
        inside += [f < group] * (group % tile.height > 0)
        found = weight[g * group + f, k // taps, k % taps // taps_x, k % taps_x]
        return _or_zero(found.astype("float32"), inside)

    return value


def reads_in_vectors(conv: Conv, tile: MatmulTile) -> bool:
    """Whether a vector of pixels is one of the input: a window of one pixel, no stride and no padding."""
    return tile.lanes > 1 and conv.taps == (1, 1) and conv.stride == (1, 1) and not any(conv.pads)


def schedule_matmul(conv: Conv, tile: MatmulTile) -> Any:
    """The kernel as a scheduled PrimFunc: a tile of filters and pixels a block, a smaller one a thread."""
    group, width = conv.out_shape[0] // conv.groups, conv.out_shape[2]
    sch = tvm.s_tir.Schedule(_write(conv, tile))
    pixels, weights, product, out = (sch.get_sblock(name) for name in ("pixels", "weights", "conv", "out"))
    sch.transform_layout(out, ("write", 0), lambda n, g, f, p: (n, g * group + f, p // width, p % width))
    for block, scope in ((product, "local"), (pixels, "shared"), (weights, "shared")):
        sch.set_scope(block, 0, scope)
    n, g, f, p, k = sch.get_loops(product)
    fo, ft, fi = sch.split(f, [None, tile.down, tile.filters])
    po, pi, pt, pv = sch.split(p, [None, tile.vectors, tile.across, tile.lanes])
    ko, ki = sch.split(k, [None, tile.depth])
    sch.reorder(n, po, g, fo, pi, ft, pt, ko, ki, fi, pv)
    block = sch.fuse(n, po, g, fo)  # neighbours share their pixels, which the cache then still holds
    axes = {block: "blockIdx.x", pi: "vthread.x", ft: "threadIdx.y", pt: "threadIdx.x"}
    for loop, axis in axes.items():
        sch.bind(loop, axis)
    sch.reverse_compute_at(out, pt, preserve_unit_loops=True)
    for stage in (pixels, weights):
        sch.compute_at(stage, ko, preserve_unit_loops=True)
    _load_together(sch, pixels, tile, tile.lanes if reads_in_vectors(conv, tile) else 1)
    weight_loops = sch.get_loops(weights)
    sch.reorder(weight_loops[-1], weight_loops[-2])  # neighbours read neighbouring summands of a filter
    _load_together(sch, weights, tile, 1)
    sch.storage_align(weights, 0, axis=1, factor=_BANKS, offset=_SHIFT)
    sch.vectorize(pv)
    init = sch.decompose_reduction(product, ko)
    _unroll(sch, block, (ki, fi), (init, out))
    if tile.ahead:
        _load_ahead(sch, ko, (pixels, weights))
    return sch.mod["main"]


def _load_together(sch: Any, stage: Any, tile: MatmulTile, lanes: int) -> None:
    """All threads of a block fill a tile in shared memory."""
    *_, outer, inner = sch.get_loops(stage)
    step, down, across, vector = sch.split(sch.fuse(outer, inner), [None, tile.down, tile.across, lanes])
    sch.bind(down, "threadIdx.y")
    sch.bind(across, "threadIdx.x")
    if lanes > 1:
        sch.vectorize(vector)
    if not tile.ahead:  # TVM fetches ahead in serial loops alone
        sch.unroll(step)


def _unroll(sch: Any, outermost: Any, loops: tuple[Any, ...], blocks: tuple[Any, ...]) -> None:
    """By the CUDA compiler, not in the text; pixels of a vector, the last loop of ``blocks``, stay one."""
    for block in blocks:
        *unrolled, vector = sch.get_loops(block)[-2:]
        loops += tuple(unrolled)
        sch.vectorize(vector)
    for loop in loops:
        sch.unroll(loop)
    sch.annotate(outermost, "pragma_auto_unroll_max_step", 16)
    sch.annotate(outermost, "pragma_unroll_explicit", 0)


def _load_ahead(sch: Any, steps: Any, stages: tuple[Any, ...]) -> None:
    """While one tile is multiplied the next is on its way, to registers; shared memory holds one tile."""
    for stage in stages:
        sch.annotate(stage, "tirx.manifest_shared_memory_local_stage", 1)
    # fetch pixels, store them, fetch weights, store them, multiply: both are stored, then the next fetched
    sch.annotate(steps, "software_pipeline_stage", [0, 1, 0, 1, 1])
    sch.annotate(steps, "software_pipeline_order", [2, 0, 3, 1, 4])
