"""The space of tiles, the model of their costs and its choice of one."""

import math
from typing import Any

import pytest

from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.conv_template import Conv, Tile, find_conv, rounded_filters, schedule_conv
from cost_models.schedules.tile_model import Cpu, all_tiles, choose_tile, estimate
from cost_models.tvm_import import tvm

from ..some_kernels import convolution, depthwise

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
WIDE = Cpu(lanes=16, registers=32, cores=2)
NARROW = Cpu(lanes=4, registers=16, cores=8)
KERNELS = [
    convolution(8, 24, 8, 32),
    convolution(6, 12, 10, 21, groups=2),
    convolution(3, 16, 16, 32, 3, stride=2),
    depthwise(12, 8, 40, 5),
]


def conv_of(kernel: Kernel) -> Conv:
    return find_conv(kernel_module(kernel, TARGET))


@pytest.mark.parametrize("cpu", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.label)
def test_the_default_tile_is_one_of_many_that_fit_in_registers(kernel: Kernel, cpu: Cpu) -> None:
    conv = conv_of(kernel)
    tiles = [tile for tile, _ in all_tiles(conv, cpu)]
    assert choose_tile(conv, cpu) in tiles
    assert len(tiles) == len(set(tiles)) > 50
    assert max((t.channels + 1) * t.rows * t.vectors for t in tiles) < cpu.registers
    assert {t.lanes for t in tiles} == ({4, 8, 16} if cpu is WIDE else {4})


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.label)
def test_every_tile_can_be_scheduled(kernel: Kernel) -> None:
    conv = conv_of(kernel)
    tiles = [tile for tile, _ in all_tiles(conv, WIDE)]
    for tile in tiles[:: math.ceil(len(tiles) / 40)]:
        schedule_conv(conv, tile)


def test_the_model_knows_padding_caches_halos_cores_and_packing() -> None:
    conv = conv_of(convolution(64, 24, 32, 64))
    tile = Tile(channels=8, rows=1, vectors=2, lanes=16, down=1, across=2)

    def cost(**changes: Any) -> Any:
        return estimate(conv, WIDE, Tile(**{**{n: getattr(tile, n) for n in tile.__slots__}, **changes}))

    assert cost().cycles == 1
    assert cost(channels=1).cycles > 2  # two sums wait for each other
    assert cost(vectors=3, across=2).cycles == 1.5  # 96 columns for 64
    assert cost(lanes=8, across=4).cycles == 2
    assert cost(down=32).over > 0
    assert cost(down=32).idle > cost().idle == 0
    assert cost(direct=True).access > cost().access  # 64 channels are many
    depth = conv_of(depthwise(12, 32, 64))
    flat, tall = (
        estimate(depth, WIDE, Tile(channels=1, rows=1, vectors=1, lanes=16, down=d, across=4)) for d in (1, 8)
    )
    assert flat.fetched > tall.fetched


AVX2 = Cpu(lanes=8, registers=16, cores=2)


@pytest.mark.parametrize("filters", [19, 23, 64, 128, 256, 512])
def test_numbers_of_filters_that_fit_no_register_tile_fill_nearly_all_of_the_last(filters: int) -> None:
    """Powers of two and primes, too, keep enough sums to hide a multiply-add's latency, on whole vectors."""
    conv = conv_of(convolution(64, filters, 32, 64))
    tile = choose_tile(conv, AVX2)
    assert tile.channels * tile.rows * tile.vectors >= 10
    assert not conv.ragged(tile.width)
    assert rounded_filters(conv, tile) < 1.1 * filters
    waste = rounded_filters(conv, tile) / filters
    assert estimate(conv, AVX2, tile).cycles == pytest.approx(waste)


def test_one_filter_after_the_other_writes_several_rows_at_a_time() -> None:
    tile = choose_tile(conv_of(convolution(16, 96, 128, 256)), AVX2)
    assert tile.filters_first
    assert tile.down > 1
    assert tile.width * tile.across == 256
    assert not choose_tile(conv_of(depthwise(96, 128, 256)), AVX2).filters_first


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_short_vectors_stand_in_a_row_and_those_of_a_cache_line_above_each_other(lanes: int) -> None:
    cpu = Cpu(lanes=lanes, registers=32 if lanes == 16 else 16, cores=2)

    def sizes(height: int, window: int) -> tuple[int, int]:
        tile = choose_tile(conv_of(depthwise(12, height, 64, window)), cpu)
        return tile.rows, tile.vectors

    assert sizes(32, 3) == ((4, 1) if lanes == 16 else (1, 4))
    assert sizes(32, 5) == ((4, 1) if lanes == 16 else (2, 4))
    assert sizes(33, 5) == ((3, 1) if lanes == 16 else (1, 4))


def test_only_what_packing_does_not_change_is_read_directly() -> None:
    def direct(kernel: Kernel) -> bool:
        return any(tile.direct for tile, _ in all_tiles(conv_of(kernel), WIDE))

    assert direct(convolution(8, 24, 8, 32))
    assert choose_tile(conv_of(convolution(8, 24, 8, 32)), WIDE).direct
    assert not choose_tile(conv_of(convolution(48, 24, 8, 32)), WIDE).direct
    assert not direct(convolution(8, 24, 8, 31))
    assert not direct(convolution(8, 24, 8, 32, 3))
    assert not direct(convolution(8, 24, 16, 64, stride=2))


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_a_stem_keeps_few_sums_and_packs_whole_rows(lanes: int) -> None:
    cpu = Cpu(lanes=lanes, registers=32 if lanes == 16 else 16, cores=2)
    for height, width in ((256, 512), (512, 1024)):
        tile = choose_tile(conv_of(convolution(3, 16, height, width, 3, stride=2)), cpu)
        assert tile.channels * tile.rows * tile.vectors == 8
        assert tile.width * tile.across == width / 2
    many = choose_tile(conv_of(convolution(48, 16, 64, 512, 3, stride=2)), cpu)
    assert many.channels * many.rows * many.vectors > 8  # long sums wait for each other
