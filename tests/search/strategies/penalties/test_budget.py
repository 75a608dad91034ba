"""What a search pays for costs."""

import pytest
import torch
from torch import Tensor

from search.costs.chain_costs import ChainCosts
from search.problem.goal import SEARCHED, Budget, Mix
from search.strategies.penalties.budget import BudgetPenalty
from search.strategies.penalties.expected_costs import ExpectedCosts

from ..helpers import SMALL, costs_of


@pytest.fixture(scope="module")
def costs() -> ChainCosts:
    found = costs_of(SMALL, 11)
    assert isinstance(found, ChainCosts)
    return found


def uniform(costs: ChainCosts) -> dict[str, Tensor]:
    return {d.name: torch.full((len(d.options),), 1 / len(d.options)) for d in costs.space.decisions}


def test_a_mix_counts_shares_of_the_mean_network(costs: ChainCosts) -> None:
    mix = Mix.parse("latency:3,macs:1")
    expected = ExpectedCosts(costs, SEARCHED)
    penalty = BudgetPenalty(expected, mix, costs.mean(), resource_weight=0.5, budget=None)
    assert float(penalty(uniform(costs))) == pytest.approx(0.5, rel=1e-4)
    penalty.update(uniform(costs))
    assert penalty.resource_weight == 0.5  # a given weight stays


def test_over_budget_it_pulls_down_and_the_weight_rises(costs: ChainCosts) -> None:
    logits = {d.name: torch.zeros(len(d.options), requires_grad=True) for d in costs.space.decisions}
    expected = ExpectedCosts(costs, SEARCHED)
    mean = {name: 1.0 for name in SEARCHED}
    budget = Budget("latency", float(expected("latency", uniform(costs))) / 1.2, "ms")
    penalty = BudgetPenalty(expected, Mix.parse("latency"), mean, resource_weight=0.0, budget=budget)
    penalty({name: row.softmax(0) for name, row in logits.items()}).backward()
    for own, row in zip(logits.values(), costs.table("latency"), strict=True):
        assert own.grad is not None
        dearest = int(row[: len(own)].argmax())
        assert int(own.grad.argmax()) == dearest  # descent takes most from it
    penalty.update({name: row.softmax(0) for name, row in logits.items()})
    assert penalty.resource_weight > 0
