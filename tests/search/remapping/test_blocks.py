"""One block as another: what is exact computes the same."""

import numpy as np
import pytest

from cost_models.ir.weights import random_weights
from search.remapping.blocks import (
    Ends,
    Residual,
    closed,
    fitted,
    mirrored,
    multiplied,
    of_skip,
    parsed,
    passing,
    skip_tensors,
    skip_weight,
)
from search.remapping.moves import Place, fits_exactly, moves
from search.remapping.tensors import Array
from search.spaces.chain import Position
from search.spaces.inverted_residual import InvertedResidual, candidate_graph

from .donors import outputs, picture


def both(
    old: str, new: str, ends: Ends, shape: tuple[int, int], stride: int = 1, *, closing: bool = False
) -> tuple[Array, Array]:
    """Outputs of a block between ``shape`` channels, and of what it became between those of ``ends``."""
    x = picture(shape[0], 16)
    graph = candidate_graph(old, *shape, stride)
    tensors = random_weights(graph)
    before = outputs(graph, tensors, x)
    known = parsed(old)
    block = of_skip(tensors, *_statistics(shape[0])) if known is None else Residual.of(known, tensors)
    target = InvertedResidual.parse(new)
    became = fitted(block, target, ends, np.random.default_rng(0))
    became = closed(became) if closing else became
    after_graph = candidate_graph(new, len(ends.inputs), len(ends.outputs), stride)
    after = outputs(after_graph, became.tensors(target.groups), x[:, list(ends.inputs)])
    return before[:, list(ends.outputs)], after


def _statistics(channels: int) -> tuple[Array, Array]:
    random = np.random.default_rng(9)
    mean, variance = random.normal(size=channels), random.uniform(0.5, 2, channels)
    return mean.astype(np.float32), variance.astype(np.float32)


def same(*channels: int) -> Ends:
    inputs, outputs = (tuple(range(count)) for count in channels)
    return Ends(inputs, outputs)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("k3e1", "k3e1"),
        ("k3e1", "k5e1"),
        ("k3e3d2", "k5e3"),
        ("k3e1", "k3e3"),
        ("k3e3", "k5e6"),
        ("k3e1g2", "k3e1"),
        ("k3e1g2", "k5e6"),
        ("k3e1g2d2", "k3e1g2d2"),
        ("k3e1g2d2", "k3e6d2"),
        ("k3e1g2", "k3e3g2"),
    ],
)
@pytest.mark.parametrize(("channels", "stride"), [((8, 8), 1), ((8, 12), 2)])
def test_larger_blocks_compute_the_same(old: str, new: str, channels: tuple[int, int], stride: int) -> None:
    before, after = both(old, new, same(*channels), channels, stride)
    np.testing.assert_allclose(after, before, atol=1e-5)
    position = Position(*channels, stride, ())
    assert fits_exactly(Place(position, parsed(old)), Place(position, parsed(new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [("k5e1", "k3e1"), ("k3e6", "k3e3"), ("k3e1", "k3e1g2"), ("k3e1", "k3e1d2"), ("k3e3d2", "k3e3")],
)
def test_smaller_blocks_do_not(old: str, new: str) -> None:
    before, after = both(old, new, same(8, 8), (8, 8))
    assert np.isfinite(after).all()
    assert not np.allclose(after, before, atol=1e-3)
    position = Position(8, 8, 1, ())
    assert not fits_exactly(Place(position, parsed(old)), Place(position, parsed(new)))


@pytest.mark.parametrize("block", ["k3e3", "k3e1g2"])
def test_more_channels_compute_the_same(block: str) -> None:
    wide = Ends((0, 0, 1, 2, 3, 4, 5, 5, 6, 7), (0, 1, 1, 2, 3, 4, 5, 6, 7, 7))
    before, after = both(block, block, wide, (8, 8), 2)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_hidden_channels_that_matter_least_are_left_out() -> None:
    graph = candidate_graph("k3e3", 4, 4, 1)
    tensors = random_weights(graph)
    idle = [1, 2, 3, 5, 6, 8, 10, 11]
    tensors["project.conv.weight"][:, idle] *= 1e-7
    block = fitted(
        Residual.of(InvertedResidual.parse("k3e3"), tensors),
        InvertedResidual.parse("k3e1"),
        same(4, 4),
        np.random.default_rng(0),
    )
    x = picture(4, 16)
    narrow = outputs(candidate_graph("k3e1", 4, 4, 1), block.tensors(1), x)
    np.testing.assert_allclose(narrow, outputs(graph, tensors, x), atol=1e-4)


def test_of_a_dense_block_each_group_gets_what_it_uses_most() -> None:
    """A dense one that is grouped in truth, its hidden channels in another order."""
    graph = candidate_graph("k3e1g2", 8, 8, 1)
    tensors = random_weights(graph)
    block = Residual.of(InvertedResidual.parse("k3e1g2"), tensors)
    order = [4, 0, 5, 1, 6, 2, 7, 3]
    shuffled = Residual(
        block.expand[order],
        block.expand_norm.of(order),
        block.kernel[order],
        1,
        block.depthwise_norm.of(order),
        block.project[:, order],
        block.project_norm,
    )
    ends = same(8, 8)
    became = fitted(shuffled, InvertedResidual.parse("k3e1g2"), ends, np.random.default_rng(0))
    x = picture(8, 16)
    np.testing.assert_allclose(outputs(graph, became.tensors(2), x), outputs(graph, tensors, x), atol=1e-5)


def test_a_closed_block_adds_nothing_and_learns() -> None:
    ends = same(8, 8)
    _, after = both("k3e3", "k5e6", ends, (8, 8), closing=True)
    np.testing.assert_array_equal(after, picture(8, 16))


@pytest.mark.parametrize(("channels", "stride"), [((8, 12), 1), ((8, 12), 2), ((8, 8), 2)])
@pytest.mark.parametrize("side", ["k3e3", "k5e6"])
def test_the_skip_that_projects_is_computed_by_a_block(
    channels: tuple[int, int], stride: int, side: str
) -> None:
    before, after = both("skip", side, same(*channels), channels, stride)
    np.testing.assert_allclose(after, before, atol=1e-4)
    position = Position(*channels, stride, ())
    assert fits_exactly(Place(position, None), Place(position, parsed(side)))


def test_half_of_a_strided_skip_in_a_block_that_is_too_narrow_for_it() -> None:
    position = Position(8, 12, 2, ())
    said = moves(Place(position, None), Place(position, parsed("k3e1")))
    assert [move.words for move in said] == ["skip as a block", "hidden 16→8"]
    before, after = both("skip", "k3e1", same(8, 12), (8, 12), 2)
    assert np.isfinite(after).all()
    assert not np.allclose(after, before, atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
def test_skips_go_into_skips_between_other_channels(stride: int) -> None:
    ends = Ends((0, 0, 1, 2, 3, 3), (0, 1, 2, 2, 3, 4, 5, 5))  # halves stay halves
    graph = candidate_graph("skip", 4, 6, stride)
    tensors, x = random_weights(graph), picture(4, 16)
    became = skip_tensors(*skip_weight(tensors), ends, stride, np.random.default_rng(0))
    before = outputs(graph, tensors, x)[:, list(ends.outputs)]
    after = outputs(candidate_graph("skip", 6, 8, stride), became, x[:, list(ends.inputs)])
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_block_is_multiplied_out_into_a_skip() -> None:
    """Exact where maps are even and nothing is below zero."""
    graph = candidate_graph("k3e1", 4, 6, 1)
    tensors = {name: np.abs(values) for name, values in random_weights(graph).items()}
    for name in tensors:
        if name.endswith("running_mean"):
            tensors[name] = np.zeros_like(tensors[name])
        if name.endswith("bn.bias") and not name.startswith("project"):
            tensors[name] = np.zeros_like(tensors[name])
    weight, norm = multiplied(Residual.of(InvertedResidual.parse("k3e1"), tensors))
    found = skip_tensors(weight, norm, same(4, 6), 1, np.random.default_rng(0))
    x = np.ones((1, 4, 9, 9), np.float32) * np.arange(1, 5, dtype=np.float32)[None, :, None, None]
    middle = (slice(None), slice(None), 4, 4)
    after = outputs(candidate_graph("skip", 4, 6, 1), found, x)[middle]
    np.testing.assert_allclose(after, outputs(graph, tensors, x)[middle], rtol=1e-4)


def test_what_is_passed_on_stays() -> None:
    mean, variance = _statistics(6)
    x = picture(6, 16)
    tensors = passing(mean, variance)
    became = fitted(
        tensors, InvertedResidual.parse("k5e3"), Ends((0, 1, 2, 3, 4, 5), tuple(range(5))), RANDOM
    )
    after = outputs(candidate_graph("k5e3", 6, 5, 1), became.tensors(1), x)
    np.testing.assert_allclose(after, x[:, :5], atol=1e-5)


RANDOM = np.random.default_rng(0)


def test_mirrored_channels_come_back_behind_a_relu() -> None:
    weight, norm = mirrored(*_statistics(3))
    x = picture(3, 8)[0].reshape(3, -1)
    seen = np.maximum((weight @ x) * norm.scale[:, None] + norm.shift[:, None], 0)
    np.testing.assert_allclose(seen[:3] - seen[3:], x, atol=1e-5)
