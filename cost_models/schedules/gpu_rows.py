"""GPU schedules of kernels without weights: pooling, resize, arg-max, concatenation, element-wise ones.

What is element-wise moves into what reads it. Then, by what is left:

- a sum or maximum: a thread takes one, in its registers, neighbours on neighbouring pixels; or, where outputs
  are few and sums long, a block takes one, and its threads add up in shared memory;
- copies, each value from its own place: vectors;
- others: several values a thread; where coordinates are computed (resize, the interleaved colours of a
  frame), those of several channels, which share them.
"""

import math
from typing import Any

from cost_models.schedules.gpu import WARP, Gpu, round_up
from cost_models.schedules.sblocks import blocks_of, reduces, spatial_shape
from cost_models.tvm_import import tvm, tvm_ffi

_THREADS = 256  # of a block
_LANES = 4  # values of a vector, or of a thread that has none
_MOST_CHANNELS = 20  # of a thread
_LONG_SUM = 64  # summands from which a block shares the work, where there are few outputs
_UNROLLED = 32  # summands, so that their loads need not wait for each other


def schedule_rows(mod: Any, gpu: Gpu) -> Any:
    """The kernel as a scheduled PrimFunc.

    Raises:
        ValueError: it takes more than one sum or maximum.
    """
    sch = tvm.s_tir.Schedule(mod)
    for block in blocks_of(sch):
        if sch.get_consumers(block) and not reduces(sch, block):
            sch.compute_inline(block)
    *sums, last = blocks_of(sch)
    if not sums and reduces(sch, last):
        sums, last = [last], sch.cache_write(last, 0, "local")
    if len(sums) > 1 or any(spatial_shape(sch, one) != spatial_shape(sch, last) for one in sums):
        raise ValueError(
            f"more than one sum: blocks {[sch.get(block).name_hint for block in blocks_of(sch)]}"
        )
    if not sums:
        _copies(sch, last, gpu)
    elif _shared_sum_pays(sch, sums[0], gpu):
        _one_block_an_output(sch, sums[0], last, gpu)
    else:
        _one_thread_an_output(sch, sums[0], last, gpu)
    return sch.mod["main"]


def _summands(sch: Any, block: Any) -> int:
    extents = [int(iv.dom.extent) for iv in sch.get(block).iter_vars]
    return math.prod(extents[len(spatial_shape(sch, block)) :])


def _shared_sum_pays(sch: Any, block: Any, gpu: Gpu) -> bool:
    """Whether threads would be too few for one an output; not for results in two parts, as of an arg-max."""
    few = 2 * math.prod(spatial_shape(sch, block)) < gpu.threads
    return few and _summands(sch, block) >= _LONG_SUM and len(sch.get(block).writes) == 1


def _one_thread_an_output(sch: Any, block: Any, last: Any, gpu: Gpu) -> None:
    thread = _bind(sch, sch.fuse(*sch.get_loops(last)), gpu)
    sch.compute_at(block, thread, preserve_unit_loops=True)
    for index in range(len(sch.get(block).writes)):
        sch.set_scope(block, index, "local")
    if _summands(sch, block) <= _UNROLLED:
        for loop in sch.get_loops(block)[2 + len(spatial_shape(sch, block)) :]:
            sch.unroll(loop)


def _one_block_an_output(sch: Any, block: Any, last: Any, gpu: Gpu) -> None:
    threads = min(_THREADS, gpu.block_threads, max(WARP, _summands(sch, block) // 2 // WARP * WARP))
    outer = sch.fuse(*sch.get_loops(last))
    sch.bind(outer, "blockIdx.x")
    sch.compute_at(block, outer, preserve_unit_loops=True)
    sch.set_scope(block, 0, "shared")
    summed = sch.fuse(*sch.get_loops(block)[1 + len(spatial_shape(sch, block)) :])
    _, inner = sch.split(summed, [None, threads])
    sch.bind(inner, "threadIdx.x")
    _, alone = sch.split(sch.add_unit_loop(last), [None, threads])  # the first thread
    sch.bind(alone, "threadIdx.x")


def _copies(sch: Any, last: Any, gpu: Gpu) -> None:
    shape, loops = spatial_shape(sch, last), sch.get_loops(last)
    if len(shape) == 4 and not _pointwise(sch, last):
        n, c, y, x = loops
        outer, inner = sch.split(c, [None, _channels(shape, gpu)])
        sch.reorder(n, outer, y, x, inner)
        sch.unroll(inner)
        _bind(sch, sch.fuse(n, outer, y, x), gpu)
        return
    spatial, many = sch.fuse(*loops), math.prod(shape) >= _LANES * gpu.multiprocessors * _THREADS
    if many and math.prod(shape[-2:]) % _LANES == 0 and not _chooses(sch, last):
        spatial, lanes = sch.split(spatial, [None, _LANES])
        sch.vectorize(lanes)
        _bind(sch, spatial, gpu)
    else:
        _bind(sch, spatial, gpu, _LANES if many else 1)


def _channels(shape: list[int], gpu: Gpu) -> int:
    """How many a thread takes, such that the GPU still gets the threads that it can hold."""
    outputs, wanted = math.prod(shape), gpu.threads
    fitting = (d for d in range(1, min(shape[1], _MOST_CHANNELS) + 1) if shape[1] % d == 0)
    return max(d for d in fitting if d == 1 or outputs // d >= wanted)


def _pointwise(sch: Any, block: Any) -> bool:
    """Whether each input is read at the row and column that is written, or at one for the whole map."""
    stmt = sch.get(block)

    def plain(index: Any, axis: Any) -> bool:
        at_one = isinstance(index.extent, tvm.tirx.IntImm) and int(index.extent) == 1
        return at_one and (isinstance(index.min, tvm.tirx.IntImm) or index.min.same_as(axis))

    axes = [iv.var for iv in stmt.iter_vars[-2:]]
    regions = [list(read.region) for read in stmt.reads]
    return all(len(region) == 4 and all(map(plain, region[2:], axes)) for region in regions)


def _chooses(sch: Any, block: Any) -> bool:
    """Whether values depend on a condition, which TVM does not take into a vector."""
    found: list[Any] = []
    choice = tvm.ir.Op.get("prim.if_then_else")
    tvm_ffi.structural_walk(
        sch.get(block).body,
        (tvm.ir.Call, lambda call: found.append(call) if call.op.same_as(choice) else None),
    )
    return bool(found)


def _bind(sch: Any, loop: Any, gpu: Gpu, steps: int = 1) -> Any:
    """Blocks and threads along a loop, ``steps`` of it a thread; returns the loop of the threads."""
    threads = min(_THREADS, gpu.block_threads, round_up(int(sch.get(loop).extent), WARP))
    block, step, thread = sch.split(loop, [None, steps, threads])
    sch.reorder(block, thread, step)
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.unroll(step)
    sch.annotate(block, "pragma_auto_unroll_max_step", 16)  # unrolled by the CUDA compiler, not in the text
    sch.annotate(block, "pragma_unroll_explicit", 0)
    return step
