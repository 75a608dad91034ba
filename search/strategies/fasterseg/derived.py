"""The networks that a grid's logits mean, what they cost, and how they are brought within a budget."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from search.costs.space_costs import SpaceCosts
from search.problem.goal import SEARCHED
from search.spaces.fasterseg.branches import Branch
from search.spaces.fasterseg.derive import aligned, branch, derive
from search.spaces.fasterseg.logits import Array, Logits
from search.spaces.fasterseg.space import FastersegSpace
from search.strategies.fasterseg.latency import GridLatency

PAIRS = (1, 0)
"""Scales at which the fine branch may end: the pairs of branches."""
_SURE = 50.0  # a logit that leaves no doubt
_LADDER = np.geomspace(1e-2, 1e6, 60)  # prices of the latency, from hardly any to nothing but it
_HALVINGS = 12


@dataclass(frozen=True)
class DerivedNetworks:
    """Of a grid on a target.

    Attributes:
        space: a student's or a teacher's.
        latency: of the pieces of that grid.
    """

    space: FastersegSpace
    costs: SpaceCosts
    latency: GridLatency

    def pair(self, logits: Logits, fine_scale: int) -> dict[str, str]:
        """As the logits have it."""
        return derive(self.space, logits, 1 if fine_scale else 0)

    def pairs(self, logits: Logits) -> list[dict[str, str]]:
        """One for each of ``PAIRS``."""
        return [self.pair(logits, fine_scale) for fine_scale in PAIRS]

    def spent(self, genotypes: Sequence[Mapping[str, str]]) -> dict[str, Array]:
        """What each costs, by objective."""
        return self.costs.cost(genotypes, SEARCHED)

    def latencies_s(self, genotypes: Sequence[Mapping[str, str]]) -> Array:
        """Of each, in seconds."""
        return self.costs.cost(genotypes, ["latency"])["latency"]

    def within(self, logits: Logits, fine_scale: int, budget_s: float) -> dict[str, str]:
        """The likeliest where every choice also pays for its latency, as little as brings it within a budget.

        On the likeliest path on which that can be; as cheap as any where it can be on none.
        """
        own = self.pair(logits, fine_scale)
        if self.latencies_s([own])[0] <= budget_s:
            return own
        paths = list(self._paths(logits, fine_scale))
        cheapest = [self._on(logits, path, float(_LADDER[-1]), budget_s) for path in paths]
        spent_s = self.latencies_s(cheapest)
        fitting = np.flatnonzero(spent_s <= budget_s)
        if not fitting.size:
            return cheapest[int(spent_s.argmin())]
        path = paths[int(fitting[0])]
        tried = [self._on(logits, path, float(price), budget_s) for price in _LADDER]
        first = int(np.flatnonzero(self.latencies_s(tried) <= budget_s)[0])
        low, high, best = float(_LADDER[first - 1]) if first else 0.0, float(_LADDER[first]), tried[first]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = self._on(logits, path, middle, budget_s)
            if self.latencies_s([found])[0] <= budget_s:
                high, best = middle, found
            else:
                low = middle
        return best

    def range_s(self) -> tuple[float, float]:
        """Of all that logits can mean: the cheapest and the dearest, in seconds."""
        alike, scale_s = Logits.uniform(self.space.grid), float(self.latency.stem_s)
        ends = []
        for price in (float(_LADDER[-1]), -float(_LADDER[-1])):
            paths = [path for fine_scale in PAIRS for path in self._paths(alike, fine_scale)]
            ends.append(self.latencies_s([self._on(alike, path, price, scale_s) for path in paths]))
        return float(ends[0].min()), float(ends[1].max())

    def _paths(self, logits: Logits, fine_scale: int) -> Iterator["_Path"]:
        """Ways of both branches, the likeliest first."""
        grid, second, third = self.space.grid, logits.down(1), logits.down(2)
        deep = {downs: second[downs[0] - 1] * third[downs[1] - 2] for downs in grid.paths_to_third}
        fine = {(layer,): second[layer - 1] for layer in grid.paths_to_second} if fine_scale else {(): 1.0}
        ways = product(deep.items(), fine.items())
        ranked = sorted(ways, key=lambda way: -way[0][1] * way[1][1])
        return (_Path(one, other) for (one, _), (other, _) in ranked)

    def _on(self, logits: Logits, path: "_Path", price: float, unit_s: float) -> dict[str, str]:
        """On a path, where logits of operations and widths pay that price for each ``unit_s`` of latency."""
        paid = self._paying(logits, price / unit_s)
        ends: list[Branch] = []
        for downs in (path.deep, path.fine):
            sure = Logits(paid.alpha, tuple(_sure(paid.beta, downs)), paid.ratio)
            ends.append(branch(self.space.grid, sure, len(downs)))
        return self.space.genotype(*aligned(ends[0], ends[1]))

    def _paying(self, logits: Logits, price: float) -> Logits:
        """Less the price times the seconds of each option, in the mean over what stands beside it."""
        cells = [self.latency.cells_s[scale, False] for scale in range(3)]
        operations = [own.mean((1, 2)) for own in cells]
        widths = [own.mean((0, 1)) + own.mean((0, 2)) for own in cells]
        return Logits(
            tuple(_log(own) - price * s for own, s in zip(logits.alpha, operations, strict=True)),
            logits.beta,
            tuple(_log(own) - price * s for own, s in zip(logits.ratio, widths, strict=True)),
        )


@dataclass(frozen=True)
class _Path:
    """Layers at which the deep and the fine branch go to the next scale."""

    deep: tuple[int, ...]
    fine: tuple[int, ...]


def _sure(beta: Sequence[Array], downs: Sequence[int]) -> Iterator[Array]:
    """Logits of paths that leave no doubt."""
    for scale, own in enumerate(beta, 1):
        certain = np.zeros_like(own)
        if scale <= len(downs):
            certain[downs[scale - 1] - scale, 0] = _SURE
        yield certain


def _log(logits: Array) -> Array:
    """Of their softmax, finite also where that is 0."""
    below: Array = logits - logits.max(axis=-1, keepdims=True)
    found: Array = below - np.log(np.exp(below).sum(axis=-1, keepdims=True))
    return found
