"""GPU schedule of depthwise NCHW convolutions: a register tile a thread, neighbours on neighbouring pixels.

The kernel is written anew, rows and columns rounded up to whole tiles::

    window[n, c, y, x] = data, zero outside        what one thread's outputs need, in its registers
    conv[n, c, y, x]   = sum(window * weight)      float32, in registers
    out[n, c, y, x]    = epilogue(conv)            as in the original

Rows of a tile share the inputs that their windows have in common; threads share theirs through the first
cache, whose lines the loads of a warp read side by side. Shared memory would save loads of that cache, which
are not what limits these kernels: they wait for memory.
"""

from dataclasses import dataclass
from typing import Any

from cost_models.schedules.conv_template import Conv, substitute
from cost_models.schedules.gpu import round_up
from cost_models.tvm_import import tvm

te, tirx = tvm.te, tvm.tirx


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthwiseTile:
    """``rows`` x ``columns`` outputs a thread, neighbours in the map; ``threads`` a block."""

    rows: int
    columns: int
    threads: int


def _write(conv: Conv, tile: DepthwiseTile) -> Any:
    """A PrimFunc of the blocks ``window``, ``conv``, ``out``; parameters and result are the kernel's."""
    batch, channels, height, width = (int(extent) for extent in conv.data.shape)
    _, out_height, out_width = conv.out_shape
    (stride_y, stride_x), (dilation_y, dilation_x), (top, left) = conv.stride, conv.dilation, conv.pads
    rows, columns = round_up(out_height, tile.rows), round_up(out_width, tile.columns)
    tensors = {p: te.placeholder(p.shape, p.dtype, p.name) for p in conv.params[:-1]}
    data, weight = tensors[conv.data], tensors[conv.weight]
    shape = ((rows - 1) * stride_y + conv.window[0], (columns - 1) * stride_x + conv.window[1])

    def window_value(n: Any, c: Any, row: Any, column: Any) -> Any:
        y, x = row - top, column - left
        inside = [y >= 0] * (top > 0) + [y < height] * (shape[0] - top > height)
        inside += [x >= 0] * (left > 0) + [x < width] * (shape[1] - left > width)
        value = data[n, c, y, x].astype("float32")
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, "float32")) if inside else value

    window = te.compute((batch, channels, *shape), window_value, name="window")
    ry, rx = (te.reduce_axis((0, extent), name) for extent, name in zip(conv.taps, ("ry", "rx"), strict=True))

    def conv_value(n: Any, c: Any, y: Any, x: Any) -> Any:
        value = window[n, c, y * stride_y + ry * dilation_y, x * stride_x + rx * dilation_x]
        return te.sum(value * weight[c, 0, ry, rx].astype("float32"), axis=[ry, rx])

    tensors[conv.intermediate] = te.compute((batch, channels, rows, columns), conv_value, name="conv")

    def out_value(*indices: Any) -> Any:
        at = dict(zip(conv.axes, indices, strict=True))
        return substitute(conv.epilogue, at, lambda load: tensors[load.source](*load.indices))

    out = te.compute((batch, *conv.out_shape), out_value, name="out")
    return te.create_prim_func([*(tensors[p] for p in conv.params[:-1]), out])


def schedule_depthwise(conv: Conv, tile: DepthwiseTile) -> Any:
    """The kernel as a scheduled PrimFunc: one thread a register tile, in the order of the pixels."""
    sch = tvm.s_tir.Schedule(_write(conv, tile))
    window, product, out = (sch.get_sblock(name) for name in ("window", "conv", "out"))
    sch.set_scope(window, 0, "local")
    sch.set_scope(product, 0, "local")
    n, c, y, x, ry, rx = sch.get_loops(product)
    yo, yi = sch.split(y, [None, tile.rows])
    xo, xi = sch.split(x, [None, tile.columns])
    sch.reorder(n, c, yo, xo, ry, rx, yi, xi)
    block, thread = sch.split(sch.fuse(n, c, yo, xo), [None, tile.threads])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.reverse_compute_at(out, thread, preserve_unit_loops=True)
    sch.compute_at(window, thread, preserve_unit_loops=True)
    init = sch.decompose_reduction(product, ry)
    for part in (window, init, product, out):
        for loop in sch.get_loops(part)[2:]:
            sch.unroll(loop)
    sch.annotate(block, "pragma_auto_unroll_max_step", 16)
    sch.annotate(block, "pragma_unroll_explicit", 0)
    return sch.mod["main"]
