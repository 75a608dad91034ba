"""Networks drawn at random, or changed a little, that cost no more than a budget."""

from collections.abc import Sequence

import numpy as np

from search.costs.space_costs import SpaceCosts
from search.errors import SearchError
from search.problem.goal import Budget
from search.spaces.space import Genotype, SearchSpace

_DRAWS = 64
_TRIES = 100


def sample_within(costs: SpaceCosts, budget: Budget | None, random: np.random.Generator) -> dict[str, str]:
    """The first of some random networks that keeps the budget; else one of them made cheaper until it does.

    Where changes of one decision at a time lead no further, it is as cheap as they make it.
    """
    drawn = [costs.space.sample(random) for _ in range(1 if budget is None else _DRAWS)]
    if budget is None:
        return drawn[0]
    spent = costs.cost(drawn, [budget.name])[budget.name]
    keeping = np.flatnonzero(spent <= budget.value)
    if keeping.size:
        return drawn[int(keeping[0])]
    return made_to_keep(costs, budget, drawn[0], random)


def made_to_keep(
    costs: SpaceCosts, budget: Budget | None, genotype: Genotype, random: np.random.Generator
) -> dict[str, str]:
    """Decisions in random order take a random cheaper option each, until the budget is kept."""
    best = dict(genotype)
    if budget is None:
        return best
    for _ in range(_TRIES):
        moved = False
        for index in random.permutation(len(costs.space.decisions)):
            now = float(costs.cost([best], [budget.name])[budget.name][0])
            if now <= budget.value:
                return best
            decision = costs.space.decisions[int(index)]
            tried = _valid(costs.space, [{**best, decision.name: option} for option in decision.options])
            spent = costs.cost(tried, [budget.name])[budget.name]
            cheaper = [other for other, cost in zip(tried, spent, strict=True) if cost < now]
            if cheaper:
                best, moved = cheaper[int(random.integers(len(cheaper)))], True
        if not moved:
            break
    return best


def mutated(
    space: SearchSpace, genotype: Genotype, count: int, random: np.random.Generator
) -> dict[str, str]:
    """With another option for ``count`` decisions, as far as the space has such a network."""
    open_ = [decision for decision in space.decisions if len(decision.options) > 1]
    child = dict(genotype)
    if not open_:
        return child
    for index in random.permutation(len(open_))[:count]:
        decision = open_[int(index)]
        others = [option for option in decision.options if option != child[decision.name]]
        changed = {**child, decision.name: others[int(random.integers(len(others)))]}
        child = (_valid(space, [changed]) or [child])[0]
    return child


def _valid(space: SearchSpace, genotypes: Sequence[Genotype]) -> list[dict[str, str]]:
    valid = []
    for genotype in genotypes:
        try:
            valid.append(space.check(genotype))
        except SearchError:
            continue
    return valid
