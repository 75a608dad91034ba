"""Costs of chains as tables to look up and add: a million networks at a time, no loop over them."""

import hashlib
from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cost_models.cost_model import CostModel
from search.costs.objectives import OBJECTIVES
from search.costs.space_costs import ROWS, Array, SpaceCosts
from search.errors import InvalidArchitecture
from search.resolution import Resolution
from search.spaces.chain import ChainSpace
from search.spaces.space import Genotype, Head, SearchSpace

Choices = npt.NDArray[np.integer]


class ChainCosts(SpaceCosts):
    """The fast path of ``SpaceCosts`` where each part belongs to one option of one decision."""

    space: ChainSpace

    @property
    def candidates(self) -> list[tuple[str, ...]]:
        """Names by position, in the order of the tables' columns."""
        return [position.candidates for position in self.space.positions]

    def table(self, objective: str) -> Array:
        """Seconds, operations, values, bytes or joules of each candidate at each position.

        Shape (positions, most candidates at one); nan where a position offers fewer.
        """
        return self._tables[objective].copy()

    def fixed(self, objective: str) -> float:
        """What a network takes besides its blocks; of memory, the least that any takes."""
        return self._fixed[objective]

    def digest(self) -> str:
        """Of the tables that a search pays for; as 0.1 told it, so that its searches can be gone on with."""
        tables = (self.table(name).tobytes() for name in ("latency", "macs", "params", "memory", "bytes"))
        return hashlib.sha256(b"".join(tables)).hexdigest()[:16]

    @cached_property
    def _tables(self) -> dict[str, Array]:
        names, widest = self.candidates, max(map(len, self.candidates))
        places = {
            f"{decision.name}.{name}": (row, column)
            for row, decision in enumerate(self.space.decisions)
            for column, name in enumerate(decision.options)
        }
        tables = {name: np.full((len(names), widest), np.nan) for name in self._prices}
        for index, part in enumerate(self.parts):
            if part.slot:
                for name, table in tables.items():
                    table[places[part.name]] = self._prices[name][index]
        return tables

    @cached_property
    def _fixed(self) -> dict[str, float]:
        always = np.array([not part.slot for part in self.parts])
        return {
            name: float(prices[always].max() if OBJECTIVES[name].peak else prices[always].sum())
            + self.beyond(name)
            for name, prices in self._prices.items()
        }

    def choices(self, networks: Sequence[Sequence[str]]) -> Choices:
        """Block names of networks as ``total`` takes them: columns of tables, shape (networks, positions).

        Raises:
            InvalidArchitecture, UnknownCandidate: blocks that the space does not offer.
        """
        names = self.candidates
        blocks = [self.space.short_form(self.space.from_short_form(network)) for network in networks]
        rows = [[own.index(name) for own, name in zip(names, row, strict=True)] for row in blocks]
        return np.array(rows, dtype=np.int64).reshape(len(networks), len(names))

    def cost(
        self, genotypes: Sequence[Genotype], objectives: Collection[str] | None = None
    ) -> dict[str, Array]:
        """As ``SpaceCosts.cost``."""
        blocks = [self.space.short_form(self.space.check(genotype)) for genotype in genotypes]
        return self.total(self.choices(blocks), objectives)

    def total(self, choices: Choices, objectives: Collection[str] | None = None) -> dict[str, Array]:
        """Costs of networks, by objective, one value a network.

        Args:
            choices: whole numbers, shape (networks, positions): the column of each position's candidate.
            objectives: all when None.

        Raises:
            InvalidArchitecture: another shape or kind of numbers, or one that a position does not offer.
        """
        self._check(choices)
        wanted = self.objectives if objectives is None else list(objectives)
        totals = {name: np.full(len(choices), self._fixed[name]) for name in self._with_ends(wanted)}
        for start in range(0, len(choices), ROWS):
            rows = slice(start, start + ROWS)
            for position, column in enumerate(choices[rows].T.astype(np.intp)):
                for name, total in totals.items():
                    join = np.maximum if OBJECTIVES[name].peak else np.add
                    join(total[rows], self._tables[name][position].take(column), out=total[rows])
        self._widen(totals)
        return {name: totals[name] for name in wanted}

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
            f"{choices.dtype} of shape {choices.shape}; ChainCosts.choices makes them of block names"
        )


def space_costs(
    model: CostModel,
    space: SearchSpace,
    resolution: Resolution,
    head: Head,
    *,
    power_w: float | None = None,
) -> SpaceCosts:
    """``SpaceCosts.of``, in the form that is fastest for the space."""
    kind = ChainCosts if isinstance(space, ChainSpace) else SpaceCosts
    return kind.of(model, space, resolution, head, power_w=power_w)
