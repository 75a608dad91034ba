"""Networks at random, and changed ones, within a budget."""

import numpy as np
import pytest

from search.problem.goal import Budget
from search.spaces.registry import get_space
from search.spaces.space import SearchSpace
from search.strategies.sampling.within import mutated, sample_within

from ...spaces.toy_space import TOY
from ..helpers import FIVE, SMALL, costs_of


@pytest.mark.parametrize("space", [SMALL, FIVE, TOY], ids=lambda space: space.name)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_draws_keep_any_budget_that_can_be_kept(space: SearchSpace, share: float) -> None:
    costs, random = costs_of(space), np.random.default_rng(0)
    least, most = costs.range("latency")
    budget = Budget("latency", (least + share * (most - least)) * (1 + 1e-9), "ms")
    drawn = [sample_within(costs, budget, random) for _ in range(5)]
    assert costs.cost(drawn, ["latency"])["latency"].max() <= budget.value
    if share > 0:
        assert len({tuple(genotype.values()) for genotype in drawn}) > 1


def test_a_peak_is_kept_too() -> None:
    costs, random = costs_of(FIVE), np.random.default_rng(0)
    least, most = costs.range("memory")
    budget = Budget("memory", least + 0.1 * (most - least), "MiB")
    drawn = [sample_within(costs, budget, random) for _ in range(5)]
    assert costs.cost(drawn, ["memory"])["memory"].max() <= budget.value


def test_without_a_budget_it_is_the_spaces_own_sample() -> None:
    costs = costs_of(FIVE)
    drawn = sample_within(costs, None, np.random.default_rng(8))
    assert drawn == FIVE.sample(np.random.default_rng(8))


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_a_mutation_changes_so_many_decisions(count: int) -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        genotype = FIVE.sample(random)
        child = mutated(FIVE, genotype, count, random)
        changed = [name for name in genotype if child[name] != genotype[name]]
        assert len(changed) == min(count, 5)
        assert FIVE.check(child) == child


def test_where_nothing_is_open_nothing_changes() -> None:
    space = get_space("mobilenetv3-small")
    genotype = space.sample(np.random.default_rng(0))
    assert mutated(space, genotype, 3, np.random.default_rng(0)) == genotype
