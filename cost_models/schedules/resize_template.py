"""Default CPU schedule of a linear, cubic or uneven nearest resize: one direction first, then the other.

One step would gather all inputs of every output. Of two, the one between rows loads whole vectors, and the
one along rows gathers as many as a row has; see ``resize_steps``.

The step along rows goes where the rows are fewer: first where their number grows, which is up to four times
as fast as last (docs/profiling.md), and last where it shrinks.
"""

from collections.abc import Mapping
from typing import Any

from cost_models.schedules.conv_template import substitute
from cost_models.schedules.resize_steps import TABLES, Blend
from cost_models.schedules.tile_model import Cpu
from cost_models.tvm_import import tvm

te = tvm.te

_SHORTER = 4  # times: of rows that lose more, the step between rows would compute too much that nobody reads
_TASKS = 4  # a core


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
    if resize.name_hint != "resize" or len(epilogue) > 1:
        raise ValueError(f"not a resize: {resize.name_hint} and {len(epilogue)} blocks more")
    (height, width), (new_height, new_width) = (map(int, b.shape[2:]) for b in (data, resized))
    if not any(data.same_as(param) for param in params) or width > _SHORTER * new_width:
        raise ValueError("not a resize of the kernel's input, or one that makes rows far shorter")
    tensors = {param: te.placeholder(param.shape, param.dtype, param.name) for param in params[:-1]}
    blend, last = Blend.of(resize), "resized" if epilogue else "out"
    if new_height > height and new_width >= 2 * cpu.lanes:
        rows = blend.along(tensors[data], (*data.shape[:3], resized.shape[3]), "along")
        tensors[resized] = blend.between(rows, resized.shape, last)
    else:
        rows = blend.between(tensors[data], (*resized.shape[:3], data.shape[3]), "between")
        tensors[resized] = blend.along(rows, resized.shape, last)
    result = _after(epilogue[0], tensors) if epilogue else tensors[resized]
    return te.create_prim_func([*(tensors[param] for param in params[:-1]), result])


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
    first, *resized, out = (block for name, block in named if name not in TABLES)
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
