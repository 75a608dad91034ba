"""What a search after GAS pays for latency: its logarithm, by a fixed weight or one that meets a budget."""

import math

import torch
from torch import Tensor

from search.errors import InvalidSearch
from search.strategies.gas.latency import EdgeLatency
from search.strategies.penalties.budget_controller import BudgetController

BETA = 0.005
"""As remembered of the paper: a pure number, since a logarithm's gradient knows no unit."""


class LogPenalty:
    """``beta * log(latency)``; d / d weight = beta * price / latency, in whatever unit.

    With a budget beta is adapted after every step, as ``BudgetController`` does with its weight, of the
    expected latency of networks; it may become negative, to use what is left.

    Args:
        latency: of what is mixed.
        beta: at first.
        budget_s: of a network, or None.

    Raises InvalidSearch: beta is negative or no number.
    """

    def __init__(
        self,
        latency: EdgeLatency,
        beta: float = BETA,
        budget_s: float | None = None,
        device: torch.device | None = None,
    ) -> None:
        if not (math.isfinite(beta) and beta >= 0):
            raise InvalidSearch(
                f"beta is {beta:g}, allowed: 0 or more; below 0 a search would pay for slowness"
            )
        self._latency, self._beta = latency.on(device), beta
        self.controller = BudgetController(budget_s, beta) if budget_s else None
        self._networks = 1.0  # latency of networks over that of the mixture, at the last step

    @property
    def beta(self) -> float:
        """At present."""
        return self.controller.resource_weight if self.controller else self._beta

    def __call__(self, weights: Tensor) -> Tensor:
        """Scalar, differentiable in the weights (cells, edges, operations).

        Raises InvalidSearch: the mixture takes no time at all.
        """
        latency_s = self.latency_s(weights)
        loss = self.beta * latency_s.log()
        if self.controller:
            excess = latency_s * (self._networks / self.controller.budget) - 1
            loss = loss + self.controller.stiffness / 2 * excess**2
        return loss

    def latency_s(self, weights: Tensor) -> Tensor:
        """Of the mixture; more than 0, or InvalidSearch."""
        latency_s: Tensor = self._latency.expected(weights)
        if not float(latency_s.detach()) > 0:
            raise InvalidSearch(
                "the mixture takes 0 s, whose logarithm a search cannot pay for: every edge is a zero, and "
                "what is fixed has no price"
            )
        return latency_s

    @torch.no_grad()
    def update(self, weights: Tensor, networks_s: float) -> None:
        """After a step: how long networks of the distribution ``weights`` are expected to take."""
        if self.controller:
            self._networks = networks_s / float(self.latency_s(weights))
            self.controller.update(networks_s)

    def state(self) -> tuple[float, float]:
        """What a resumed search needs: beta and how networks compare with the mixture."""
        return self.beta, self._networks

    def restore(self, state: tuple[float, float]) -> None:
        """What ``state`` gave."""
        beta, self._networks = state
        if self.controller:
            self.controller.resource_weight = beta
