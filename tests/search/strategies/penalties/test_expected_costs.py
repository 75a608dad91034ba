"""Expected costs as tensors, against those of numpy and of drawn networks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from search.costs.space_costs import SpaceCosts
from search.problem.goal import SEARCHED
from search.spaces.space import SearchSpace, one_hot
from search.strategies.penalties.expected_costs import ExpectedCosts

from ...spaces.toy_space import TOY
from ..helpers import SMALL, costs_of


@pytest.fixture(scope="module", params=[SMALL, TOY], ids=lambda space: space.name)
def costs(request: pytest.FixtureRequest) -> SpaceCosts:
    return costs_of(request.param, 11)


def probabilities(space: SearchSpace, seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {d.name: torch.randn(len(d.options), generator=random).softmax(0) for d in space.decisions}


@pytest.mark.parametrize("name", ["latency", "macs", "params", "bytes"])
def test_sums_agree_with_the_costs_own(costs: SpaceCosts, name: str) -> None:
    drawn = probabilities(costs.space, 0)
    exact = costs.expected({decision: p.double().numpy() for decision, p in drawn.items()})[name]
    expected = ExpectedCosts(costs, SEARCHED)
    assert float(expected(name, drawn)) == pytest.approx(exact, rel=1e-5)
    assert float(expected.all(drawn)[name]) == pytest.approx(exact, rel=1e-5)


def test_memory_is_a_peak_and_certain_where_the_network_is(costs: SpaceCosts) -> None:
    random = np.random.default_rng(0)
    genotypes = [costs.space.sample(random) for _ in range(5)]
    expected = ExpectedCosts(costs, SEARCHED)
    for genotype, peak in zip(genotypes, costs.cost(genotypes)["memory"], strict=True):
        rows = one_hot(costs.space, [genotype])
        certain = {name: torch.tensor(row[0], dtype=torch.float32) for name, row in rows.items()}
        assert float(expected("memory", certain)) == pytest.approx(float(peak))


def test_options_that_are_not_left_cost_nothing(costs: SpaceCosts) -> None:
    """A distribution that is 0 there: what is left is what the others cost."""
    expected = ExpectedCosts(costs, ("latency",))
    halves = {d.name: torch.zeros(len(d.options)) for d in costs.space.decisions}
    for row in halves.values():
        row[0], row[-1] = 0.25, 0.75
    exact = costs.expected({name: row.double().numpy() for name, row in halves.items()})["latency"]
    assert float(expected("latency", halves)) == pytest.approx(exact, rel=1e-5)
    assert list(expected.all(halves)) == ["latency"]


def test_gradients_are_the_prices_of_options(costs: SpaceCosts) -> None:
    drawn = {name: p.requires_grad_() for name, p in probabilities(costs.space, 1).items()}
    ExpectedCosts(costs, ("latency",))("latency", drawn).backward()
    for decision in costs.space.decisions:
        rows = {name: p.detach().double().numpy() for name, p in drawn.items()}
        ends = []
        for place in range(len(decision.options)):
            certain = np.eye(len(decision.options))[place]
            ends.append(costs.expected({**rows, decision.name: certain})["latency"])
        gradient = drawn[decision.name].grad
        assert gradient is not None
        found = gradient.double().numpy()
        assert found - found[0] == pytest.approx(np.array(ends) - ends[0], rel=1e-3, abs=1e-9)
