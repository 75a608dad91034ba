"""Expected costs of a distribution over networks, differentiable: marginals of parts times their prices."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from search.costs.objectives import OBJECTIVES
from search.costs.space_costs import SpaceCosts


class Penalty(Protocol):
    """What a search pays for costs, as a part of its loss."""

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Scalar, differentiable in the probabilities of each decision's options."""

    def update(self, probabilities: Mapping[str, Tensor]) -> None:
        """After a step, with what it left."""


class ExpectedCosts:
    """Mean costs of a distribution over networks, from a ``SpaceCosts``; of ``names``.

    Of a peak, the largest of the means of slots: what is differentiable, and little below the mean of the
    largest.
    """

    def __init__(self, costs: SpaceCosts, names: Sequence[str], device: torch.device | None = None) -> None:
        self.names, self._space = tuple(names), costs.space
        prices = {name: costs.prices(name) for name in names}
        self._prices = {n: torch.tensor(p, dtype=torch.float32, device=device) for n, p in prices.items()}
        self._beyond = {name: costs.beyond(name) for name in names}
        self._parts = [part.name for part in costs.parts]
        slots = [part.slot or part.name for part in costs.parts]
        order = {slot: index for index, slot in enumerate(dict.fromkeys(slots))}
        self._slots = torch.tensor([order[slot] for slot in slots], device=device)
        self._count = len(order)

    def __call__(self, name: str, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Expected cost ``name``, a scalar; see ``all``."""
        return self._one(name, self._runs(probabilities))

    def all(self, probabilities: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Expected costs by name.

        Args:
            probabilities: of each decision's options, (options,), or mean weights of a batch.
        """
        runs = self._runs(probabilities)
        return {name: self._one(name, runs) for name in self.names}

    def _runs(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """How often each part runs, (parts,)."""
        marginals = self._space.marginals(probabilities)
        always = torch.ones_like(next(iter(marginals.values())))
        return torch.stack([marginals.get(part, always) for part in self._parts])

    def _one(self, name: str, runs: Tensor) -> Tensor:
        spent = runs * self._prices[name]
        if OBJECTIVES[name].peak:
            return spent.new_zeros(self._count).index_add(0, self._slots, spent).max()
        return spent.sum() + self._beyond[name]
