"""Default CPU schedules of kernels that move values: shuffles of pixels, transpositions.

Both write rows, as they must, but read far apart. Of a shuffle the places of a row that come from one
channel are gone through together, so that each is one run of the input; of a transposition small tiles are,
which stay in the first-level cache until all of their lines are used.
"""

from typing import Any

from cost_models.schedules.conv_template import substitute
from cost_models.schedules.sblocks import (
    blocks_of,
    calls_functions,
    inline,
    reduces,
    require_one_result,
    spatial_shape,
)
from cost_models.tvm_import import tvm, tvm_ffi

te, tirx = tvm.te, tvm.tirx

_LINE = 16  # float32 of a cache line
_ROWS = 8  # of the result in a tile: lines that a cache keeps of addresses that differ by a power of two
_LEAST = 8  # shorter rows of a transposition, as the colours of a frame, are in one line anyway


def schedule_shuffle(mod: Any) -> Any:
    """The kernel as a scheduled PrimFunc.

    Raises:
        ValueError: it sums, or reads its inputs in rows as it writes its result.
    """
    sch = tvm.s_tir.Schedule(mod)
    require_one_result(sch)
    for block in blocks_of(sch)[:-1]:
        if reduces(sch, block):
            raise ValueError("it sums")
        if not calls_functions(sch, block):  # others may be evaluated more often where they are read
            sch.compute_inline(block)
    inline(sch, blocks_of(sch))
    if len(blocks_of(sch)) > 1:
        raise ValueError("it computes what is read several times")
    (block,) = blocks_of(sch)
    if reduces(sch, block) or len(spatial_shape(sch, block)) < 2:
        raise ValueError("it sums, or has one axis")
    sch = tvm.s_tir.Schedule(_simplified(sch, block))
    (block,) = blocks_of(sch)
    loops = sch.get_loops(block)
    step = _step(sch, block)
    if step:
        _, within = sch.split(loops[-1], [None, step])
        sch.unroll(within)
        sch.parallel(sch.fuse(*loops[:-1]))
        return sch.mod["main"]
    axis = _transposed_axis(sch, block)
    extents = [int(sch.get(loop).extent) for loop in (loops[axis], loops[-1])]
    sides = [_divisor(extent, most) for extent, most in zip(extents, (_ROWS, _LINE), strict=True)]
    outer, inner = sch.split(loops[axis], [None, sides[0]])
    piece, within = sch.split(loops[-1], [None, sides[1]])
    others = [loop for i, loop in enumerate(loops[:-1]) if i != axis]
    sch.reorder(*others, outer, piece, within, inner)
    sch.parallel(sch.fuse(*others, outer, piece))
    return sch.mod["main"]


def _divisor(extent: int, most: int) -> int:
    """The largest side of a tile that divides an extent."""
    return max(side for side in range(1, most + 1) if extent % side == 0)


def _simplified(sch: Any, block: Any) -> Any:
    """The kernel anew, as one block, whose indices are simplified by what is known of their ranges."""
    stmt, params = sch.get(block), list(sch.mod["main"].params)
    tensors = {param: te.placeholder(param.shape, param.dtype, param.name) for param in params[:-1]}
    axes = [iv.var for iv in stmt.iter_vars]

    def value(*indices: Any) -> Any:
        analyzer = tvm.sym.Analyzer()
        for index, iv in zip(indices, stmt.iter_vars, strict=True):
            analyzer.bind(index, tvm.ir.Range(0, iv.dom.extent))
        at = dict(zip(axes, indices, strict=True))
        made = substitute(
            stmt.body.value,
            at,
            lambda load: tensors[load.source](*(analyzer.simplify(index) for index in load.indices)),
        )
        return analyzer.simplify(made)

    out = te.compute(params[-1].shape, value, name="out")
    return te.create_prim_func([*(tensors[param] for param in params[:-1]), out])


def _step(sch: Any, block: Any) -> int:
    """How far places of a row are apart that are read one after another; 0 where it is no shuffle."""
    stmt = sch.get(block)
    column, extent = stmt.iter_vars[-1].var, int(stmt.iter_vars[-1].dom.extent)
    found: set[int] = set()

    def visit(node: Any) -> None:
        linear = tvm.sym.detect_linear_equation(node.a, [column])
        in_steps = len(linear) == 2 and isinstance(linear[0], tirx.IntImm) and int(linear[0]) == 1
        if in_steps and isinstance(node.b, tirx.IntImm) and 1 < int(node.b) < extent:
            found.add(int(node.b))

    tvm_ffi.structural_walk(stmt.body, [(kind, visit) for kind in (tirx.FloorMod, tirx.FloorDiv, tirx.Div)])
    return min((step for step in found if step <= _LINE and extent % step == 0), default=0)


def _transposed_axis(sch: Any, block: Any) -> int:
    """The axis of the result along which some input lies in rows. Raises ValueError where it is the last."""
    stmt = sch.get(block)
    axes = [iv.var for iv in stmt.iter_vars]
    for read in (read for read in stmt.reads if len(read.region)):
        *others, last = [side.min for side in read.region]
        place = next((i for i, axis in enumerate(axes[:-1]) if last.same_as(axis)), None)
        moves = any(axes[-1].same_as(v) for o in others for v in tirx.analysis.undefined_vars(o, []))
        if place is not None and moves and int(stmt.iter_vars[place].dom.extent) >= _LEAST:
            return place
    raise ValueError("it reads rows as it writes rows")
