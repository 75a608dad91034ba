"""Tiles for GPUs: which there are, what the model knows of them, and which it chooses."""

from dataclasses import replace
from typing import Any

import pytest

from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.conv_template import Conv
from cost_models.schedules.gpu import WARP, Gpu
from cost_models.schedules.gpu_depthwise import DepthwiseTile
from cost_models.schedules.gpu_matmul import MatmulTile
from cost_models.schedules.gpu_model import TileCost, all_tiles, check_tile, choose_tile, cost_of
from cost_models.schedules.gpu_rules import find_gpu_conv, schedule_tile
from cost_models.tvm_import import tvm, tvm_ffi
from targets import load_target

from ..some_kernels import argmax, convolution, depthwise

XAVIER = load_target("jetson-xavier").tvm_target()
GPUS = {
    "sm_72": Gpu.of(XAVIER),
    "sm_90": Gpu.of(tvm.target.Target({"kind": "cuda", "arch": "sm_90"})),
    "little": Gpu.of(
        tvm.target.Target(
            {
                "kind": "cuda",
                "arch": "sm_53",
                "max_threads_per_block": 64,
                "max_shared_memory_per_block": 4096,
            }
        )
    ),
}
KERNELS = [
    convolution(48, 96, 32, 64),
    convolution(40, 40, 9, 13, groups=2),
    convolution(3, 16, 33, 64, 3, stride=2),
    depthwise(12, 17, 40, 5),
    depthwise(96, 32, 64, 3, stride=2),
]
TILE = MatmulTile(filters=8, vectors=1, lanes=4, down=4, across=32, depth=8)


def conv_of(kernel: Kernel, dtype: str = "float32") -> Conv:
    return find_gpu_conv(kernel_module(kernel, XAVIER, dtype))


def test_gpus_are_known_by_their_architecture() -> None:
    assert (GPUS["sm_72"].multiprocessors, GPUS["sm_72"].lanes, GPUS["sm_72"].threads) == (8, 64, 16384)
    assert (GPUS["sm_90"].multiprocessors, GPUS["sm_90"].lanes) == (132, 128)
    assert (GPUS["little"].block_threads, GPUS["little"].block_shared_bytes) == (64, 4096)
    unknown = Gpu.of(tvm.target.Target({"kind": "cuda", "arch": "sm_99"}))
    assert unknown.multiprocessors == 64
    assert unknown.multiprocessor.warps == 32


def test_blocks_share_a_multiprocessor_by_what_is_scarcest() -> None:
    xavier = GPUS["sm_72"]
    assert xavier.resident_blocks(256, 32, 0) == 8
    assert xavier.resident_blocks(256, 64, 0) == 4
    assert xavier.resident_blocks(256, 32, 40_000) == 2
    assert xavier.resident_blocks(256, 32, 49_153) == xavier.resident_blocks(1025, 32, 0) == 0


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.label)
def test_the_default_tile_is_one_of_many_within_the_limits(kernel: Kernel, gpu: Gpu) -> None:
    conv = conv_of(kernel)
    tiles = dict(all_tiles(conv, gpu))
    chosen = choose_tile(conv, gpu)
    assert tiles[chosen] == min(tiles.values())
    assert len(tiles) >= (10 if conv.depthwise else 100)
    for tile in tiles:
        check_tile(conv, gpu, tile)
        assert tile.threads <= gpu.block_threads
        assert tile.threads % WARP == 0
        cost = cost_of(conv, gpu, tile)
        assert cost.shared_bytes <= gpu.block_shared_bytes
        assert cost.registers <= 255


def test_vectors_are_those_of_maps_that_they_divide() -> None:
    def lanes(kernel: Kernel) -> set[int]:
        return {tile.lanes for tile, _ in all_tiles(conv_of(kernel), GPUS["sm_72"])}  # type: ignore[union-attr]

    assert lanes(KERNELS[0]) == {1, 4}
    assert lanes(KERNELS[1]) == {1}


def shared_bytes(conv: Conv, tile: MatmulTile) -> int:
    """Of a block, after buffers are cut to what it needs."""
    transform = tvm.s_tir.transform
    passes = [
        transform.LowerInitBlock(),
        transform.PlanAndUpdateBufferAllocationLocation(),
        transform.ConvertBlocksToOpaque(),
        transform.LiftThreadBinding(),
        transform.CompactBufferAllocation(),
    ]
    sizes = []

    def add(block: Any) -> None:
        sizes.extend([list(map(int, b.shape)) for b in block.alloc_buffers if str(b.scope()) == "shared"])

    mod = tvm.IRModule({"main": schedule_tile(conv, tile)})
    tvm_ffi.structural_walk(tvm.transform.Sequential(passes)(mod)["main"].body, (tvm.s_tir.SBlock, add))
    (pixels,), (weights,) = ([s for s in sizes if len(s) == axes] for axes in (4, 3))
    return 4 * (pixels[-2] * pixels[-1] + weights[-2] * tile.padded_height)


def test_the_model_knows_the_shared_memory_of_a_tile() -> None:
    conv = conv_of(KERNELS[0])
    for tile in (TILE, replace(TILE, depth=16, ahead=True), replace(TILE, vectors=2, down=2, filters=12)):
        assert cost_of(conv, GPUS["sm_72"], tile).shared_bytes == shared_bytes(conv, tile)


def test_the_model_knows_loads_registers_blocks_and_waiting() -> None:
    conv = conv_of(convolution(48, 96, 64, 128))

    def cost(**changes: Any) -> TileCost:
        return cost_of(conv, GPUS["sm_72"], replace(TILE, **changes))

    assert cost().blocks == 3 * 64
    assert cost(filters=12).blocks == 2 * 64
    assert cost(filters=12).loaded_bytes < cost().loaded_bytes
    assert cost(filters=12).registers > cost().registers
    assert cost(filters=12).resident < cost().resident
    assert cost(filters=1, down=1).cycles > 3 * cost().cycles  # loads, for which nothing is computed
    few = conv_of(convolution(480, 16, 8, 8))
    slow, fast = (
        cost_of(few, GPUS["sm_72"], replace(TILE, filters=2, across=8, lanes=1, ahead=a))
        for a in (False, True)
    )
    assert fast.cycles < slow.cycles


def test_half_the_bytes_take_half_the_memory() -> None:
    single, half = conv_of(KERNELS[0]), conv_of(KERNELS[0], "float16")
    assert half.memory_bytes * 2 == single.memory_bytes
    assert (
        cost_of(half, GPUS["sm_72"], TILE).loaded_bytes * 2
        == cost_of(single, GPUS["sm_72"], TILE).loaded_bytes
    )


def test_rows_of_a_depthwise_tile_share_their_inputs() -> None:
    conv = conv_of(depthwise(96, 64, 128, 5))
    tiles = [DepthwiseTile(rows=rows, columns=1, threads=128) for rows in (1, 4)]
    flat, tall = (cost_of(conv, GPUS["sm_72"], tile) for tile in tiles)
    assert tall.loaded_bytes < flat.loaded_bytes / 2
    assert tall.cycles < flat.cycles
    assert tall.registers > flat.registers


@pytest.mark.parametrize(
    ("kernel", "tile", "reason"),
    [
        (KERNELS[0], replace(TILE, filters=0), "a size that is not 1 to 4096"),
        (KERNELS[0], replace(TILE, across=512), "blocks of 2048 threads.*allowed are 1024 threads"),
        (KERNELS[0], replace(TILE, depth=512), "and 335872 bytes; allowed.*49152 bytes"),
        (KERNELS[3], DepthwiseTile(rows=1 << 40, columns=1, threads=64), "not 1 to 4096"),
        (KERNELS[0], replace(TILE, filters=64), "with .* registers.*255 registers"),
        (KERNELS[0], replace(TILE, lanes=3), "no whole vectors of the map"),
        (KERNELS[1], TILE, "no whole vectors of the map"),
        (KERNELS[0], replace(TILE, depth=3), "threads load parts of different size"),
        (KERNELS[3], TILE, "a tile for dense convolutions"),
        (KERNELS[0], DepthwiseTile(rows=1, columns=1, threads=64), "a tile for depthwise convolutions"),
    ],
    ids=lambda value: value.label if isinstance(value, Kernel) else "",
)
def test_tiles_that_do_not_fit_are_refused(kernel: Kernel, tile: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_tile(conv_of(kernel), GPUS["sm_72"], tile)


def test_other_kernels_have_no_tiles() -> None:
    with pytest.raises(ValueError, match="not a fused NCHW convolution"):
        conv_of(argmax(8, 8))
