"""Tiles of the GPU templates: all that fit a GPU, a model of their costs, the default ones.

The model counts cycles of one multiprocessor: of multiply-adds, of shared memory, of caches and of memory,
and what a block waits for beside them. It knows what a tile asks of the hardware. What the hardware makes of
it no one has told it: there was no GPU at hand.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

from cost_models.schedules.conv_template import Conv
from cost_models.schedules.gpu import WARP, Gpu
from cost_models.schedules.gpu_depthwise import DepthwiseTile
from cost_models.schedules.gpu_matmul import MatmulTile, reads_in_vectors

GpuTile = MatmulTile | DepthwiseTile

# Bytes a cycle of a multiprocessor: its share of memory and of the second-level cache (Xavier's and H100's
# memory come to 12 and 14), its shared memory, and its first-level cache.
_MEMORY, _CACHE, _SHARED, _FIRST_LEVEL = 12.0, 32.0, 128.0, 128.0
_ISSUED = 4  # instructions of a warp that a multiprocessor begins in a cycle
_START = 1500.0  # cycles from a block's start to its first sum, and from its last to its end
_FETCH = 700.0  # cycles that a load from memory takes, and the barriers around it
_AHEAD = 200.0  # what is left of that where the next tile is loaded meanwhile
_HIDING = 4  # warps of a multiprocessor that wait while others work
_SEEN = 0.25  # of work that a multiprocessor does beside the longest
_LANES = (4, 1)  # pixels of a vector
_ALL_REGISTERS = 255  # that a thread can have
_MOST_REGISTERS = 168  # of a thread, such that a multiprocessor holds some 12 warps
_MOST_UNROLLED = 2048  # multiply-adds of an unrolled step, such that instructions stay in their cache
_MOST_LOADS = 32  # of a thread, one after another
_MOST_SIZE = 4096  # of what is asked from outside; the model counts by it
_MOST_THREADS = 256  # of a block, such that others work while its threads wait for each other


@dataclass(frozen=True, kw_only=True, slots=True)
class TileCost:
    """What the model says of a tile on a GPU.

    Attributes:
        blocks: of the kernel. resident: of them, on a multiprocessor at a time, at most.
        registers: of a thread, estimated. shared_bytes: of a block.
        loaded_bytes: from global memory or the caches before it, by all blocks.
        cycles: of the whole kernel.
    """

    blocks: int
    resident: int
    registers: int
    shared_bytes: int
    loaded_bytes: int
    cycles: float


def cost_of(conv: Conv, gpu: Gpu, tile: GpuTile) -> TileCost:
    """The model's word on a tile that fits the convolution."""
    return _matmul_cost(conv, gpu, tile) if isinstance(tile, MatmulTile) else _depthwise_cost(conv, gpu, tile)


def _matmul_cost(conv: Conv, gpu: Gpu, tile: MatmulTile) -> TileCost:
    pixels, depth = math.prod(conv.out_shape[1:]), conv.channels // conv.groups * math.prod(conv.taps)
    steps = math.ceil(depth / tile.depth)
    tiles_f = math.ceil(conv.out_shape[0] // conv.groups / tile.height)
    sums, warps, summed = tile.filters * tile.vectors * tile.lanes, tile.threads / WARP, steps * tile.depth
    vector = tile.lanes if reads_in_vectors(conv, tile) else 1
    loads = [math.ceil(tile.depth * extent / tile.threads) for extent in (tile.width, tile.height)]
    # a warp reads its pixels once, and of its filters a vector at a time, for all of its threads at once
    of_filters = tile.filters / math.gcd(tile.filters, 4)
    read = 4 * tile.vectors * tile.lanes * min(tile.across, WARP) / _SHARED
    read += of_filters * max(1.0, WARP / tile.across / 4)
    stored = 4 * (tile.width + tile.height) / _SHARED
    gathered = 1 if conv.taps == (1, 1) and not any(conv.pads) else 3  # coordinates, conditions of padding
    moved = 4 * steps * (gathered * loads[0] / vector + loads[1]) + 4 * tile.filters * tile.vectors
    loaded = conv.element_bytes * summed * (tile.width + tile.height)
    block = _Block(
        count=conv.batch * conv.groups * tiles_f * math.ceil(pixels / tile.width),
        threads=tile.threads,
        registers=sums + sums // 4 + sum(loads) + 26 + 8 * tile.ahead,  # as NVRTC 11.8 allots them
        shared_bytes=4 * tile.depth * (tile.width + tile.padded_height),
        loaded_bytes=loaded,
        busy=(
            summed * tile.height * tile.width / gpu.lanes,
            summed * (warps * read + stored),
            warps * (summed * (sums + tile.vectors + of_filters) + moved) / _ISSUED,
            loaded / _CACHE,
        ),
        waits=_START + steps * (_AHEAD if tile.ahead else _FETCH),
    )
    return _cost(conv, gpu, block)


def _depthwise_cost(conv: Conv, gpu: Gpu, tile: DepthwiseTile) -> TileCost:
    channels, height, width = conv.out_shape
    taps, outputs, warps = math.prod(conv.taps), tile.rows * tile.columns, tile.threads / WARP
    rows, columns = (
        len({at * conv.stride[i] + tap * conv.dilation[i] for at in range(n) for tap in range(conv.taps[i])})
        for i, n in ((0, tile.rows), (1, tile.columns))
    )
    tasks = conv.batch * channels * math.ceil(height / tile.rows) * math.ceil(width / tile.columns)
    # neighbours read so far apart: that much of each line of the first-level cache is not for them
    apart = conv.stride[1] * tile.columns
    lines = warps * (rows * columns * apart + taps + outputs * tile.columns)
    block = _Block(
        count=math.ceil(tasks / tile.threads),
        threads=tile.threads,
        registers=outputs + rows * columns + 12,  # as NVRTC 11.8 allots them
        shared_bytes=0,
        loaded_bytes=tile.threads * (rows * columns + taps) * conv.element_bytes,
        busy=(
            tile.threads * outputs * taps / gpu.lanes,
            lines * 4 * WARP / _FIRST_LEVEL,
            # inputs and the conditions of padding take a few instructions each
            warps * (outputs * taps + 4 * rows * columns + taps + 40) / _ISSUED,
        ),
        waits=_START,
    )
    return _cost(conv, gpu, block)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """What the model knows of a kernel's blocks.

    Attributes:
        busy: cycles of the parts of a multiprocessor that may work at the same time.
        waits: cycles in which none does, if the block is alone.
    """

    count: int
    threads: int
    registers: int
    shared_bytes: int
    loaded_bytes: int
    busy: tuple[float, ...]
    waits: float


def _cost(conv: Conv, gpu: Gpu, block: _Block) -> TileCost:
    resident = gpu.resident_blocks(block.threads, block.registers, block.shared_bytes)
    busy, cycles = _overlapping(block.busy), math.inf
    if resident:
        waves, rest = divmod(math.ceil(block.count / gpu.multiprocessors), resident)
        few = busy * _HIDING / (block.threads / WARP)  # the fewer warps, the more they wait for each other
        alone = busy + few + block.waits
        working = waves * max(resident * busy + few, alone) + (max(rest * busy + few, alone) if rest else 0)
        cycles = _overlapping((working, conv.memory_bytes / _MEMORY / gpu.multiprocessors))
    return TileCost(
        blocks=block.count,
        resident=resident,
        registers=block.registers,
        shared_bytes=block.shared_bytes,
        loaded_bytes=block.count * block.loaded_bytes,
        cycles=cycles,
    )


def _overlapping(parts: tuple[float, ...]) -> float:
    """The time of work that goes on side by side: the longest, and some of the others, as none is hidden."""
    return (1 - _SEEN) * max(parts) + _SEEN * sum(parts)


def all_tiles(conv: Conv, gpu: Gpu) -> Iterator[tuple[GpuTile, float]]:
    """Every tile that may be worth a trial, with its cycles by the model."""
    tiles = _depthwise_tiles(conv) if conv.depthwise else _matmul_tiles(conv, gpu)
    for tile in tiles:
        cost = cost_of(conv, gpu, tile)
        if cost.resident and cost.registers <= _MOST_REGISTERS:
            yield tile, cost.cycles


def check_tile(conv: Conv, gpu: Gpu, tile: GpuTile) -> None:
    """Refuse a tile that the templates or the GPU cannot take, wherever it is from.

    Raises:
        ValueError: says what is wrong with it.
    """
    if any(type(size) is int and not 0 < size <= _MOST_SIZE for size in astuple(tile)):
        raise ValueError(f"a size that is not 1 to {_MOST_SIZE}")
    if conv.depthwise != isinstance(tile, DepthwiseTile):
        raise ValueError(f"a tile for {'dense' if conv.depthwise else 'depthwise'} convolutions")
    cost = cost_of(conv, gpu, tile)
    if not cost.resident or cost.registers > _ALL_REGISTERS:
        raise ValueError(
            f"blocks of {tile.threads} threads with {cost.registers} registers each and {cost.shared_bytes} "
            f"bytes; allowed are {gpu.block_threads} threads, {_ALL_REGISTERS} registers and "
            f"{gpu.block_shared_bytes} bytes"
        )
    if isinstance(tile, MatmulTile) and not _loads_evenly(conv, tile):
        raise ValueError("threads load parts of different size, or no whole vectors of the map")


def choose_tile(conv: Conv, gpu: Gpu) -> GpuTile:
    """The tile of the default schedule; deterministic.

    Raises:
        ValueError: none fits the GPU.
    """
    best = min(all_tiles(conv, gpu), key=lambda pair: round(pair[1], 1), default=None)
    if best is None:
        raise ValueError("no tile fits this GPU")
    return best[0]


def _depthwise_tiles(conv: Conv) -> Iterator[DepthwiseTile]:
    _, height, width = conv.out_shape
    for threads, columns, rows in itertools.product((128, 64, 256), (1, 2, 4), (1, 2, 4, 6, 8)):
        if rows < 2 * height and columns < 2 * width:
            yield DepthwiseTile(rows=rows, columns=columns, threads=threads)


def _matmul_tiles(conv: Conv, gpu: Gpu) -> Iterator[MatmulTile]:
    group, pixels = conv.out_shape[0] // conv.groups, math.prod(conv.out_shape[1:])
    taps = math.prod(conv.taps)
    depth = conv.channels // conv.groups * taps
    depths = {min(depth, step if taps == 1 else -(-step // taps) * taps) for step in (4, 8, 16, 32)}
    for filters, down, across in itertools.product(
        (1, 2, 4, 5, 6, 8, 10, 12, 16), (1, 2, 3, 4, 5, 6, 8), (8, 16, 32, 64, 128)
    ):
        threads = down * across
        full = down == 1 or (down - 1) * filters < group  # no row of threads has nothing to do
        if filters >= 2 * group or not full or threads % WARP or threads > _MOST_THREADS:
            continue
        for lanes, vectors, step in itertools.product(_LANES, (1, 2, 4), sorted(depths)):
            tile = MatmulTile(
                filters=filters, vectors=vectors, lanes=lanes, down=down, across=across, depth=step
            )
            if _worth(conv, tile, pixels):
                yield tile
                if depth > step:
                    yield replace(tile, ahead=True)


def _worth(conv: Conv, tile: MatmulTile, pixels: int) -> bool:
    """Whether a tile is mostly in the map, its loads are even, and what is unrolled is not too much."""
    return (
        tile.width < 2 * max(pixels, WARP)
        and tile.depth * tile.filters * tile.vectors * tile.lanes <= _MOST_UNROLLED
        and _loads_evenly(conv, tile)
        and tile.depth * tile.width // tile.threads <= _MOST_LOADS * tile.lanes
    )


def _loads_evenly(conv: Conv, tile: MatmulTile) -> bool:
    """Whether each thread loads as many pixels, in vectors that lie within the map where there are any."""
    vector = tile.lanes if reads_in_vectors(conv, tile) else 1
    whole = math.prod(conv.out_shape[1:]) % tile.lanes == 0 and tile.lanes in _LANES
    return whole and tile.depth * tile.width % (tile.threads * vector) == 0
