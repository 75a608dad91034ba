"""Default CPU schedule of a linear resize that enlarges rows: first between rows, then along them.

One step would gather four inputs for every output; of two, the first loads whole vectors and the second
gathers two, about twice as fast. Either step is the kernel's own expression with one coordinate fixed: the
weights of the other direction add up to one then.
"""

from typing import Any

from cost_models.schedules.conv_template import substitute
from cost_models.tvm_import import tvm

te = tvm.te


def write_resize(sch: Any) -> Any:
    """A PrimFunc of the blocks ``between`` and ``out``; parameters and result are the kernel's.

    Args:
        sch: Schedule of a kernel that is a resize and at most one elementwise block.

    Raises:
        ValueError: the kernel is something else, or rows get shorter.
    """
    blocks = [sch.get(block) for block in sch.get_child_blocks(sch.get_sblock("root"))]
    resize, *epilogue = blocks
    params = list(sch.mod["main"].params)
    data, resized = resize.reads[0].source, resize.writes[0].source
    if resize.name_hint != "resize" or len(epilogue) > 1 or len(resize.iter_vars) != 4:
        raise ValueError(f"not an NCHW resize: blocks {[block.name_hint for block in blocks]}")
    if not any(data.same_as(param) for param in params) or int(data.shape[3]) > int(resized.shape[3]):
        raise ValueError("not a resize of the kernel's input that enlarges rows")
    tensors = {param: te.placeholder(param.shape, param.dtype, param.name) for param in params[:-1]}
    axes, value = [iv.var for iv in resize.iter_vars], resize.body.value
    zero = tvm.tirx.const(0, "int64")

    def between(n: Any, c: Any, y: Any, x: Any) -> Any:
        at = dict(zip(axes, (n, c, y, zero), strict=True))
        return substitute(value, at, lambda load: tensors[data](*load.indices[:3], x))

    rows = te.compute((*resized.shape[:3], data.shape[3]), between, name="between")

    def along(n: Any, c: Any, y: Any, x: Any) -> Any:
        at = dict(zip(axes, (n, c, zero, x), strict=True))
        return substitute(value, at, lambda load: rows(n, c, y, load.indices[3]))

    result = te.compute(resized.shape, along, name="out" if not epilogue else "along")
    if epilogue:
        tensors[resized] = result
        out_axes = [iv.var for iv in epilogue[0].iter_vars]

        def out(*indices: Any) -> Any:
            at = dict(zip(out_axes, indices, strict=True))
            return substitute(epilogue[0].body.value, at, lambda load: tensors[load.source](*load.indices))

        result = te.compute(epilogue[0].writes[0].source.shape, out, name="out")
    return te.create_prim_func([*(tensors[param] for param in params[:-1]), result])


def schedule_resize(func: Any) -> Any:
    """The schedule of what ``write_resize`` wrote: rows in parallel, each with its scratch row."""
    sch = tvm.s_tir.Schedule(func)
    between, *along, out = sch.get_child_blocks(sch.get_sblock("root"))
    for block in along:
        sch.compute_inline(block)
    task = sch.fuse(*sch.get_loops(out)[:-1])
    sch.parallel(task)
    sch.compute_at(between, task)
    return sch
