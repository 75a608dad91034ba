"""The search among tiles that learns from trials."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from cost_models.database.records import Trial
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.schedules.conv_template import Conv, Tile, find_conv
from cost_models.schedules.gpu_depthwise import DepthwiseTile
from cost_models.schedules.gpu_matmul import MatmulTile
from cost_models.schedules.serialization import apply_schedule, tile_of
from cost_models.schedules.tile_model import Cpu, all_tiles
from cost_models.tuning.tiles import Belief, Tiles
from cost_models.tvm_import import tvm

from ..some_kernels import argmax, convolution, depthwise

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
CUDA = tvm.target.Target({"kind": "cuda", "arch": "sm_90"})
KERNELS = [
    convolution(8, 24, 8, 32),
    convolution(6, 12, 10, 21, groups=2),
    convolution(3, 16, 16, 32, 3, stride=2),
    depthwise(12, 8, 40, 5),
]


def conv_of(kernel: Kernel) -> Conv:
    return find_conv(kernel_module(kernel, TARGET))


def search(kernel: Kernel, seed: int = 0) -> Tiles:
    found = Tiles.of(kernel_module(kernel, TARGET), TARGET, seed)
    assert found is not None
    return found


def proposed(tiles: Tiles, at_most: int) -> list[Tile]:
    found = [tile_of(proposal.schedule) for proposal in tiles.propose(at_most)]
    assert None not in found
    return [tile for tile in found if tile is not None]


def trial(schedule: str, seconds: float) -> Trial:
    return Trial(schedule=schedule, samples_s=(seconds,), origin="tiles")


def test_the_first_proposals_are_good_and_far_apart() -> None:
    kernel = convolution(8, 24, 8, 32)
    costs = dict(all_tiles(conv_of(kernel), Cpu.of(TARGET)))
    first = proposed(search(kernel), 8)
    assert np.median([costs[tile] for tile in first]) < np.quantile(list(costs.values()), 0.1)
    assert len({(tile.channels, tile.rows, tile.vectors) for tile in first}) > 1
    assert {tile.direct for tile in first} == {True, False} == {tile.filters_first for tile in first}


def test_same_seed_same_proposals_and_another_seed_others() -> None:
    one, same, other = (proposed(search(KERNELS[0], seed), 6) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    "fast",
    [
        lambda tile: not tile.direct,
        lambda tile: tile.filters_first,
        lambda tile: tile.rows > 1,
        lambda tile: tile.channels <= 3,
    ],
    ids=["packed", "filters first", "rows", "channels"],
)
def test_it_learns_what_the_model_does_not_know(fast: Callable[[Tile], bool]) -> None:
    tiles = search(convolution(8, 24, 8, 32))
    shares = []
    for _ in range(4):
        proposals = tiles.propose(8)
        good = [fast(tile_of(p.schedule)) for p in proposals]  # type: ignore[arg-type]
        tiles.learn([trial(p.schedule, 1e-3 if g else 2e-3) for p, g in zip(proposals, good, strict=True)])
        shares.append(sum(good))
    assert shares[-1] >= 7 > shares[0], shares


def test_tiles_that_fail_are_left_alone_and_so_are_their_neighbours() -> None:
    tiles = search(convolution(8, 24, 8, 32))
    first = tiles.propose(8)
    tiles.learn([Trial(schedule=p.schedule, error="no", origin="tiles") for p in first])
    second = tiles.propose(8)
    assert not {p.schedule for p in first} & {p.schedule for p in second}
    steered, blind = search(KERNELS[0]), search(KERNELS[0])
    failing = [p.schedule for p in steered.propose(16) if tile_of(p.schedule).direct]  # type: ignore[union-attr]
    blind.propose(16)
    steered.learn([Trial(schedule=text, error="no", origin="tiles") for text in failing])
    assert sum(t.direct for t in proposed(steered, 8)) < sum(t.direct for t in proposed(blind, 8))


def test_what_was_tried_before_is_not_proposed_again_and_counts() -> None:
    earlier = search(KERNELS[0]).propose(10)
    tiles = search(KERNELS[0])
    tiles.learn([trial(p.schedule, 1e-3) for p in earlier])
    assert not {p.schedule for p in earlier} & {p.schedule for p in tiles.propose(30)}


def test_tiles_of_other_kernels_teach_nothing() -> None:
    taught, untaught = search(KERNELS[0]), search(KERNELS[0])
    foreign = search(convolution(7, 35, 11, 13)).propose(4)
    taught.learn([trial(p.schedule, 1e-9) for p in foreign])
    assert proposed(taught, 4) == proposed(untaught, 4)


def test_it_ends_when_all_tiles_were_proposed() -> None:
    tiles = search(convolution(3, 5, 1, 7))
    rounds = list(itertools.takewhile(bool, (tiles.propose(7) for _ in range(1000))))
    texts = [p.schedule for proposals in rounds for p in proposals]
    assert 1 < len(texts) == len(set(texts)) < 200
    assert tiles.propose(7) == []
    assert tiles.sampling_s > 0 == tiles.evolution_s


def test_there_are_none_for_other_targets_and_other_kernels() -> None:
    mod = kernel_module(KERNELS[0], TARGET)
    assert Tiles.of(mod, tvm.target.Target("opencl"), 0) is None
    assert Tiles.of(kernel_module(argmax(8, 8), TARGET), TARGET, 0) is None
    assert Tiles.of(kernel_module(argmax(8, 8), CUDA), CUDA, 0) is None


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.label)
def test_tiles_of_gpus_are_searched_likewise(kernel: Kernel) -> None:
    mod = kernel_module(kernel, CUDA)
    tiles = Tiles.of(mod, CUDA, 0)
    assert tiles is not None
    first = tiles.propose(6)
    found = [tile_of(proposal.schedule) for proposal in first]
    assert {type(tile) for tile in found} == {DepthwiseTile if "dw" in kernel.label else MatmulTile}
    assert len(set(found)) == 6
    for proposal in first:
        tvm.ir.assert_structural_equal(proposal.mod, apply_schedule(mod, CUDA, proposal.schedule))
    few = [p for p in first if tile_of(p.schedule).threads <= 64]  # type: ignore[union-attr]
    tiles.learn([trial(p.schedule, 1e-3 if p in few else 2e-3) for p in first])
    assert not {p.schedule for p in first} & {p.schedule for p in tiles.propose(6)}


def test_a_belief_is_a_gaussian_process() -> None:
    """Against the closed form: mean and deviation after three noisy observations and one to come."""
    random = np.random.default_rng(0)
    features, prior = random.normal(size=(20, 3)), random.normal(size=20)
    known, values = [3, 8, 15, 8], [0.5, -0.2, 0.1, -0.3]
    belief = Belief(prior, features)
    for index, value in zip(known, values, strict=True):
        belief.learn(index, value)
    distances = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    shared = 0.3**2 * np.exp(-distances / 2)
    inverse = np.linalg.inv(shared[np.ix_(known, known)] + 0.05**2 * np.eye(len(known)))
    mean = prior + shared[:, known] @ inverse @ (np.array(values) - prior[known])
    deviation = np.sqrt(0.3**2 - np.einsum("ij,jk,ik->i", shared[:, known], inverse, shared[:, known]))
    np.testing.assert_allclose(belief.mean, mean, atol=1e-9)
    np.testing.assert_allclose(belief.optimistic(), mean - 0.5 * deviation, atol=1e-9)
    before = belief.mean.copy()
    belief.learn(0)
    np.testing.assert_array_equal(belief.mean, before)
    assert belief.optimistic()[0] > (mean - 0.5 * deviation)[0]
