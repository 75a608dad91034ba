"""Expected costs as tensors, against those of numpy and of drawn networks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cost_models.cost_model import CostModel
from cost_models.lookup import find_prior
from search.costs.space_costs import SpaceCosts
from search.problem.goal import SEARCHED, Budget, Mix
from search.resolution import Resolution
from search.spaces.registry import get_space
from search.strategies.penalties.expected_costs import ExpectedCosts, ResourceLoss
from targets import load_target


@pytest.fixture(scope="module")
def costs() -> SpaceCosts:
    target = load_target("jetson-xavier")
    model = CostModel(target.name, prior=find_prior(target))
    return SpaceCosts.of(model, get_space("small"), Resolution(64, 128), 11)


def _probabilities(costs: SpaceCosts, seed: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(len(names), generator=random).softmax(0) for names in costs.candidates]


@pytest.mark.parametrize("name", ["latency", "macs", "params", "bytes"])
def test_sums_agree_with_the_tables_own(costs: SpaceCosts, name: str) -> None:
    probabilities = _probabilities(costs, 0)
    exact = costs.expected([p.double().numpy() for p in probabilities])[name]
    assert float(ExpectedCosts(costs, SEARCHED)(name, probabilities)) == pytest.approx(exact, rel=1e-5)


def test_memory_is_a_peak_and_certain_where_the_network_is(costs: SpaceCosts) -> None:
    random = np.random.default_rng(0)
    choices = np.array([[random.integers(len(names)) for names in costs.candidates] for _ in range(5)])
    expected = ExpectedCosts(costs, SEARCHED)
    for row, peak in zip(choices, costs.total(choices)["memory"], strict=True):
        certain = [torch.eye(len(names))[i] for names, i in zip(costs.candidates, row, strict=True)]
        assert float(expected("memory", certain)) == pytest.approx(float(peak))


def test_the_range_is_that_of_the_cheapest_and_dearest_network(costs: SpaceCosts) -> None:
    least, most = ExpectedCosts(costs, SEARCHED).range("latency")
    table = costs.table("latency")
    ends = [table.argmin(axis=1), table.argmax(axis=1)]
    assert [least, most] == pytest.approx(costs.total(np.stack(ends))["latency"].tolist())


def test_removed_candidates_cost_nothing(costs: SpaceCosts) -> None:
    expected = ExpectedCosts(costs, ("latency",))
    left = [[names[2], names[0]] for names in costs.candidates]
    expected.narrow(left)
    halves = [torch.tensor([0.25, 0.75])] * len(left)
    table = costs.table("latency")
    exact = costs.fixed("latency") + (0.25 * table[:, 2] + 0.75 * table[:, 0]).sum()
    assert float(expected("latency", halves)) == pytest.approx(exact, rel=1e-5)


def test_a_mix_counts_shares_of_the_mean_network(costs: SpaceCosts) -> None:
    uniform = [torch.full((len(names),), 1 / len(names)) for names in costs.candidates]
    mean = costs.expected([p.double().numpy() for p in uniform])
    expected = ExpectedCosts(costs, SEARCHED)
    loss = ResourceLoss(expected, Mix.parse("latency:3,macs:1"), mean, alpha=0.5, budget=None)
    assert float(loss(uniform)) == pytest.approx(0.5, rel=1e-4)
    loss.update(uniform)
    assert loss.alpha == 0.5  # a given alpha stays


def test_over_budget_the_loss_pulls_down_and_alpha_rises(costs: SpaceCosts) -> None:
    uniform = [torch.zeros(len(names), requires_grad=True) for names in costs.candidates]
    expected = ExpectedCosts(costs, SEARCHED)
    mean = {name: 1.0 for name in SEARCHED}
    cost = float(expected("latency", [theta.softmax(0).detach() for theta in uniform]))
    budget = Budget("latency", cost / 1.2, "ms")
    loss = ResourceLoss(expected, Mix.parse("latency"), mean, alpha=0.0, budget=budget)
    loss([theta.softmax(0) for theta in uniform]).backward()
    table = costs.table("latency")
    for theta, row in zip(uniform, table, strict=True):
        assert theta.grad is not None
        assert int(theta.grad.argmax()) == int(
            row[: len(theta)].argmax()
        )  # descent takes most from the dearest
    loss.update([theta.softmax(0) for theta in uniform])
    assert loss.alpha > 0
