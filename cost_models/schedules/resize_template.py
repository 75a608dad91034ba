"""Default CPU schedule of a linear or cubic resize: in one direction first, then in the other.

One step would gather four inputs for every output. Of two, the one between rows loads whole vectors, and the
one along rows gathers two. Either is the kernel's own expression with one coordinate fixed: the weights of
the other direction add up to one then, whatever the corners are. Cubic ones: ``cubic_template``.

The step along rows goes where the rows are fewer: first where their number grows, which is up to four times
as fast as last (docs/profiling.md), and last where it shrinks.
"""

from collections.abc import Mapping
from typing import Any

from cost_models.schedules import cubic_template
from cost_models.schedules.conv_template import substitute
from cost_models.schedules.tile_model import Cpu
from cost_models.tvm_import import tvm

te = tvm.te

_SHORTER = 4  # times: of rows that lose more, the step between rows would compute too much that nobody reads
_TASKS = 4  # a core
_ZERO = tvm.tirx.const(0, "int64")


def write_resize(sch: Any, cpu: Cpu) -> Any:
    """A PrimFunc of the blocks ``along`` or ``between``, whichever is first, and ``out``.

    Parameters and result are the kernel's.

    Args:
        sch: Schedule of a kernel that is a resize and at most one elementwise block.

    Raises:
        ValueError: the kernel is something else, or rows get far shorter.
    """
    resize, *epilogue = (sch.get(block) for block in sch.get_child_blocks(sch.get_sblock("root")))
    params = list(sch.mod["main"].params)
    data, resized = resize.reads[0].source, resize.writes[0].source
    if resize.name_hint != "resize" or len(epilogue) > 1 or len(resize.iter_vars) != 4:
        raise ValueError(f"not an NCHW resize: {resize.name_hint} and {len(epilogue)} blocks more")
    (height, width), (new_height, new_width) = (map(int, b.shape[2:]) for b in (data, resized))
    if not any(data.same_as(param) for param in params) or width > _SHORTER * new_width:
        raise ValueError("not a resize of the kernel's input, or one that makes rows far shorter")
    tensors = {param: te.placeholder(param.shape, param.dtype, param.name) for param in params[:-1]}
    along, between = _along, _between
    if cubic_template.is_cubic(resize):
        along, between = cubic_template.along, cubic_template.between
    last = "resized" if epilogue else "out"
    if new_height > height and new_width >= 2 * cpu.lanes:
        rows = along(resize, tensors[data], (*data.shape[:3], resized.shape[3]), "along")
        tensors[resized] = between(resize, rows, resized.shape, last)
    else:
        rows = between(resize, tensors[data], (*resized.shape[:3], data.shape[3]), "between")
        tensors[resized] = along(resize, rows, resized.shape, last)
    result = _after(epilogue[0], tensors) if epilogue else tensors[resized]
    return te.create_prim_func([*(tensors[param] for param in params[:-1]), result])


def _along(resize: Any, source: Any, shape: Any, name: str) -> Any:
    """The step along rows alone, of ``source``."""
    axes, value = [iv.var for iv in resize.iter_vars], resize.body.value

    def compute(n: Any, c: Any, y: Any, x: Any) -> Any:
        at = dict(zip(axes, (n, c, _ZERO, x), strict=True))
        return substitute(value, at, lambda load: source(*load.indices[:2], y, load.indices[3]))

    return te.compute(shape, compute, name=name)


def _between(resize: Any, source: Any, shape: Any, name: str) -> Any:
    """The step between rows alone, of ``source``."""
    axes, value = [iv.var for iv in resize.iter_vars], resize.body.value

    def compute(n: Any, c: Any, y: Any, x: Any) -> Any:
        at = dict(zip(axes, (n, c, y, _ZERO), strict=True))
        return substitute(value, at, lambda load: source(*load.indices[:3], x))

    return te.compute(shape, compute, name=name)


def _after(epilogue: Any, tensors: Mapping[Any, Any]) -> Any:
    """The elementwise block, of what its buffers have become."""
    axes = [iv.var for iv in epilogue.iter_vars]

    def compute(*indices: Any) -> Any:
        at = dict(zip(axes, indices, strict=True))
        return substitute(epilogue.body.value, at, lambda load: tensors[load.source](*load.indices))

    return te.compute(epilogue.writes[0].source.shape, compute, name="out")


def schedule_resize(func: Any, cpu: Cpu) -> Any:
    """The schedule of what ``write_resize`` wrote.

    Between rows first: rows in parallel, each with its scratch row. Along rows first: channels in parallel,
    each with a scratch map, in as many pieces from left to right as give every core enough tasks.
    """
    sch = tvm.s_tir.Schedule(func)
    named = ((sch.get(block).name_hint, block) for block in sch.get_child_blocks(sch.get_sblock("root")))
    first, *resized, out = (block for name, block in named if name not in cubic_template.TABLES)
    for block in resized:
        sch.compute_inline(block)
    loops = sch.get_loops(out)
    if sch.get(first).name_hint == "along":
        batch, channels, row, column = loops
        piece, within = sch.split(column, [_pieces(sch, loops, cpu), None])
        sch.reorder(piece, row, within)
        task = sch.fuse(batch, channels, piece)
    else:
        task = sch.fuse(*loops[:-1])
    sch.parallel(task)
    sch.compute_at(first, task)
    return sch


def _pieces(sch: Any, loops: list[Any], cpu: Cpu) -> int:
    """The fewest pieces of a row, of whole vectors, that make enough tasks; the most there are if none do."""
    batch, channels, _, columns = (int(sch.get(loop).extent) for loop in loops)
    counts = [n for n in range(1, columns // cpu.lanes + 1) if columns % (n * cpu.lanes) == 0] or [1]
    return next((n for n in counts if n * batch * channels >= _TASKS * cpu.cores), counts[-1])
