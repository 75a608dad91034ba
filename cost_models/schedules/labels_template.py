"""Default CPU schedule of the largest channel of a resized map, which itself is never made.

Columns are cut into pieces. Of each, the input's rows are first made as long as the result's, into a scratch
map that stays in the cache; then every row of the result is blended from two of them in registers, channel
after channel, and compared there.

The arithmetic is the kernel's own, in its order, so the same values are compared.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cost_models.schedules.conv_template import substitute
from cost_models.schedules.resize_steps import TABLES, Blend
from cost_models.schedules.sblocks import blocks_of, reduces
from cost_models.schedules.tile_model import Cpu
from cost_models.tvm_import import tvm, tvm_ffi

te, tirx = tvm.te, tvm.tirx

_CACHE_BYTES = 256 * 1024  # wanted size of a scratch map: a part of any L2 cache
_TASKS = 4  # a core
_TOGETHER = 4  # vectors that are compared side by side: one comparison waits for the one before
_ZERO = tirx.const(0, "int64")


@dataclass(frozen=True, slots=True)
class Labels:
    """A kernel that tells the largest channel of a resized map.

    Attributes:
        data, result: its parameters, the map (N, C, h, w) and the indices (N, H, W).
        channels: how many are compared.
        axes: of the resize: image, channel, row, column.
        rows: what is blended, each with its share: an expression of ``axes`` that hangs on the row by its
            loads alone, and one of the row.
        moved: axes and indices of a block between the resize and the comparison; None without one.
    """

    data: Any
    result: Any
    channels: int
    axes: tuple[Any, ...]
    rows: tuple[tuple[Any, Any], ...]
    moved: tuple[tuple[Any, ...], tuple[Any, ...]] | None

    def place(self, *at: Any) -> Mapping[Any, Any]:
        """The resize's axes at which an element of the comparison's input lies."""
        if self.moved is not None:
            axes = dict(zip(self.moved[0], at, strict=True))
            at = tuple(substitute(index, axes, lambda load: load) for index in self.moved[1])
        return dict(zip(self.axes, at, strict=True))

    def column(self, x: Any) -> Any:
        """The resize's column at which a column of the comparison's input lies."""
        return self.place(_ZERO, _ZERO, _ZERO, x)[self.axes[3]]


def find_labels(sch: Any) -> Labels:
    """The parts of a scheduled kernel.

    Raises ValueError: it is something else than a linear resize, at most one block that takes some of it, and
    the index of the largest channel.
    """
    handles = blocks_of(sch)
    blocks, params = [sch.get(handle) for handle in handles], list(sch.mod["main"].params)
    largest = next((i for i, handle in enumerate(handles) if reduces(sch, handle)), 0)
    if largest not in (1, 2) or blocks[0].name_hint != "resize" or len(params) != 2:
        raise ValueError("not the largest channel of a resized map")
    resize, *between = blocks[:largest]
    if len(resize.iter_vars) != 4 or not _is_argmax(blocks[largest]):
        raise ValueError("not an argmax over channels of an NCHW map")
    moved = None
    if between:
        value = between[0].body.value
        if not isinstance(value, tvm.ir.expr.TensorLoad):
            raise ValueError("what is compared is computed from the resized map")
        moved = tuple(iv.var for iv in between[0].iter_vars), tuple(value.indices)
    return Labels(
        data=params[0],
        result=params[1],
        channels=int(blocks[largest].iter_vars[-1].dom.extent),
        axes=tuple(iv.var for iv in resize.iter_vars),
        rows=_blended(resize.body.value),
        moved=moved,
    )


def _is_argmax(block: Any) -> bool:
    """TVM's argmax of channels, which begins with the least number; argmin begins with the largest."""
    kinds = [int(iv.iter_type) for iv in block.iter_vars]
    if len(block.writes) != 2 or len(kinds) != 4 or any(kinds[:3]):
        return False
    least = float(tirx.min_value(block.writes[1].source.dtype).value)
    read = next((region.region for region in block.reads if len(region.region) == 4), None)
    channel = read is not None and read[1].min.same_as(block.iter_vars[3].var)
    return bool(channel and float(block.init.seq[1].value.value) == least)


def _blended(value: Any) -> tuple[tuple[Any, Any], ...]:
    """Two rows and their shares, of ``upper * (1 - y) + lower * y``."""
    terms = (value.a, value.b) if isinstance(value, tirx.Add) else ()
    if len(terms) != 2 or not all(isinstance(term, tirx.Mul) for term in terms):
        raise ValueError("not a linear resize")
    return tuple((term.a, term.b) for term in terms)


def write_labels(labels: Labels, cpu: Cpu) -> Any:
    """A PrimFunc of the blocks ``along``, ``largest`` and ``out``; parameters and result are the kernel's."""
    batch, channels, height, _ = (int(side) for side in labels.data.shape)
    _, rows, columns = (int(side) for side in labels.result.shape)
    padded = math.ceil(columns / cpu.lanes) * cpu.lanes
    data = te.placeholder(labels.data.shape, labels.data.dtype, labels.data.name)

    along = Blend(labels.axes, labels.rows[0][0]).along(
        data, (batch, channels, height, padded), "along", labels.column
    )

    def blended(n: Any, c: Any, y: Any, x: Any) -> Any:
        at = labels.place(n, c, y, x)
        parts = []
        for row, share in labels.rows:
            source = _source_row(row, at)
            parts.append(along(n, c, source, x) * substitute(share, at, lambda load: load))
        return parts[0] + parts[1]

    channel = te.reduce_axis((0, channels), "channel")
    first_largest = te.comm_reducer(
        lambda best, new: (
            tirx.Select(best[1] >= new[1], best[0], new[0]),
            tirx.Select(best[1] >= new[1], best[1], new[1]),
        ),
        lambda index_type, value_type: (tirx.const(0, index_type), tirx.min_value(value_type)),
        name="first_largest",
    )
    index, _ = te.compute(
        (batch, rows, padded),
        lambda n, y, x: first_largest(
            (channel.var.astype("int32"), blended(n, channel.var, y, x)), axis=channel
        ),
        name="largest",
    )
    out = te.compute(
        (batch, rows, columns), lambda n, y, x: index(n, y, x).astype(labels.result.dtype), name="out"
    )
    return te.create_prim_func([data, out])


def _source_row(row: Any, at: Mapping[Any, Any]) -> Any:
    """Which row of the input an expression loads from."""
    found: list[Any] = []

    def seen(load: Any) -> Any:
        found.append(load.indices[2])
        return load

    substitute(row, at, seen)
    if any(not tvm_ffi.structural_equal(index, found[0]) for index in found):
        raise ValueError("blends more than two rows")
    return found[0]


def schedule_labels(func: Any, cpu: Cpu) -> Any:
    """The schedule of what ``write_labels`` wrote."""
    sch = tvm.s_tir.Schedule(func)
    named = ((sch.get(block).name_hint, block) for block in blocks_of(sch))
    along, largest, out = (block for name, block in named if name not in TABLES)
    batch, row, column = sch.get_loops(out)
    _, channels, height, padded = (int(side) for side in sch.get(along).writes[0].source.shape)
    vectors = padded // cpu.lanes
    together = max(n for n in range(1, _TOGETHER + 1) if vectors % n == 0)
    width = _piece(vectors // together, together * cpu.lanes, channels * height * 4, cpu)
    piece, group, within = sch.split(column, [None, width // (together * cpu.lanes), together * cpu.lanes])
    sch.reorder(batch, piece, row, group, within)
    task = sch.fuse(batch, piece)
    sch.parallel(task)
    sch.compute_at(largest, group)
    sch.compute_at(along, task)
    *_, pixels, channel = sch.get_loops(largest)
    several, vector = sch.split(pixels, [None, cpu.lanes])
    sch.reorder(channel, several, vector)
    sch.vectorize(vector)
    sch.unroll(several)
    sch.decompose_reduction(largest, channel)
    return sch


def _piece(groups: int, group: int, column_bytes: int, cpu: Cpu) -> int:
    """Columns of a piece: as many groups as the cache holds, but enough pieces for every core."""
    fitting = [n for n in range(1, groups + 1) if groups % n == 0]
    small = [
        n for n in fitting if n * group * column_bytes <= _CACHE_BYTES and groups // n >= _TASKS * cpu.cores
    ]
    return group * (max(small) if small else 1)
