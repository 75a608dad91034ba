"""A weighted cost that meets a budget: SqueezeNAS's resource loss, with its weight adapted."""

from collections.abc import Mapping

import torch
from torch import Tensor

from search.problem.goal import Budget, Mix
from search.strategies.penalties.budget_controller import BudgetController
from search.strategies.penalties.expected_costs import ExpectedCosts


class BudgetPenalty:
    """``resource_weight * mix`` of expected costs, and what holds a budget.

    The mix counts each cost as a share of the mean network's of the space, so that the weight means the same
    on every device.
    """

    def __init__(
        self,
        costs: ExpectedCosts,
        mix: Mix,
        mean: Mapping[str, float],
        *,
        resource_weight: float,
        budget: Budget | None,
    ) -> None:
        self._costs, self._mix, self._mean, self._weight = costs, mix, mean, resource_weight
        self.budget = budget
        self.controller = BudgetController(budget.value, resource_weight) if budget else None

    @property
    def resource_weight(self) -> float:
        """At present: as given, or as the controller has it."""
        return self.controller.resource_weight if self.controller else self._weight

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Scalar, differentiable in the probabilities."""
        costs = self._costs.all(probabilities)
        mix = sum(weight * costs[name] / self._mean[name] for name, weight in self._mix.weights.items())
        loss = self.resource_weight * torch.as_tensor(mix)
        if self.controller and self.budget:
            excess = costs[self.budget.name] / self.budget.value - 1
            loss = loss + self.controller.stiffness / 2 * excess**2
        return loss

    @torch.no_grad()
    def update(self, probabilities: Mapping[str, Tensor]) -> None:
        """After a step: the controller looks at what the distribution costs now."""
        if self.controller and self.budget:
            self.controller.update(float(self._costs(self.budget.name, probabilities)))
