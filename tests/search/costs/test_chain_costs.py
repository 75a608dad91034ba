"""Costs of chains as tables: equal to what every single network is asked for alone, for many at once."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cost_models.cost_model import CostModel
from cost_models.database.table import LatencyTable, Row
from cost_models.device_models.prior import Prior
from cost_models.errors import MissingEntry
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import Graph
from cost_models.ir.memory import peak_bytes
from cost_models.network_models.network_model import NetworkModel
from search.architecture import Architecture
from search.costs.chain_costs import ChainCosts
from search.costs.kernel_table import network_kernels, space_kernels
from search.costs.objectives import OBJECTIVES, count
from search.errors import InvalidArchitecture, UnknownCandidate
from search.resolution import Resolution
from search.spaces.camera import camera_network, segmentation_head
from search.spaces.chain import ChainSpace, Position
from search.spaces.registry import get_space
from targets import load_target

from ..spaces.chains import CHAINS

SIZE = Resolution(64, 128)
SMALL = get_space("small")
POWER_W = 12.5
HEAD = segmentation_head(19)
# Positions with different choices, projecting skips among them, and one choice alone; maps large enough that
# the first and the third decide on the peak of memory.
UNEVEN = ChainSpace(
    name="uneven",
    summary="for tests",
    stem=32,
    positions=(
        Position(32, 24, 1, ("k3e1", "k3e3", "k5e6", "skip")),
        Position(24, 24, 1, ("k3e1",)),
        Position(24, 12, 2, ("skip", "k3e6")),
        Position(12, 12, 1, ("skip", "k3e3", "k3e6")),
    ),
    tap=1,
    decoder="lraspp",
    mid_channels=8,
)


def seconds(kernel: Kernel) -> float:
    """Made up, and different for kernels of different work."""
    return 1e-6 + kernel.macs * 1e-10 + kernel.bytes_moved * 1e-9


def model_of(space: ChainSpace, without: str = "nothing", classes: int = 19) -> CostModel:
    """A table of all kernels but those whose label holds ``without``."""
    rows = {
        kernel.key: Row("default", 4, (0.9 * s, s, 1.2 * s))
        for kernel in space_kernels(space, SIZE, segmentation_head(classes))
        if without not in kernel.label
        for s in (seconds(kernel),)
    }
    return CostModel("board", LatencyTable("board", {}, rows))


def costs_of(space: ChainSpace) -> ChainCosts:
    return ChainCosts.of(model_of(space), space, SIZE, HEAD, power_w=POWER_W)


@pytest.fixture(scope="module")
def small() -> ChainCosts:
    return costs_of(SMALL)


def networks_of(space: ChainSpace, number: int, seed: int = 0) -> list[list[str]]:
    draw = random.Random(seed)
    return [[draw.choice(position.candidates) for position in space.positions] for _ in range(number)]


def by_decision(costs: ChainCosts, probabilities: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Probabilities a position, as the space names its decisions."""
    return {d.name: p for d, p in zip(costs.space.decisions, probabilities, strict=True)}


def camera_of(space: ChainSpace, blocks: Sequence[str]) -> Graph:
    """What is deployed of a network of 19 classes."""
    return camera_network(space.network(space.from_short_form(blocks), HEAD), HEAD)


def alone(space: ChainSpace, blocks: Sequence[str]) -> dict[str, float]:
    """What a network costs, asked for by itself: counts on its whole graph, latency of its kernels."""
    counted = count(camera_of(space, blocks), {"frame": (1, *SIZE, 3)})
    del counted["bytes"]  # of its parts, where the whole would fuse a ReLU with the block before
    return dict(counted)


@pytest.mark.parametrize("space", [*CHAINS.values(), UNEVEN], ids=lambda space: space.name)
def test_totals_are_what_each_network_costs_alone(space: ChainSpace) -> None:
    costs, networks = costs_of(space), networks_of(space, 12)
    totals = costs.total(costs.choices(networks))
    assert set(totals) == set(OBJECTIVES)
    for index, blocks in enumerate(networks):
        for name, value in alone(space, blocks).items():
            assert totals[name][index] == value, name


def test_latency_and_traffic_are_sums_over_the_kernels_of_the_network(small: ChainCosts) -> None:
    networks, model = networks_of(SMALL, 10), model_of(SMALL)
    totals = small.total(small.choices(networks))
    for index, blocks in enumerate(networks):
        kernels = network_kernels(Architecture(space=SMALL.name, blocks=blocks), SIZE)
        said = model.network(kernels)
        assert totals["latency"][index] == pytest.approx(said.median_s, rel=1e-12)
        assert totals["latency_low"][index] == pytest.approx(said.low_s, rel=1e-12)
        assert totals["latency_high"][index] == pytest.approx(said.high_s, rel=1e-12)
        assert totals["bytes"][index] == sum(kernel.bytes_moved for kernel in kernels)
    assert totals["energy"] == pytest.approx(POWER_W * totals["latency"], rel=1e-12)


def test_what_is_beyond_the_sum_of_kernels_is_told_of_all_networks_at_once() -> None:
    between = NetworkModel(
        scale={"dense": 1.2, "depthwise": 0.9},
        gap_s=3e-6,
        cold_s_per_byte=2e-10,
        overhead_s=5e-4,
        width=0.05,
        range_s=(1e-3, 1.2e-3),  # some are longer: wider intervals
    )
    model = replace(model_of(SMALL), calibration=between)
    costs, networks = ChainCosts.of(model, SMALL, SIZE, HEAD), networks_of(SMALL, 10)
    totals = costs.total(costs.choices(networks))
    for index, blocks in enumerate(networks):
        said = model.network(network_kernels(Architecture(space=SMALL.name, blocks=blocks), SIZE))
        found = [totals[name][index] for name in ("latency", "latency_low", "latency_high")]
        assert found == pytest.approx([said.median_s, said.low_s, said.high_s], rel=1e-12)
    alone = costs.total(costs.choices(networks), ["latency_low"])
    assert list(alone) == ["latency_low"]
    assert np.array_equal(alone["latency_low"], totals["latency_low"])
    plain = ChainCosts.of(model_of(SMALL), SMALL, SIZE, HEAD)
    assert costs.fixed("latency") > plain.fixed("latency") + between.overhead_s


def test_memory_of_fifty_networks_is_exact_and_differs(small: ChainCosts) -> None:
    networks = networks_of(SMALL, 50, seed=1)
    told = small.total(small.choices(networks), ["memory"])["memory"]
    inputs = {"frame": (1, *SIZE, 3)}
    exact = [peak_bytes(camera_of(SMALL, blocks), inputs) for blocks in networks]
    assert told.tolist() == exact
    assert len(set(exact)) > 1


def test_tables_have_a_row_a_position_and_nan_where_a_candidate_is_not_offered() -> None:
    costs = costs_of(UNEVEN)
    assert costs.candidates == [position.candidates for position in UNEVEN.positions]
    for name in OBJECTIVES:
        table = costs.table(name)
        assert table.shape == (4, 4)
        assert table.dtype == np.float64
        assert np.isnan(table).sum(axis=1).tolist() == [0, 3, 2, 1]  # of four columns
        assert costs.fixed(name) > 0
    assert costs.table("macs")[3, 0] == costs.table("latency")[3, 0] == costs.table("memory")[3, 0] == 0
    costs.table("macs")[:] = 0  # a copy
    assert costs.table("macs")[0, 0] > 0


def test_many_networks_at_once_cost_what_few_do(small: ChainCosts) -> None:
    draw = np.random.default_rng(0)
    columns = [draw.integers(len(names), size=50_000, dtype=np.uint8) for names in small.candidates]
    choices = np.stack(columns, axis=1)
    totals = small.total(choices)
    for index in (0, 8_191, 8_192, 49_999):
        blocks = [names[pick] for names, pick in zip(small.candidates, choices[index], strict=True)]
        single = small.total(small.choices([blocks]))
        assert {name: values[index] for name, values in totals.items()} == {
            name: values[0] for name, values in single.items()
        }
    assert list(small.total(choices[:5], ("latency",))) == ["latency"]
    assert small.total(choices[:0])["macs"].shape == (0,)


def test_expected_costs_are_means_over_all_networks() -> None:
    costs, draw = costs_of(UNEVEN), np.random.default_rng(3)
    probabilities = [draw.dirichlet(np.ones(len(names))) for names in costs.candidates]
    everything = list(itertools.product(*(range(len(names)) for names in costs.candidates)))
    weights = [
        np.prod([p[pick] for p, pick in zip(probabilities, picks, strict=True)]) for picks in everything
    ]
    totals = costs.total(np.array(everything))
    found = costs.expected(by_decision(costs, probabilities))
    assert set(found) == set(totals)
    for name, values in totals.items():
        assert found[name] == pytest.approx(float(np.dot(values, weights))), name
    assert len(set(totals["memory"])) == 4


def test_a_certain_network_is_expected_to_cost_what_it_costs(small: ChainCosts) -> None:
    (blocks,) = networks_of(SMALL, 1)
    certain = [
        np.array([float(name == block) for name in names])
        for names, block in zip(small.candidates, blocks, strict=True)
    ]
    totals = small.total(small.choices([blocks]))
    assert small.expected(by_decision(small, certain)) == pytest.approx(
        {name: values[0] for name, values in totals.items()}
    )


def test_without_power_there_is_no_energy() -> None:
    costs = ChainCosts.of(model_of(UNEVEN), UNEVEN, SIZE, HEAD)
    assert set(costs.objectives) == set(OBJECTIVES) - {"energy"}


def test_classes_change_what_is_around_the_blocks_alone() -> None:
    nineteen = costs_of(UNEVEN)
    eleven = ChainCosts.of(model_of(UNEVEN, classes=11), UNEVEN, SIZE, segmentation_head(11), power_w=POWER_W)
    for name in OBJECTIVES:
        assert np.array_equal(eleven.table(name), nineteen.table(name), equal_nan=True)
        assert eleven.fixed(name) < nineteen.fixed(name)


def test_sources_are_those_of_a_network_with_all_candidates_as_likely(small: ChainCosts) -> None:
    assert small.sources == {"measured": 1.0}
    prior = Prior.from_peaks(load_target("jetson-xavier"))
    model = replace(model_of(UNEVEN, without="dw5x5"), prior=prior)
    costs = ChainCosts.of(model, UNEVEN, SIZE, HEAD)
    one_of_four = split_into_kernels(UNEVEN.block(0, "k5e6"), {"x": UNEVEN.block_inputs(SIZE)[0]})
    (missing,) = (kernel for kernel in one_of_four if "dw5x5" in kernel.label)
    equal = [np.full(len(names), 1 / len(names)) for names in costs.candidates]
    mean_s = costs.expected(by_decision(costs, equal))["latency"]
    assert costs.sources["prior"] == pytest.approx(prior.predict_s(missing) / 4 / mean_s)
    assert sum(costs.sources.values()) == pytest.approx(1)


def test_a_hole_without_predictor_and_prior_is_an_error() -> None:
    with pytest.raises(MissingEntry, match=r"dw5x5.*not measured on board; .* --space .* --resolution"):
        ChainCosts.of(model_of(UNEVEN, without="dw5x5"), UNEVEN, SIZE, HEAD)


def test_names_that_are_not_offered_are_refused(small: ChainCosts) -> None:
    with pytest.raises(UnknownCandidate, match=r"position 3: unknown block 'k3e7', did you mean"):
        small.choices([[*["skip"] * 3, "k3e7", *["skip"] * 16]])
    with pytest.raises(InvalidArchitecture, match="has 20 positions, the architecture has 2 blocks"):
        small.choices([["skip", "skip"]])


@pytest.mark.parametrize(
    "choices",
    [
        np.zeros(4, dtype=int),
        np.zeros((3, 5), dtype=int),
        np.zeros((3, 4)),
        np.array([[0, 0, 0, 0], [0, 1, 0, 0]]),
        np.array([[0, 0, 0, -1]]),
        np.array([[4, 0, 0, 0]], dtype=np.uint8),
    ],
    ids=["flat", "positions", "floats", "not offered there", "negative", "too large"],
)
def test_choices_that_are_none_are_refused(choices: np.ndarray) -> None:
    with pytest.raises(InvalidArchitecture, match=r"space uneven: choices must be whole numbers of shape"):
        costs_of(UNEVEN).total(choices)
