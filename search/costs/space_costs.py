"""What a space and its networks cost on a target. No device, no TVM.

Three views: ``CostTable``, the blocks that were measured, with how; ``network_graph``, the kernels of one
network, for a cost model; ``SpaceCosts``, everything that any network of a space costs, a million at a time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.memory import steps
from search.costs.objectives import OBJECTIVES
from search.errors import InvalidArchitecture
from search.resolution import Resolution
from search.spaces.camera import camera_network
from search.spaces.chain import ChainSpace
from search.spaces.space import Part

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel  # loads XGBoost


Array = npt.NDArray[np.float64]
Choices = npt.NDArray[np.integer]
_ROWS = 1 << 13  # architectures at a time: what is added up stays in the cache
_ENDS = ("latency", "latency_low", "latency_high")


@dataclass(frozen=True)
class SpaceCosts:
    """What every network of a space costs, as tables to look up and add: no loop over networks.

    Objectives are those of ``OBJECTIVES``; ``energy`` is there where the device's power is known. The tables
    are plain arrays, so that a supernet can multiply them by probabilities in its own framework.

    Attributes:
        space: whose networks they are.
        sources: who says so: ``measured``, ``predicted``, ``prior``, each with its share of the latency of
            networks whose candidates are all as likely.
    """

    space: ChainSpace
    sources: Mapping[str, float]
    _tables: Mapping[str, Array]
    _fixed: Mapping[str, float]
    _beyond_s: float  # of a network's latency, what is no sum over its parts
    _model: "CostModel"

    @staticmethod
    def of(
        model: "CostModel",
        space: ChainSpace,
        resolution: Resolution,
        num_classes: int = 19,
        *,
        power_w: float | None = None,
    ) -> "SpaceCosts":
        """Ask a target's cost model for every part of a space, once.

        Args:
            power_w: what the device draws while it works; see ``cost_models.network_models.energy``.

        Raises:
            MissingEntry: a kernel that was not measured, where there is neither predictor nor prior.
        """
        blocks = list(space.blocks(resolution))
        fixed = list(space.fixed_parts(resolution, num_classes))
        parts = [part for _, _, part in blocks] + fixed
        kernels = [split_into_kernels(part.graph, part.inputs) for part in parts]
        costs = _part_costs(model, parts, kernels)
        chances = [1 / len(space.positions[index].candidates) for index, _, _ in blocks] + [1.0] * len(fixed)
        places = tuple(np.array([(i, space.positions[i].candidates.index(name)) for i, name, _ in blocks]).T)
        widest = max(len(position.candidates) for position in space.positions)
        tables, rest = {}, {}
        for name, values in costs.items():
            tables[name] = np.full((len(space.positions), widest), np.nan)
            tables[name][places] = values[: len(blocks)]
            rest[name] = float(values[len(blocks) :].sum())
        beyond_s = float(model.whole(*(np.array([rest[end]]) for end in _ENDS))[0][0]) - rest["latency"]
        rest["latency"] += beyond_s
        tables["memory"], rest["memory"] = _memory(space, resolution, num_classes, widest)
        if power_w is not None:
            tables["energy"], rest["energy"] = tables["latency"] * power_w, rest["latency"] * power_w
        return SpaceCosts(space, _sources(model, kernels, chances), tables, rest, beyond_s, model)

    @property
    def candidates(self) -> list[tuple[str, ...]]:
        """Names by position, in the order of the tables' columns."""
        return [position.candidates for position in self.space.positions]

    @property
    def objectives(self) -> list[str]:
        """Those that are known."""
        return list(self._tables)

    def table(self, objective: str) -> Array:
        """Seconds, operations, values, bytes or joules of each candidate at each position.

        Shape (positions, most candidates at one); nan where a position offers fewer.
        """
        return self._tables[objective].copy()

    def fixed(self, objective: str) -> float:
        """What a network takes besides its blocks; of memory, the least that any takes."""
        return self._fixed[objective]

    def choices(self, networks: Sequence[Sequence[str]]) -> Choices:
        """Block names of networks as ``total`` takes them: columns of tables, shape (networks, positions).

        Raises:
            InvalidArchitecture, UnknownCandidate: blocks that the space does not offer.
        """
        names = self.candidates
        rows = [
            [own.index(name) for own, name in zip(names, self.space.check(n), strict=True)] for n in networks
        ]
        return np.array(rows, dtype=np.int64).reshape(len(networks), len(names))

    def total(self, choices: Choices, objectives: Collection[str] | None = None) -> dict[str, Array]:
        """Costs of networks, by objective, one value a network.

        Args:
            choices: whole numbers, shape (networks, positions): the column of each position's candidate.
            objectives: all when None.

        Raises:
            InvalidArchitecture: another shape or kind of numbers, or one that a position does not offer.
        """
        self._check(choices)
        wanted = self.objectives if objectives is None else objectives
        names = dict.fromkeys([*wanted, *(_ENDS if {*_ENDS[1:]} & {*wanted} else ())])
        totals = {name: np.full(len(choices), self._fixed[name]) for name in names}
        for start in range(0, len(choices), _ROWS):
            rows = slice(start, start + _ROWS)
            for position, column in enumerate(choices[rows].T.astype(np.intp)):
                for name in names:
                    join = np.maximum if OBJECTIVES[name].peak else np.add
                    some = totals[name][rows]
                    join(some, self._tables[name][position].take(column), out=some)
        self._widen(totals)
        return {name: totals[name] for name in wanted}

    def expected(self, probabilities: Sequence[Array]) -> dict[str, float]:
        """Mean costs of networks whose candidates are drawn independently; the interval is that of the mean.

        Args:
            probabilities: of the candidates, one array a position, in their order.
        """
        found: dict[str, Array] = {}
        for name, table in self._tables.items():
            rows = [row[: len(p)] for row, p in zip(table, probabilities, strict=True)]
            if OBJECTIVES[name].peak:
                found[name] = _expected_peak(rows, probabilities, self._fixed[name])
            else:
                parts = (row @ p for row, p in zip(rows, probabilities, strict=True))
                found[name] = self._fixed[name] + np.sum([*parts], keepdims=True)
        self._widen(found)
        return {name: float(values[0]) for name, values in found.items()}

    def _widen(self, totals: dict[str, Array]) -> None:
        """In place: ends of sums become those of whole networks, which ``CostModel.whole`` tells."""
        if "latency_low" in totals:
            parts_s = totals["latency"] - self._beyond_s
            ends = self._model.whole(parts_s, totals["latency_low"], totals["latency_high"])
            totals |= dict(zip(_ENDS, ends, strict=True))

    def _check(self, choices: Choices) -> None:
        counts = np.array([len(names) for names in self.candidates])
        whole = choices.ndim == 2 and choices.shape[1] == len(counts) and choices.dtype.kind in "iu"
        if whole and (
            not len(choices) or ((choices.min(axis=0) >= 0) & (choices.max(axis=0) < counts)).all()
        ):
            return
        raise InvalidArchitecture(
            f"space {self.space.name}: choices must be whole numbers of shape (networks, {len(counts)}), "
            f"from 0 to the last candidate of each position, at most {max(counts) - 1}; found "
            f"{choices.dtype} of shape {choices.shape}; SpaceCosts.choices makes them of block names"
        )


def _sources(
    model: "CostModel", parts: Sequence[Sequence[Kernel]], chances: Sequence[float]
) -> dict[str, float]:
    """Share of the kernels' time by source, in networks that have each part with that probability."""
    calls: dict[Kernel, float] = {}
    for kernels, chance in zip(parts, chances, strict=True):
        for kernel in kernels:
            calls[kernel] = calls.get(kernel, 0.0) + chance
    seconds: dict[str, float] = {}
    for cost, count in zip(model.estimates(list(calls)), calls.values(), strict=True):
        seconds[cost.source] = seconds.get(cost.source, 0.0) + count * cost.median_s
    return {source: value / sum(seconds.values()) for source, value in seconds.items()}


def _part_costs(
    model: "CostModel", parts: Sequence[Part], kernels: Sequence[Sequence[Kernel]]
) -> dict[str, Array]:
    """All that adds up, of every part."""
    found: dict[str, Iterable[float]] = dict(
        zip(_ENDS, zip(*model.pieces(kernels), strict=True), strict=True)
    )
    found["macs"] = (sum(kernel.macs for kernel in own) for own in kernels)
    found["params"] = (part.graph.num_parameters for part in parts)
    found["bytes"] = (sum(kernel.bytes_moved for kernel in own) for own in kernels)
    return {name: np.array(list(values), dtype=np.float64) for name, values in found.items()}


def _memory(space: ChainSpace, resolution: Resolution, num_classes: int, widest: int) -> tuple[Array, float]:
    """Peak while each candidate's block runs, other maps that wait included, and of all around the blocks.

    What waits beside a block depends on its position alone: so one network for every column of the table
    has them all. A kernel belongs to the block of the first layer that it computes.
    """
    table, around = np.full((len(space.positions), widest), np.nan), 0.0
    for position, row in zip(space.positions, table, strict=True):
        row[: len(position.candidates)] = 0.0  # the identity skip runs nothing
    for column in range(widest):
        blocks = [p.candidates[min(column, len(p.candidates) - 1)] for p in space.positions]
        network = camera_network(space.network(blocks, num_classes))
        for step in steps(network, {"frame": (1, *resolution, 3)}):
            first, *others = step.call.nodes[0].split(".")
            if first == "blocks":
                index = int(others[0])
                place = min(column, len(space.positions[index].candidates) - 1)
                table[index, place] = max(table[index, place], step.alive)
            else:
                around = max(around, step.alive)
    return table, float(around)


def _expected_peak(rows: Sequence[Array], probabilities: Sequence[Array], least: float) -> Array:
    """Mean of the largest of independent draws, one from each row, and of ``least``; of shape (1,)."""
    levels = np.unique(np.concatenate([[least], *(row[row > least] for row in rows)]))
    reached = [((row <= levels[:, None]) * p).sum(axis=1) for row, p in zip(rows, probabilities, strict=True)]
    below = np.prod(reached, axis=0)  # probability that a network needs at most that
    return np.array([levels[0] + np.sum(np.diff(levels) * (1 - below[:-1]))])
