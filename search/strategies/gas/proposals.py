"""Networks to judge, from the final distribution over the operations of a chain's edges."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from search.costs.space_costs import SpaceCosts
from search.errors import SearchError
from search.problem.goal import Budget
from search.spaces.space import SearchSpace
from search.strategies.drawn import draw_networks
from search.strategies.gas.latency import EdgeLatency
from search.strategies.sampling.within import sample_within

Array = npt.NDArray[np.float64]
_LADDER = (0.0, *np.geomspace(0.1, 1e5, 61).tolist())  # prices of the whole budget, in logarithms of chances
_DRAWS = 4  # for each network wanted: some cost too much


def by_decision(space: SearchSpace, shares: Array) -> dict[str, Array]:
    """Of each decision's options; ``shares`` (cells, edges, operations)."""
    rows = shares.reshape(-1, shares.shape[-1])
    return {decision.name: row for decision, row in zip(space.decisions, rows, strict=True)}


def proposals(
    costs: SpaceCosts, latency: EdgeLatency, chances: Array, budget: Budget | None, count: int, seed: int
) -> list[dict[str, str]]:
    """Different networks; fewer where the distribution has hardly more.

    First the likeliest; before it, where it costs more than the budget, the likeliest of those to which
    latency has a price, at the lowest price that leads within. Then draws, those within the budget first.
    """
    likeliest = list(_priced(costs.space, latency, chances, budget))
    keeping = [own for own, fits in zip(likeliest, _fit(costs, likeliest, budget), strict=True) if fits]
    names = [decision.options for decision in costs.space.decisions]
    rows = chances.reshape(-1, chances.shape[-1])
    networks = draw_networks(rows.tolist(), names, _DRAWS * count, seed)
    drawn = list(_valid(costs.space, networks))
    fits = _fit(costs, drawn, budget)
    order = sorted(range(len(drawn)), key=lambda place: not fits[place])
    found = [*keeping[:1], *likeliest[:1], *(drawn[place] for place in order)]
    if not found:  # the distribution is sure of what is no network
        found = [sample_within(costs, budget, np.random.default_rng(seed))]
    return list({tuple(own.values()): own for own in found}.values())[:count]


def _priced(
    space: SearchSpace, latency: EdgeLatency, chances: Array, budget: Budget | None
) -> Iterator[dict[str, str]]:
    """The likeliest operations, and with a budget those where latency has a price, from low to high."""
    scores = np.log(np.maximum(chances, 1e-300))
    prices = np.asarray(latency.edges_s) / (budget.value if budget else 1.0)
    for price in _LADDER if budget else _LADDER[:1]:
        places = (scores - price * prices).argmax(-1).flatten().tolist()
        options = tuple(own.options[place] for own, place in zip(space.decisions, places, strict=True))
        yield from _valid(space, [options])


def _valid(space: SearchSpace, networks: Iterable[Sequence[str]]) -> Iterator[dict[str, str]]:
    """Without those of zeros."""
    for options in networks:
        names = (decision.name for decision in space.decisions)
        try:
            yield space.check(dict(zip(names, options, strict=True)))
        except SearchError:
            continue


def _fit(costs: SpaceCosts, networks: Sequence[Mapping[str, str]], budget: Budget | None) -> Sequence[Any]:
    if budget is None or not networks:
        return [True] * len(networks)
    return (costs.cost(networks, [budget.name])[budget.name] <= budget.value).tolist()  # type: ignore[no-any-return]
