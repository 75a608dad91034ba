"""Costs of any space by its marginals: those of a chain's tables, and of single networks of other spaces."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cost_models.cost_model import CostModel
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.ir.fusion import Kernel
from cost_models.lookup import find_prior
from cost_models.network_models.network_model import NetworkModel
from search.architecture import architecture_of
from search.costs.chain_costs import ChainCosts, space_costs
from search.costs.kernel_table import network_kernels, space_kernels
from search.costs.objectives import OBJECTIVES, count
from search.costs.space_costs import SpaceCosts
from search.data.classes import unnamed
from search.errors import InvalidArchitecture, UnknownCandidate
from search.resolution import Resolution
from search.spaces.camera import camera_network, segmentation_head
from search.spaces.chain import ChainSpace
from search.spaces.space import SearchSpace
from targets import load_target

from ..spaces.chains import CHAINS
from ..spaces.toy_space import TOY

SIZE = Resolution(64, 128)
HEAD = segmentation_head(19)
POWER_W = 12.5
BETWEEN = NetworkModel(
    scale={"dense": 1.2, "depthwise": 0.9},
    gap_s=3e-6,
    cold_s_per_byte=2e-10,
    overhead_s=5e-4,
    width=0.05,
    range_s=(1e-3, 1.2e-3),
)


def prior_model() -> CostModel:
    target = load_target("jetson-xavier")
    return CostModel(target.name, prior=find_prior(target))


def measured_model(space: SearchSpace, network_model: NetworkModel | None = None) -> CostModel:
    """A table of all kernels, made up, and what networks take besides them."""
    rows = {
        kernel.key: Row("default", 4, (0.9 * s, s, 1.2 * s))
        for kernel in space_kernels(space, SIZE, HEAD)
        for s in (_seconds(kernel),)
    }
    model = CostModel("board", LatencyTable("board", {}, rows))
    return replace(model, calibration=network_model) if network_model else model


def _seconds(kernel: Kernel) -> float:
    return 1e-6 + kernel.macs * 1e-10 + kernel.bytes_moved * 1e-9


def drawn(space: SearchSpace, number: int) -> list[dict[str, str]]:
    random = np.random.default_rng(4)
    return [space.sample(random) for _ in range(number)]


def everything(space: SearchSpace) -> list[dict[str, str]]:
    names = [decision.name for decision in space.decisions]
    options = itertools.product(*(decision.options for decision in space.decisions))
    return [dict(zip(names, chosen, strict=True)) for chosen in options]


FAST = ("squeezenas-small", "mobilenetv3-small")


@pytest.fixture(
    params=[name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CHAINS]
)
def chain(request: pytest.FixtureRequest) -> ChainSpace:
    return CHAINS[request.param]


@pytest.mark.parametrize("between", [None, BETWEEN], ids=["sums", "calibrated"])
def test_by_parts_a_chain_costs_what_its_tables_say(chain: ChainSpace, between: NetworkModel | None) -> None:
    model = measured_model(chain, between)
    fast = ChainCosts.of(model, chain, SIZE, HEAD, power_w=POWER_W)
    parts = SpaceCosts.of(model, chain, SIZE, HEAD, power_w=POWER_W)
    networks = drawn(chain, 20)
    one, other = parts.cost(networks), fast.cost(networks)
    assert set(one) == set(other) == set(OBJECTIVES)
    for name in OBJECTIVES:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-12, err_msg=name)
        assert parts.range(name) == pytest.approx(fast.range(name), rel=1e-12), name
    random = np.random.default_rng(5)
    probabilities = {d.name: random.dirichlet(np.ones(len(d.options))) for d in chain.decisions}
    assert parts.expected(probabilities) == pytest.approx(fast.expected(probabilities), rel=1e-12)
    assert parts.mean() == pytest.approx(fast.mean(), rel=1e-12)
    assert parts.sources == fast.sources == {"measured": pytest.approx(1.0)}


def test_the_range_of_a_chain_is_of_its_cheapest_and_dearest_options(chain: ChainSpace) -> None:
    costs = ChainCosts.of(prior_model(), chain, SIZE, HEAD)
    for name in ("latency", "macs", "params", "bytes"):
        table = costs.table(name)
        ends = [np.nansum(np.nanmin(table, axis=1)), np.nansum(np.nanmax(table, axis=1))]
        assert costs.range(name) == pytest.approx([costs.fixed(name) + end for end in ends], rel=1e-12)


def test_the_fast_path_is_taken_where_there_is_one(chain: ChainSpace) -> None:
    assert type(space_costs(prior_model(), chain, SIZE, HEAD)) is ChainCosts
    assert type(space_costs(prior_model(), TOY, SIZE, HEAD)) is SpaceCosts


@pytest.mark.parametrize("between", [None, BETWEEN], ids=["sums", "calibrated"])
def test_a_space_that_is_no_chain_costs_what_each_network_costs_alone(between: NetworkModel | None) -> None:
    model = measured_model(TOY, between)
    networks = everything(TOY)
    costs = SpaceCosts.of(model, TOY, SIZE, HEAD, power_w=POWER_W).cost(networks)
    assert set(costs) == set(OBJECTIVES)
    for index, genotype in enumerate(networks):
        camera = camera_network(TOY.network(genotype, HEAD), HEAD)
        alone = count(camera, {"frame": (1, *SIZE, 3)})
        for name in ("macs", "params", "memory"):
            assert costs[name][index] == alone[name], name
        kernels = network_kernels(architecture_of(TOY, genotype, unnamed(19)), SIZE)
        said = model.network(kernels)
        found = [costs[name][index] for name in ("latency", "latency_low", "latency_high")]
        assert found == pytest.approx([said.median_s, said.low_s, said.high_s], rel=1e-12)
        assert costs["bytes"][index] == sum(kernel.bytes_moved for kernel in kernels)
    assert costs["energy"] == pytest.approx(POWER_W * costs["latency"], rel=1e-12)
    assert len(set(costs["latency"])) == 9  # what is decided in a branch that does not run costs nothing


def test_expected_costs_of_a_space_that_is_no_chain_are_means_over_its_networks() -> None:
    costs = SpaceCosts.of(measured_model(TOY), TOY, SIZE, HEAD)
    random = np.random.default_rng(3)
    probabilities = {d.name: random.dirichlet(np.ones(len(d.options))) for d in TOY.decisions}
    networks = everything(TOY)
    places = {d.name: {option: i for i, option in enumerate(d.options)} for d in TOY.decisions}
    weights = [
        np.prod([probabilities[name][places[name][option]] for name, option in genotype.items()])
        for genotype in networks
    ]
    found = costs.expected(probabilities)
    for name, values in costs.cost(networks).items():
        assert found[name] == pytest.approx(float(np.dot(values, weights))), name


def test_the_range_of_a_space_that_is_no_chain_is_that_of_its_networks() -> None:
    costs = SpaceCosts.of(measured_model(TOY), TOY, SIZE, HEAD)
    for name, values in costs.cost(everything(TOY)).items():
        assert costs.range(name) == pytest.approx((values.min(), values.max()), rel=1e-12), name


def test_only_what_is_asked_for_is_told() -> None:
    costs = SpaceCosts.of(measured_model(TOY, BETWEEN), TOY, SIZE, HEAD)
    networks = everything(TOY)
    (low,) = costs.cost(networks, ["latency_low"]).items()
    assert low[0] == "latency_low"
    assert np.array_equal(low[1], costs.cost(networks)["latency_low"])
    assert costs.cost([], ["macs"])["macs"].shape == (0,)
    assert "energy" not in costs.objectives


def test_networks_that_the_space_does_not_offer_are_refused() -> None:
    costs = SpaceCosts.of(measured_model(TOY), TOY, SIZE, HEAD)
    (genotype,) = drawn(TOY, 1)
    with pytest.raises(UnknownCandidate, match=r"tail: unknown option 'w88', did you mean w8"):
        costs.cost([genotype, {**genotype, "tail": "w88"}])
    with pytest.raises(InvalidArchitecture, match="tail: missing"):
        costs.cost([{name: option for name, option in genotype.items() if name != "tail"}])


def test_other_prices_have_another_digest() -> None:
    digests = {SpaceCosts.of(m, TOY, SIZE, HEAD).digest() for m in (prior_model(), measured_model(TOY))}
    assert len(digests) == 2
    again = [SpaceCosts.of(prior_model(), TOY, SIZE, HEAD).digest() for _ in range(2)]
    assert again[0] == again[1]
