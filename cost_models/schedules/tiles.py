"""Tiles of our templates, whichever the target's kind takes: what stores and searches know of them."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from cost_models.schedules import gpu_model, tile_model
from cost_models.schedules.conv_template import Conv, Tile, find_conv, schedule_conv
from cost_models.schedules.gpu import Gpu
from cost_models.schedules.gpu_depthwise import DepthwiseTile
from cost_models.schedules.gpu_matmul import MatmulTile
from cost_models.schedules.gpu_rules import find_gpu_conv, schedule_tile
from cost_models.schedules.tile_model import Cpu

AnyTile = Tile | MatmulTile | DepthwiseTile

FORMS: dict[str, type[AnyTile]] = {
    "conv": Tile,
    "gpu_matmul": MatmulTile,
    "gpu_depthwise": DepthwiseTile,
}
"""The name by which a tile is stored -> what it is; never renamed."""


def target_kind(tile: AnyTile) -> str:
    """The kind of TVM target that a tile is for."""
    return "llvm" if isinstance(tile, Tile) else "cuda"


def tiled_conv(mod: Any, target: Any) -> Conv:
    """The convolution of an unscheduled kernel, where this target has tiles for it.

    Raises:
        ValueError: it has none.
    """
    if target.kind.name == "llvm":
        return find_conv(mod)
    if target.kind.name != "cuda":
        raise ValueError(f"no tiles for targets of kind {target.kind.name}")
    return find_gpu_conv(mod)


def all_tiles(conv: Conv, target: Any) -> Iterator[tuple[AnyTile, float]]:
    """Every tile that may be worth a trial, with its cost by the model of the target's kind."""
    if target.kind.name == "llvm":
        yield from tile_model.all_tiles(conv, Cpu.of(target))
    else:
        yield from gpu_model.all_tiles(conv, Gpu.of(target))


def schedule(conv: Conv, target: Any, tile: AnyTile) -> Any:
    """The kernel as a PrimFunc, scheduled by the tile's template.

    Raises:
        ValueError: the tile does not fit the convolution, or exceeds the target's limits.
    """
    if isinstance(tile, Tile):
        return schedule_conv(conv, tile)
    gpu_model.check_tile(conv, Gpu.of(target), tile)
    return schedule_tile(conv, tile)


def features(tile: AnyTile) -> list[float]:
    """Where a tile lies among others of its form, in octaves."""
    if isinstance(tile, Tile):
        sizes = (tile.channels, tile.rows, tile.vectors, tile.lanes)
        packed = (math.log2(tile.down) / 2, math.log2(tile.across) / 2)
        return [*map(math.log2, sizes), *packed, 2.0 * tile.filters_first, 2.0 * tile.direct]
    values = dataclasses.astuple(tile)
    return [2.0 * value if isinstance(value, bool) else math.log2(value) for value in values]
