"""Networks that a search after GAS proposes: the likeliest, and those within the budget first."""

from typing import Any

import numpy as np
import pytest

from search.costs.space_costs import SpaceCosts
from search.problem.goal import Budget
from search.strategies.gas.latency import EdgeLatency
from search.strategies.gas.proposals import proposals

from ..helpers import CELLS, SIZE, costs_of

OPERATIONS = CELLS.chain.operations


@pytest.fixture(scope="module")
def costs() -> SpaceCosts:
    return costs_of(CELLS)


@pytest.fixture(scope="module")
def latency(costs: SpaceCosts) -> EdgeLatency:
    from search.spaces.camera import segmentation_head

    return EdgeLatency.of(costs.model, CELLS, SIZE, segmentation_head(19))


def leaning(operation: str, share: float) -> Any:
    """To one operation on every edge."""
    rest = (1 - share) / (len(OPERATIONS) - 1)
    row = [share if name == operation else rest for name in OPERATIONS]
    return np.array([[row] * 5] * CELLS.chain.cells)


def spent_s(costs: SpaceCosts, networks: list[dict[str, str]]) -> list[float]:
    return costs.cost(networks, ["latency"])["latency"].tolist()  # type: ignore[no-any-return]


def test_the_likeliest_comes_first_and_draws_differ(costs: SpaceCosts, latency: EdgeLatency) -> None:
    found = proposals(costs, latency, leaning("conv_3x3", 0.8), None, 6, seed=1)
    assert set(found[0].values()) == {"conv_3x3"}
    assert len({tuple(own.values()) for own in found}) == 6
    assert proposals(costs, latency, leaning("conv_3x3", 0.8), None, 2, seed=1) == found[:2]


def uneven(operation: str) -> Any:
    """To one operation, on some edges more than on others."""
    shares = np.random.default_rng(0).uniform(0.3, 0.9, CELLS.chain.cells * 5)
    rows = np.stack([leaning(operation, share)[0, 0] for share in shares])
    return rows.reshape(CELLS.chain.cells, 5, -1)


def test_with_a_budget_the_likeliest_within_it_comes_first(costs: SpaceCosts, latency: EdgeLatency) -> None:
    dear = spent_s(costs, [dict.fromkeys((d.name for d in CELLS.decisions), "conv_3x3")])[0]
    least_s, _ = costs.range("latency")
    budget = Budget("latency", (least_s + dear) / 2, "ms")
    found = proposals(costs, latency, uneven("conv_3x3"), budget, 8, seed=1)
    spent = spent_s(costs, found)
    assert spent[0] <= budget.value < spent[1] == pytest.approx(dear)  # the likeliest of all is judged too
    kept = [own <= budget.value for own in spent[2:]]
    assert kept == sorted(kept, reverse=True)
    # Only as many convolutions are given up as it takes.
    assert 0 < list(found[0].values()).count("conv_3x3") < len(CELLS.decisions)


def test_of_what_is_sure_of_nothing_but_zeros_some_network_is_proposed(
    costs: SpaceCosts, latency: EdgeLatency
) -> None:
    (found,) = proposals(costs, latency, leaning("zero", 1.0), None, 3, seed=1)
    assert CELLS.check(found) == found
