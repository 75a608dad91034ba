"""Expected cost of a distribution over architectures, differentiable, and the loss made of it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from search.costs.objectives import OBJECTIVES
from search.costs.space_costs import SpaceCosts
from search.problem.goal import Budget, Mix
from search.strategies.penalties.budget_controller import BudgetController


class ExpectedCosts:
    """Mean costs of a distribution over architectures, from a ``SpaceCosts``; of ``names``.

    Of a peak, the largest of the means: what is differentiable, and little below the mean of the largest.
    """

    def __init__(self, costs: SpaceCosts, names: Sequence[str], device: torch.device | None = None) -> None:
        self.names = tuple(names)
        self._full = {name: costs.table(name) for name in names}
        self._columns = costs.candidates
        self._fixed = {name: costs.fixed(name) for name in names}
        self._device = device
        self.narrow(self._columns)

    def narrow(self, candidates: Sequence[Sequence[str]]) -> None:
        """Keep these candidates of each position, in this order."""
        self._tables: dict[str, list[Tensor]] = {}
        for name, full in self._full.items():
            rows = zip(full, self._columns, candidates, strict=True)
            self._tables[name] = [
                torch.tensor([row[known.index(c)] for c in left], dtype=torch.float32, device=self._device)
                for row, known, left in rows
            ]

    def __call__(self, name: str, probabilities: Sequence[Tensor]) -> Tensor:
        """Expected cost ``name``: probabilities (candidates) a position, or the mean weights of a batch."""
        parts = [p @ row for p, row in zip(probabilities, self._tables[name], strict=True)]
        if OBJECTIVES[name].peak:
            return torch.stack([*parts, torch.full_like(parts[0], self._fixed[name])]).max()
        return torch.stack(parts).sum() + self._fixed[name]

    def range(self, name: str) -> tuple[float, float]:
        """Of the cheapest and the dearest network."""
        ends = []
        for end in (torch.min, torch.max):
            parts = [float(end(row)) for row in self._tables[name]]
            ends.append(
                max(*parts, self._fixed[name]) if OBJECTIVES[name].peak else sum(parts) + self._fixed[name]
            )
        return ends[0], ends[1]


class ResourceLoss:
    """``alpha * mix`` of expected costs, and what holds a budget.

    The mix counts each cost as a share of the mean network's of the space, so that alpha means the same
    on every device.
    """

    def __init__(
        self,
        costs: ExpectedCosts,
        mix: Mix,
        mean: Mapping[str, float],
        *,
        alpha: float,
        budget: Budget | None,
    ) -> None:
        self._costs, self._mix, self._mean, self._alpha = costs, mix, mean, alpha
        self.budget = budget
        self.controller = BudgetController(budget.value, alpha) if budget else None

    @property
    def alpha(self) -> float:
        """At present: as given, or as the controller has it."""
        return self.controller.alpha if self.controller else self._alpha

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Scalar, differentiable in the probabilities."""
        shares = self._mix.weights.items()
        mix = sum(weight * self._costs(name, probabilities) / self._mean[name] for name, weight in shares)
        loss = self.alpha * torch.as_tensor(mix)
        if self.controller and self.budget:
            excess = self._costs(self.budget.name, probabilities) / self.budget.value - 1
            loss = loss + self.controller.stiffness / 2 * excess**2
        return loss

    @torch.no_grad()
    def update(self, probabilities: Sequence[Tensor]) -> None:
        """After a step: the controller looks at what the distribution costs now."""
        if self.controller and self.budget:
            self.controller.update(float(self._costs(self.budget.name, probabilities)))
