"""Tiles of the convolution template on llvm CPUs: all that fit, a model of their costs, the default one."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from cost_models.schedules.conv_template import Conv, Tile, rounded_filters
from cost_models.tvm_import import tvm

_CACHE_BYTES = 128 * 1024  # wanted size of a packed tile: a part of any L2 cache
_SORTED_BYTES = 20 * 1024  # the same where sorting takes as long as multiplying: a part of any L1 cache
_LINE_BYTES = 64
_LATENCY = 10  # multiply-adds in flight that keep two vector units busy
_SHORT, _SHORT_LATENCY = 64, 8  # sums of so few products overlap with those of the next tile


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """What tile sizes depend on: ``lanes`` (float32) of a vector register, how many of them, and cores."""

    lanes: int
    registers: int
    cores: int

    @staticmethod
    def of(target: Any) -> "Cpu":
        """From a tvm Target of kind llvm; four cores where it does not say."""
        # llvm_get_vector_width says 512 bits for every x86 processor
        features = set(map(str, tvm.target.codegen.llvm_get_cpu_features(target)))
        lanes = 16 if "avx512f" in features else 8 if "avx" in features else 4
        many = lanes == 16 or "neon" in features
        cores = int(target.attrs.get("num-cores", 4))
        return Cpu(lanes=lanes, registers=32 if many else 16, cores=cores)

    def lanes_for(self, width: int) -> int:
        """The widest vectors of which a row of ``width`` fills more than half of one."""
        return min(self.lanes, 1 << (width - 1).bit_length())


def _divisors(n: int, limit: int) -> list[int]:
    return [d for d in range(1, min(n, limit) + 1) if n % d == 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class TileEstimate:
    """What the model says of a tile, all of it relative to perfect use of the machine.

    Attributes:
        cycles: time of the multiply-adds, 1 at best: waiting for loads and sums, padding, narrow vectors.
        over: how far the packed tile exceeds its share of the cache, in shares.
        idle: tasks that lack for an even load of all cores, as a share of the tasks there are.
        fetched: elements of the input read for one that is used: halo, and ends of cache lines.
        access: what packing costs beside the multiply-adds, or else reading channels that lie far apart.
    """

    cycles: float
    over: float
    idle: float
    fetched: float
    access: float

    @property
    def cost(self) -> float:
        """Lower is faster; the weights were fitted to tiles of SqueezeNAS-Small's kernels."""
        return self.cycles + 0.2 * min(self.over, 8.0) + 0.5 * self.idle + self.fetched + self.access


def estimate(conv: Conv, cpu: Cpu, tile: Tile) -> TileEstimate:
    """A small model of registers and caches."""
    filters, height, width = conv.out_shape
    taps_y, taps_x = conv.taps
    (stride_y, stride_x), (window_y, window_x) = conv.stride, conv.window
    depth = 1 if conv.depthwise else conv.channels
    sums, taps = tile.channels * tile.rows * tile.vectors, taps_y * taps_x
    # rows of a register tile share loads of the input where their windows overlap
    rows = len({y * stride_y + tap * conv.dilation[0] for y in range(tile.rows) for tap in range(taps_y)})
    loads = rows * taps_x * tile.vectors + tile.channels * taps
    tiles_x = math.ceil(width / tile.width)
    # two multiply-adds and two loads a cycle; sums wait for each other where they are few and long
    waiting = 0 if conv.depthwise else (_SHORT_LATENCY if _short(conv) else _LATENCY) * taps
    cycles = max(sums * taps, loads, waiting) / (sums * taps) * tiles_x * tile.width / width
    cycles *= rounded_filters(conv, tile) / filters
    used_y, used_x = tile.down * tile.rows * stride_y, tile.across * tile.width * stride_x
    packed_y, packed_x = used_y + window_y - stride_y, used_x + window_x - stride_x
    tasks = height // (tile.down * tile.rows) * (tiles_x // tile.across) * (conv.channels // depth)
    wanted = _SORTED_BYTES if conv.depthwise and stride_x > 1 else _CACHE_BYTES
    return TileEstimate(
        cycles=cycles * cpu.lanes_for(width) / tile.lanes,
        over=max(0.0, packed_y * packed_x * depth * 4 / wanted - 1),
        idle=max(0.0, 4 * cpu.cores / tasks - 1),
        # a piece of a row also brings in the cache line that it ends in
        fetched=packed_y / used_y * (packed_x + 16) / used_x,
        # a packed value is used once a filter; caches keep few lines whose addresses differ by whole planes
        access=conv.channels / conv.groups / 192
        if tile.direct
        else 0.125 + 3 / (filters // conv.groups * taps),
    )


def choose_tile(conv: Conv, cpu: Cpu) -> Tile:
    """The tile of the default schedule: the model's best register tile, and its best packed tile.

    Deterministic. The input is read directly where it has few channels (``estimate``, ``access``).
    """
    _, height, width = conv.out_shape
    lanes = cpu.lanes_for(width)
    needed = math.ceil(width / lanes)
    filters_first = not conv.depthwise

    def tile(channels: int, rows: int, vectors: int, down: int = 1, across: int = 1) -> Tile:
        return Tile(
            channels=channels,
            rows=rows,
            vectors=vectors,
            lanes=lanes,
            down=down,
            across=across,
            filters_first=filters_first,
        )

    def rank(sizes: tuple[int, int, int]) -> tuple[float, ...]:
        sums = math.prod(sizes)
        cycles = round(estimate(conv, cpu, tile(*sizes)).cycles, 3)
        if _short(conv):  # fewer are sooner out of the way; ragged rows are kept until they are whole
            return cycles + 0.05 * conv.ragged(sizes[2] * lanes), sums // sizes[0], sums
        # ragged rows are packed value by value, and kept until they are whole
        return cycles + 0.15 * conv.ragged(sizes[2] * lanes), sums // sizes[0], abs(sums - cpu.registers / 2)

    if conv.depthwise:
        best = _depthwise_sizes(conv, lanes)
    else:
        rows_of = _divisors(height, 4) if needed == 1 else [1]
        best = min((s for s in _register_tiles(conv, cpu, needed) if s[1] in rows_of), key=rank)

    def packed_rank(packed: tuple[int, int]) -> tuple[float, ...]:
        found = estimate(conv, cpu, tile(*best, *packed))
        pieces = 0.1 * (conv.stride[1] > 1 and packed[1] * best[2] < needed)  # of rows, which end prefetching
        # one filter after the other writes few rows at a time: the longer, the better they are fetched ahead
        more = -packed[0] if filters_first else packed[0]
        return round(found.over + found.idle + found.fetched + pieces, 3), more

    chosen = tile(*best, *min(_packed_tiles(conv, tile(*best)), key=packed_rank))
    return min(_ways(conv, chosen), key=lambda way: estimate(conv, cpu, way).access)


def _depthwise_sizes(conv: Conv, lanes: int) -> tuple[int, int, int]:
    """(channels, rows, vectors): every input is used window times, from the first-level cache.

    Vectors that fill a cache line reach into the next one at nearly every column of the window: loads are
    what counts, and rows share them; not under a stride with large windows, where they share few, and what is
    kept for the next row fills registers. Of shorter vectors four in a row are best, and two rows where sums
    are long: more of them keep the multipliers busy.
    """
    _, height, width = conv.out_shape
    large, needed = math.prod(conv.taps) > 9, math.ceil(width / lanes)
    if lanes * 4 < _LINE_BYTES:
        return 1, max(_divisors(height, 2)) if large else 1, max(_divisors(needed, 4))
    rows = max(_divisors(height, 2 if large and conv.stride[0] > 1 else 4))
    return 1, rows, max(_divisors(needed, 4 // rows))


def _short(conv: Conv) -> bool:
    """Whether it is a network's stem, or alike: strided, with few products a sum."""
    taps = math.prod(conv.taps)
    products = conv.channels // conv.groups * taps
    return conv.stride[1] > 1 and taps > 1 and products <= _SHORT and not conv.depthwise


def _register_tiles(conv: Conv, cpu: Cpu, needed: int) -> Iterator[tuple[int, int, int]]:
    """(channels, rows, vectors) that fit in registers, of ``needed`` vectors in a row."""
    filters = conv.out_shape[0] // conv.groups
    for rows, vectors in itertools.product(_divisors(conv.out_shape[1], 8), range(1, min(needed, 8) + 1)):
        limit = (cpu.registers - 1) // (rows * vectors) - 1  # sums, inputs and a weight
        if limit < 1:
            continue
        channels = set(_divisors(filters, limit))
        if conv.groups == 1:  # the last register tile need not be full
            channels.add(math.ceil(filters / math.ceil(filters / limit)))
        for own in sorted(channels):
            yield own, rows, vectors


def _packed_tiles(conv: Conv, tile: Tile) -> Iterator[tuple[int, int]]:
    """(down, across) that divide the rows and the tiles in a row; a ragged row is not divided."""
    _, height, width = conv.out_shape
    tiles_x = math.ceil(width / tile.width)
    across_of = [tiles_x] if conv.ragged(tile.width) else _divisors(tiles_x, tiles_x)
    return itertools.product(_divisors(height // tile.rows, 64), across_of)


def _ways(conv: Conv, tile: Tile) -> list[Tile]:
    """The tile with the input packed and, where that is possible, read directly."""
    return [tile, replace(tile, direct=True)] if conv.readable_directly(tile.width) else [tile]


def all_tiles(conv: Conv, cpu: Cpu) -> Iterator[tuple[Tile, float]]:
    """Every tile that may be worth a trial, with its cost by the model."""
    width = conv.out_shape[2]
    widest = cpu.lanes_for(width)
    for lanes in (lanes for lanes in (widest, widest // 2, widest // 4) if lanes >= min(widest, 4)):
        for channels, rows, vectors in _register_tiles(conv, cpu, math.ceil(width / lanes)):
            first = Tile(channels=channels, rows=rows, vectors=vectors, lanes=lanes, down=1, across=1)
            orders = (False,) if conv.depthwise else (False, True)
            for (down, across), way in itertools.product(_packed_tiles(conv, first), _ways(conv, first)):
                tile = replace(way, down=down, across=across)
                cost = estimate(conv, cpu, tile).cost
                for filters_first in orders:
                    yield replace(tile, filters_first=filters_first), cost
