"""The recipe "Add an objective" of CONTRIBUTING.md, followed: how many kernels a network launches."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from search.costs import space_costs
from search.costs.chain_costs import ChainCosts
from search.costs.objectives import OBJECTIVES, Objective, shown
from search.costs.space_costs import Array, SpaceCosts
from search.problem import goal
from search.problem.goal import Budget, Mix
from search.spaces.space import SearchSpace
from search.strategies.penalties.expected_costs import ExpectedCosts

from ..spaces.toy_space import TOY
from .test_space_costs import CHAINS, HEAD, SIZE, drawn, prior_model

LAUNCHES = "launches"


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = space_costs._prices

    def with_launches(*given: Any) -> Mapping[str, Array]:
        _, _, kernels, _ = given
        return {**prices(*given), LAUNCHES: np.array([float(len(own)) for own in kernels])}

    monkeypatch.setitem(OBJECTIVES, LAUNCHES, Objective("launches", 1, "launches"))  # type: ignore[arg-type]
    monkeypatch.setattr(space_costs, "_prices", with_launches)
    monkeypatch.setattr(goal, "SEARCHED", (*goal.SEARCHED, LAUNCHES))
    monkeypatch.setitem(goal.UNITS, "launches", (LAUNCHES, 1.0))


@pytest.mark.parametrize("space", [*CHAINS.values(), TOY], ids=lambda space: space.name)
def test_it_adds_up_is_expected_and_has_a_gradient(space: SearchSpace) -> None:
    costs = SpaceCosts.of(prior_model(), space, SIZE, HEAD)
    assert LAUNCHES in costs.objectives
    networks = drawn(space, 5)
    found = costs.cost(networks, [LAUNCHES])[LAUNCHES]
    assert all(count == int(count) > 5 for count in found.tolist())
    if space in CHAINS.values():
        fast = ChainCosts.of(prior_model(), space, SIZE, HEAD)
        assert fast.cost(networks, [LAUNCHES])[LAUNCHES].tolist() == found.tolist()
    even = {d.name: torch.full((len(d.options),), 1 / len(d.options)) for d in space.decisions}
    for probabilities in even.values():
        probabilities.requires_grad_()
    mean = ExpectedCosts(costs, [LAUNCHES])(LAUNCHES, even)
    assert mean.item() == pytest.approx(costs.mean()[LAUNCHES], rel=1e-5)
    mean.backward()
    assert any(bool(probabilities.grad.any()) for probabilities in even.values())


def test_a_search_pays_for_it_and_limits_it() -> None:
    assert Mix.parse("latency:3,launches:1").weights == {"latency": 0.75, LAUNCHES: 0.25}
    limit = Budget.parse("40launches")
    assert (limit.name, limit.value) == (LAUNCHES, 40)
    limit.check(30, 60)
    assert shown(LAUNCHES, 41) == "41 launches"
