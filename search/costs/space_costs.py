"""Everything that any network of a space costs on a target: prices of its parts, and how often each runs.

The expected cost of a distribution over networks is the inner product of ``SearchSpace.marginals`` and these
prices. No device, no TVM.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cost_models.cost_model import CostModel
from cost_models.errors import MissingEntry
from cost_models.ir.fusion import Kernel
from search.costs.kernel_table import part_kernels, priced_kernels
from search.costs.objectives import OBJECTIVES
from search.errors import SearchError
from search.resolution import Resolution
from search.spaces.space import Genotype, Head, Part, SearchSpace, one_hot, uniform

Array = npt.NDArray[np.float64]
Costs = TypeVar("Costs", bound="SpaceCosts")
ENDS = ("latency", "latency_low", "latency_high")
ROWS = 1 << 13  # networks at a time: what is added up stays in the cache
_NUMBERS = 1 << 22  # of networks at a time and all parts
_STARTS = 64  # networks drawn, from the best of which the cheapest and the dearest are looked for


@dataclass(frozen=True)
class SpaceCosts:
    """Prices of the parts of a space, by objective (``OBJECTIVES``); ``energy`` where power is known.

    Attributes:
        space: whose networks they are.
        sources: who says so: ``measured``, ``predicted``, ``prior``, each with its share of the latency of
            networks whose options are all as likely.
        parts: in the order of the prices.
    """

    space: SearchSpace
    sources: Mapping[str, float]
    parts: tuple[Part, ...]
    _prices: Mapping[str, Array]
    _beyond_s: float  # of a network's latency, what is no sum over its parts
    _model: CostModel

    @classmethod
    def of(
        cls: type[Costs],
        model: CostModel,
        space: SearchSpace,
        resolution: Resolution,
        head: Head,
        *,
        power_w: float | None = None,
    ) -> Costs:
        """Ask a target's cost model for every part of a space, once.

        Args:
            power_w: what the device draws while it works; see ``cost_models.network_models.energy``.

        Raises:
            InvalidResolution: not of this space.
            MissingEntry: a kernel that was not measured, where there is neither predictor nor prior.
        """
        parts = tuple(space.parts(space.check_resolution(resolution), head))
        kernels = part_kernels(parts)
        priced = kernels if model.published is None else priced_kernels(model, parts)
        try:
            prices = _prices(model, parts, kernels, priced)
        except MissingEntry as missing:
            raise missing.of(space.name, resolution) from None
        peaks = space.peak_bytes(resolution, head)
        prices["memory"] = np.array([peaks[part.name] for part in parts])
        marginals = space.marginals(uniform(space))
        chances = [float(marginals.get(part.name, 1.0)) for part in parts]
        always = np.array([part.name not in marginals for part in parts])
        around = [np.array([float(prices[end][always].sum())]) for end in ENDS]
        beyond_s = float(model.whole(*around)[0][0] - around[0][0])
        if power_w is not None:
            prices["energy"] = prices["latency"] * power_w
        shares = _sources(model, priced, chances)
        return cls(space, shares, parts, prices, beyond_s, model)

    @property
    def objectives(self) -> list[str]:
        """Those that are known."""
        return list(self._prices)

    @property
    def model(self) -> CostModel:
        """Who told the prices, to be asked for other pieces."""
        return self._model

    def prices(self, objective: str) -> Array:
        """Seconds, operations, values, bytes or joules of each part, shape (parts,)."""
        return self._prices[objective].copy()

    def beyond(self, objective: str) -> float:
        """What every network takes that is of none of its parts: launches, cold caches."""
        if objective not in ("latency", "energy"):
            return 0.0
        power_w = 1.0
        if objective == "energy":
            power_w = float(self._prices["energy"].sum() / self._prices["latency"].sum())
        return self._beyond_s * power_w

    def digest(self) -> str:
        """Of all prices: a search that is resumed must find the same."""
        told = b"".join(self._prices[name].tobytes() for name in sorted(self._prices))
        return hashlib.sha256(told).hexdigest()[:16]

    def cost(
        self, genotypes: Sequence[Genotype], objectives: Collection[str] | None = None
    ) -> dict[str, Array]:
        """Costs of networks, by objective, one value a network; all objectives when None.

        Raises:
            InvalidArchitecture, UnknownCandidate: genotypes that the space does not offer.
        """
        genotypes = [self.space.check(genotype) for genotype in genotypes]
        wanted = self.objectives if objectives is None else list(objectives)
        totals = {name: np.zeros(len(genotypes)) for name in self._with_ends(wanted)}
        count = max(1, min(ROWS, _NUMBERS // len(self.parts)))
        for start in range(0, len(genotypes), count):
            rows = slice(start, start + count)
            runs = self._runs(one_hot(self.space, genotypes[rows]))
            for name in totals:
                if OBJECTIVES[name].peak:
                    totals[name][rows] = (runs.clip(max=1) * self._prices[name]).max(axis=-1)
                else:
                    totals[name][rows] = runs @ self._prices[name] + self.beyond(name)
        self._widen(totals)
        return {name: totals[name] for name in wanted}

    def expected(self, probabilities: Mapping[str, Array]) -> dict[str, float]:
        """Mean costs of networks whose options are drawn independently; the interval is that of the mean.

        Args:
            probabilities: of each decision's options, in their order.
        """
        runs = self._runs(probabilities)
        found: dict[str, Array] = {}
        for name, prices in self._prices.items():
            if OBJECTIVES[name].peak:
                found[name] = self._expected_peak(prices, runs)
            else:
                found[name] = np.array([float(runs @ prices)]) + self.beyond(name)
        self._widen(found)
        return {name: float(values[0]) for name, values in found.items()}

    def mean(self) -> dict[str, float]:
        """Of networks whose options are all as likely."""
        return self.expected(uniform(self.space))

    def range(self, objective: str) -> tuple[float, float]:
        """Of the cheapest and the dearest network, as changes of one decision at a time find them.

        Where every decision adds its own cost, as in a chain, these are the very least and the most.
        """
        return self._extreme(objective, 1.0), -self._extreme(objective, -1.0)

    def _extreme(self, objective: str, sign: float) -> float:
        random = np.random.default_rng(0)
        drawn = [self.space.sample(random) for _ in range(_STARTS)]
        costs = sign * self.cost(drawn, [objective])[objective]
        best, least = drawn[int(costs.argmin())], float(costs.min())
        while True:
            tried = self._changes(best, least, objective, sign)
            costs = sign * self.cost(tried, [objective])[objective] if tried else np.array([least])
            if costs.min() >= least - 1e-12 * abs(least):
                return least
            best, least = tried[int(costs.argmin())], float(costs.min())

    def _changes(self, genotype: Genotype, cost: float, objective: str, sign: float) -> list[dict[str, str]]:
        """Networks that differ in one decision and are better; and the one with all those changes at once."""
        pairs = [(d.name, option) for d in self.space.decisions for option in d.options]
        tried = [(name, new) for name, option in pairs if (new := self._changed(genotype, {name: option}))]
        costs = sign * self.cost([new for _, new in tried], [objective])[objective]
        better: dict[str, tuple[float, dict[str, str]]] = {}
        for (name, new), own in zip(tried, costs.tolist(), strict=True):
            if own < better.get(name, (cost, new))[0]:
                better[name] = own, new
        together = self._changed(genotype, {name: new[name] for name, (_, new) in better.items()})
        return [new for _, new in better.values()] + ([together] if better and together else [])

    def _changed(self, genotype: Genotype, options: Mapping[str, str]) -> dict[str, str] | None:
        """With other options; None where the space has no such network."""
        try:
            return self.space.check({**genotype, **options})
        except SearchError:
            return None

    def _runs(self, probabilities: Mapping[str, Array]) -> Array:
        """How often each part runs, shape (..., parts)."""
        marginals = self.space.marginals(probabilities)
        shape = next(iter(probabilities.values())).shape[:-1]
        always = np.ones(shape)
        return np.stack([marginals.get(part.name, always) for part in self.parts], axis=-1)

    def _expected_peak(self, prices: Array, runs: Array) -> Array:
        """Mean of the largest of independent draws, one from each slot, and of what always runs; (1,)."""
        slots = [part.slot or part.name for part in self.parts]
        rows = [[i for i, slot in enumerate(slots) if slot == own] for own in dict.fromkeys(slots)]
        levels = np.unique(np.concatenate([[0.0], prices]))
        below = np.ones(len(levels))  # probability that a network needs at most that
        for row in rows:
            above = (prices[row] > levels[:, None]) @ runs[row].clip(max=1)
            below *= (1 - above).clip(0, 1)
        return np.array([levels[0] + np.sum(np.diff(levels) * (1 - below[:-1]))])

    def _with_ends(self, wanted: Iterable[str]) -> list[str]:
        """The interval of a network is told from all three sums."""
        names = list(wanted)
        return list(dict.fromkeys([*names, *(ENDS if {*ENDS[1:]} & {*names} else ())]))

    def _widen(self, totals: dict[str, Array]) -> None:
        """In place: ends of sums become those of whole networks, which ``CostModel.whole`` tells."""
        if "latency_low" in totals:
            parts_s = totals["latency"] - self._beyond_s
            ends = self._model.whole(parts_s, totals["latency_low"], totals["latency_high"])
            totals |= dict(zip(ENDS, ends, strict=True))


def _sources(
    model: CostModel, parts: Sequence[Sequence[Kernel]], chances: Sequence[float]
) -> dict[str, float]:
    """Share of the kernels' time by source, in networks that have each part with that probability."""
    calls: dict[Kernel, float] = {}
    for kernels, chance in zip(parts, chances, strict=True):
        for kernel in kernels:
            calls[kernel] = calls.get(kernel, 0.0) + chance
    seconds: dict[str, float] = {}
    for cost, count in zip(model.estimates(list(calls)), calls.values(), strict=True):
        seconds[str(cost.source)] = seconds.get(str(cost.source), 0.0) + count * cost.median_s
    return {source: value / sum(seconds.values()) for source, value in seconds.items()}


def _prices(
    model: CostModel,
    parts: Sequence[Part],
    kernels: Sequence[Sequence[Kernel]],
    priced: Sequence[Sequence[Kernel]],
) -> dict[str, Array]:
    """All that adds up, of every part. ``priced``: what the model is asked."""
    found: dict[str, Iterable[float]] = dict(zip(ENDS, zip(*model.pieces(priced), strict=True), strict=True))
    distinct = {id(own): own for own in kernels}
    macs = {key: sum(kernel.macs for kernel in own) for key, own in distinct.items()}
    moved = {key: sum(kernel.bytes_moved for kernel in own) for key, own in distinct.items()}
    found["macs"] = (macs[id(own)] for own in kernels)
    found["params"] = (part.graph.num_parameters for part in parts)
    found["bytes"] = (moved[id(own)] for own in kernels)
    return {name: np.array(list(values), dtype=np.float64) for name, values in found.items()}
