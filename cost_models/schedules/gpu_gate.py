"""GPU schedule of 1x1 convolutions of a map of one pixel: squeeze-and-excite gates, after a global average.

Each filter's sum is taken by the threads of a block, who add up in shared memory. What follows may be as
large as the map that the gate multiplies: the gate is then computed once for each block of that map, which
takes less than to load that block::

    gate[n, f]      = sum(data * weight)      float32
    out[n, f, y, x] = epilogue(gate)          as in the original, whatever its size
"""

import math
from typing import Any

from cost_models.schedules.conv_template import Conv, substitute
from cost_models.schedules.gpu import WARP, Gpu, round_up
from cost_models.tvm_import import tvm

te = tvm.te
_THREADS = 256  # of a block, at most
_MOST_PIXELS = 16  # of a thread


def schedule_gate(conv: Conv, gpu: Gpu) -> Any:
    """The kernel as a scheduled PrimFunc.

    Raises:
        ValueError: the convolution's result has more than one pixel, or its window is larger than that.
    """
    if conv.out_shape[1:] != (1, 1) or conv.taps != (1, 1) or any(conv.pads):
        raise ValueError("not a convolution of one pixel")
    sch = tvm.s_tir.Schedule(_write(conv))
    gate, out = sch.get_sblock("gate"), sch.get_sblock("out")
    n, f, y, x = sch.get_loops(out)
    pixels = int(sch.get(y).extent) * int(sch.get(x).extent)
    summands = conv.channels // conv.groups
    threads = min(_THREADS, gpu.block_threads)
    if pixels == 1:
        threads = min(threads, max(WARP, round_up(summands // 4, WARP)))
    block, pixel = sch.fuse(n, f), sch.fuse(y, x)
    chunk, step, thread = sch.split(pixel, [None, min(_MOST_PIXELS, math.ceil(pixels / threads)), threads])
    sch.reorder(chunk, block, thread, step)
    sch.unroll(step)
    sch.annotate(block, "pragma_auto_unroll_max_step", 16)  # by the CUDA compiler, not in the text
    sch.annotate(block, "pragma_unroll_explicit", 0)
    sch.bind(chunk, "blockIdx.y")
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.compute_at(gate, block, preserve_unit_loops=True)
    sch.set_scope(gate, 0, "shared")
    _, inner = sch.split(sch.get_loops(gate)[-1], [None, threads])
    sch.bind(inner, "threadIdx.x")
    return sch.mod["main"]


def _write(conv: Conv) -> Any:
    """A PrimFunc of the blocks ``gate`` and ``out``; parameters and result are the kernel's."""
    depth, group = conv.channels // conv.groups, conv.out_shape[0] // conv.groups
    tensors = {p: te.placeholder(p.shape, p.dtype, p.name) for p in conv.params[:-1]}
    data, weight = tensors[conv.data], tensors[conv.weight]
    k = te.reduce_axis((0, depth), "k")

    def gate_value(n: Any, f: Any) -> Any:
        value = data[n, f // group * depth + k, 0, 0].astype("float32")
        return te.sum(value * weight[f, k, 0, 0].astype("float32"), axis=[k])

    gate = te.compute((int(conv.data.shape[0]), conv.out_shape[0]), gate_value, name="gate")

    def out_value(*indices: Any) -> Any:
        at = dict(zip(conv.axes, indices, strict=True))

        def load(found: Any) -> Any:
            if found.source.same_as(conv.intermediate):
                return gate(*found.indices[:2])
            return tensors[found.source](*found.indices)

        return substitute(conv.epilogue, at, load)

    out = te.compute([int(extent) for extent in conv.params[-1].shape], out_value, name="out")
    return te.create_prim_func([*(tensors[p] for p in conv.params[:-1]), out])
