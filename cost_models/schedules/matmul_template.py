"""Default CPU schedule of products of matrices: packed columns, register tile, vectors along a row.

Batches, transposed operands and sums over several axes are welcome: whatever multiplies two tensors and sums,
and whose last axis is one of one factor alone (``MatMul``, ``Gemm``, most of ``Einsum``, both products of an
attention). The kernel is written anew, as for convolutions::

    packed[..., panel, k, j] = right, a panel of columns at a time, stays in the L2 cache
    product[..., i, j]       = sum(left * packed)    a register tile; rows and columns are rounded up
    out[..., i, j]           = epilogue(product)     bias, activation, residual: as in the original

What is rounded up repeats the last row or column, and nobody reads it.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cost_models.schedules.conv_template import substitute
from cost_models.schedules.sblocks import REDUCED, blocks_of, reduces, require_one_result, vectorize_last
from cost_models.schedules.tile_model import Cpu
from cost_models.tvm_import import tvm

te, tirx = tvm.te, tvm.tirx

_LATENCY = 8  # multiply-adds in flight that keep the vector units busy
_VECTORS = 4  # of a register tile's row
_LONE_VECTORS = 8  # where there is one row
_TASKS = 4  # a core
_LINE = 16  # float32 of a cache line
_SHORT = 4  # register tiles of rows: for fewer, packing costs more than it saves


@dataclass(frozen=True, kw_only=True)
class Matmul:
    """A fused product as found in a kernel.

    Attributes:
        params: buffers that the kernel takes, the result last.
        left, right: loads of the factors, at the variables ``axes`` and ``summed``; only ``right`` depends on
            the last axis.
        extents: of ``axes``, those of the bare result.
        depths: extents of ``summed``.
        intermediate: buffer of the bare result.
        epilogue: value of the kernel's result at the variables ``out_axes``; reads ``intermediate``.
    """

    params: tuple[Any, ...]
    left: Any
    right: Any
    axes: tuple[Any, ...]
    extents: tuple[int, ...]
    summed: tuple[Any, ...]
    depths: tuple[int, ...]
    intermediate: Any
    epilogue: Any
    out_axes: tuple[Any, ...]

    @cached_property
    def columns(self) -> int:
        return self.extents[-1]

    @cached_property
    def row_axis(self) -> int:
        """The last axis of the left factor alone, whose values share what is read of the right one."""
        alone = [i for i, axis in enumerate(self.axes[:-1]) if not _reads(self.right, axis)]
        return max(alone, key=lambda i: (self.extents[i] > 1, i))

    @cached_property
    def rows(self) -> int:
        return self.extents[self.row_axis]

    @cached_property
    def has_contiguous_columns(self) -> bool:
        """Whether neighbours in a row of the right factor are neighbours in memory."""
        *others, last = self.right.indices
        return last.same_as(self.axes[-1]) and not any(_uses(index, last) for index in others)


@dataclass(frozen=True, kw_only=True, slots=True)
class MatmulTile:
    """Register tile: ``rows`` x ``vectors`` of ``lanes`` floats; ``down`` of them in a task.

    Attributes:
        direct: the right factor is read where it is and not packed.
    """

    rows: int
    vectors: int
    lanes: int
    down: int
    direct: bool

    @property
    def width(self) -> int:
        return self.vectors * self.lanes


def find_matmul(mod: Any) -> Matmul:
    """The product of an unscheduled kernel.

    Raises:
        ValueError: the kernel is none, or one that this schedule does not cover.
    """
    sch = tvm.s_tir.Schedule(mod)
    require_one_result(sch)
    first, *others = blocks_of(sch)
    if not reduces(sch, first) or any(reduces(sch, block) for block in others):
        raise ValueError("not a product and what is elementwise after it")
    for block in others[:-1]:
        sch.compute_inline(block)
    if not others:
        sch.cache_write(first, 0, "global")
    if len(blocks_of(sch)) != 2:
        raise ValueError("more than a product and what is elementwise after it")
    product, last = (sch.get(block) for block in blocks_of(sch))
    params = tuple(sch.mod["main"].params)
    left, right = _factors(product, params)
    spatial = [iv for iv in product.iter_vars if int(iv.iter_type) != REDUCED]
    summed = [iv for iv in product.iter_vars if int(iv.iter_type) == REDUCED]
    j = spatial[-1].var
    if _reads(left, j):
        left, right = right, left
    intermediate = product.writes[0].source
    shapes = [[int(side) for side in buffer.shape] for buffer in (intermediate, params[-1])]
    stores = [list(map(str, product.body.indices)), [str(iv.var) for iv in spatial]]
    if _reads(left, j) or not _reads(right, j) or shapes[0] != shapes[1] or stores[0] != stores[1]:
        raise ValueError("the last axis is not one of one factor alone")
    if all(_reads(right, iv.var) for iv in spatial[:-1]):
        raise ValueError("no axis is one of the other factor alone, not even of one value")
    return Matmul(
        params=params,
        left=left,
        right=right,
        axes=tuple(iv.var for iv in spatial),
        extents=tuple(int(iv.dom.extent) for iv in spatial),
        summed=tuple(iv.var for iv in summed),
        depths=tuple(int(iv.dom.extent) for iv in summed),
        intermediate=intermediate,
        epilogue=last.body.value,
        out_axes=tuple(iv.var for iv in last.iter_vars),
    )


def _factors(product: Any, params: tuple[Any, ...]) -> tuple[Any, Any]:
    """The two loads whose product is summed. Raises ValueError where that is something else."""
    added = getattr(product.body.value, "b", None)
    found = tuple(_uncast(getattr(added, side, None)) for side in ("a", "b"))
    if not isinstance(product.body.value, tirx.Add) or not isinstance(added, tirx.Mul):
        raise ValueError("not a sum of products")
    for load in found:
        if not isinstance(load, tvm.ir.expr.TensorLoad) or not any(load.source.same_as(p) for p in params):
            raise ValueError("a factor is not one of the kernel's inputs")
    return found[0], found[1]


def _uncast(value: Any) -> Any:
    return value.value if isinstance(value, tirx.Cast) else value


def _reads(load: Any, variable: Any) -> bool:
    return any(_uses(index, variable) for index in load.indices)


def _uses(index: Any, variable: Any) -> bool:
    return any(variable.same_as(one) for one in tirx.analysis.undefined_vars(index, []))


def choose_matmul_tile(product: Matmul, cpu: Cpu) -> MatmulTile:
    """The tile of the default schedule. Deterministic.

    Raises:
        ValueError: factors in another type than float32.
    """
    if any(str(load.source.dtype) != "float32" for load in (product.left, product.right)):
        raise ValueError("tiles are made for vectors of float32")
    lanes = cpu.lanes_for(product.columns)
    needed = math.ceil(product.columns / lanes)

    def cost(sizes: tuple[int, int]) -> tuple[float, ...]:
        """Time for one multiply-add that is wanted, 1 at best; then fewer, larger tiles."""
        rows, vectors = sizes
        sums = rows * vectors
        cycles = max(sums, vectors + rows / 2, _LATENCY) / sums
        filled = math.ceil(product.rows / rows) * rows / product.rows
        wide = math.ceil(needed / vectors) * vectors / needed
        return round(cycles * filled * wide, 2), -sums, rows

    rows, vectors = min(_register_tiles(product.rows, needed, cpu), key=cost)
    tiles = math.ceil(product.rows / rows)
    others = math.prod(product.extents) // (product.rows * product.columns) * math.ceil(needed / vectors)
    pieces = min(tiles, math.ceil(_TASKS * cpu.cores / others))
    lone = vectors >= needed  # a panel of all columns lies together as it is
    whole = product.columns % (vectors * lanes) == 0 and product.has_contiguous_columns
    return MatmulTile(
        rows=rows,
        vectors=vectors,
        lanes=lanes,
        down=math.ceil(tiles / pieces),
        direct=whole and (lone or tiles < _SHORT),
    )


def _register_tiles(rows: int, needed: int, cpu: Cpu) -> Iterator[tuple[int, int]]:
    """(rows, vectors) that fit in registers: sums, a row of the right factor, a value of the left one."""
    widest = _LONE_VECTORS if rows == 1 else _VECTORS
    for tall, wide in itertools.product(range(1, min(rows, 12) + 1), range(1, min(needed, widest) + 1)):
        if (tall + 1) * wide < cpu.registers:
            yield tall, wide


def _write(product: Matmul, tile: MatmulTile) -> Any:
    """A PrimFunc of the blocks ``packed``, ``product``, ``out``; parameters and result are the kernel's."""
    tensors = {p: te.placeholder(p.shape, p.dtype, p.name) for p in product.params[:-1]}
    axis = product.row_axis
    panels = math.ceil(product.columns / tile.width)
    extents = [*product.extents[:-1], panels * tile.width]
    step = tile.rows * tile.down
    extents[axis] = math.ceil(product.rows / step) * step
    is_read = [_reads(product.right, one) for one in product.axes[:-1]]
    batch = [extent if read else 1 for extent, read in zip(extents[:-1], is_read, strict=True)]

    def load(value: Any, at: Mapping[Any, Any]) -> Any:
        return substitute(value, at, lambda found: tensors[found.source](*found.indices))

    def packed_value(*indices: Any) -> Any:
        before, (panel, *ks, within) = indices[: len(batch)], indices[len(batch) :]
        column = _clamped(panel * tile.width + within, product.columns, extents[-1])
        values = zip((*product.axes, *product.summed), (*before, column, *ks), strict=True)
        return load(product.right, dict(values))

    packed = te.compute((*batch, panels, *product.depths, tile.width), packed_value, name="packed")
    summed = [te.reduce_axis((0, depth), f"k{index}") for index, depth in enumerate(product.depths)]

    def product_value(*indices: Any) -> Any:
        *before, column = indices
        mine = [index if read else 0 for index, read in zip(before, is_read, strict=True)]
        right = packed(*mine, column // tile.width, *summed, column % tile.width)
        before[axis] = _clamped(before[axis], product.rows, extents[axis])
        ks = [k.var for k in summed]
        values = zip((*product.axes[:-1], *product.summed), (*before, *ks), strict=True)
        return te.sum(load(product.left, dict(values)) * right, axis=summed)

    tensors[product.intermediate] = te.compute(extents, product_value, name="product")

    def out_value(*indices: Any) -> Any:
        return load(product.epilogue, dict(zip(product.out_axes, indices, strict=True)))

    out = te.compute(product.extents, out_value, name="out")
    return te.create_prim_func([*(tensors[p] for p in product.params[:-1]), out])


def _clamped(index: Any, extent: int, rounded: int) -> Any:
    """An index that may be beyond the end, where the last one is read again."""
    return index if rounded == extent else tirx.min(index, extent - 1)


def schedule_matmul(product: Matmul, tile: MatmulTile) -> Any:
    """The kernel as a scheduled PrimFunc: panels of columns in parallel, register tiles, vectors."""
    sch = tvm.s_tir.Schedule(_write(product, tile))
    packed, block, out = (sch.get_sblock(name) for name in ("packed", "product", "out"))
    loops = sch.get_loops(block)
    axes, summed = loops[: len(product.axes)], loops[len(product.axes) :]
    others = [loop for i, loop in enumerate(axes[:-1]) if i != product.row_axis]
    ro, rm, ri = sch.split(axes[product.row_axis], [None, tile.down, tile.rows])
    co, cv, lane = sch.split(axes[-1], [None, tile.vectors, tile.lanes])
    sch.reorder(*others, co, ro, rm, *summed, ri, cv, lane)
    task = sch.fuse(*others, co, ro)
    sch.parallel(task)
    if tile.direct:
        sch.compute_inline(packed)
    else:
        sch.compute_at(packed, task, preserve_unit_loops=True)
        if not product.has_contiguous_columns:  # tiles that are read along rows, whatever their sides
            *_, k, column = sch.get_loops(packed)
            depth = int(sch.get(k).extent)
            side = max(d for d in range(1, _LINE + 1) if depth % d == 0)
            outer, inner = sch.split(k, [None, side])
            sch.reorder(outer, column, inner)
    sch.reverse_compute_at(out, rm, preserve_unit_loops=True)
    for loop in (ri, cv):
        sch.unroll(loop)
    sch.vectorize(lane)
    init = sch.decompose_reduction(block, summed[0])
    *unrolled, last = sch.get_loops(init)[-3:]
    for loop in unrolled:
        sch.unroll(loop)
    sch.vectorize(last)
    if product.columns % tile.width == 0:
        vectorize_last(sch, out, tile.lanes)
        if not tile.direct and product.has_contiguous_columns:
            vectorize_last(sch, packed, tile.lanes)
    return sch.mod["main"]
