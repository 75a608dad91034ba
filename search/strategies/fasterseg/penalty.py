"""What FasterSeg's search pays for latency: each kind of decision for itself, steered around a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from search.strategies.fasterseg.latency import Chances, GridLatency, Kind

SHARES: Mapping[Kind, float] = {"operation": 1.0, "path": 497.0, "width": 2.0}
"""The authors'; the paper says: inverse to how much the latency answers to each kind."""
TOO_FAST, TOO_SLOW = 0.94, 1.06  # of the budget: 175 and 155 frames a second around 165


def own_shares(latency: GridLatency) -> dict[Kind, float]:
    """By that rule, of the latency at hand; they add up to 1. A kind that it does not answer to has none."""
    inverse = {kind: 1 / own_s if own_s > 0 else 0.0 for kind, own_s in latency.sensitivity_s().items()}
    total = sum(inverse.values())
    return {kind: share / total for kind, share in inverse.items()}


class DecoupledPenalty:
    """``weight`` times the milliseconds that the grid is expected to take.

    They are a mean of three: in each, one kind of decision is as it was learned, the others are all alike,
    and maps are of full width where widths are not what it is about. So no kind outweighs the others by how
    much the latency answers to it.

    Attributes:
        weight: at present.
    """

    def __init__(
        self,
        latency: GridLatency,
        budget_s: float,
        *,
        weight: float = 0.01,
        shares: Mapping[Kind, float] = SHARES,
        device: torch.device | None = None,
    ) -> None:
        grid = latency.grid
        self.weight, self._budget_s, self._shares = weight, budget_s, shares
        self._latency = latency.on(device)
        alike = Chances.uniform(grid)
        widest = alike.with_width(grid, grid.widths[-1])
        self._alike, self._widest = alike.on(device), widest.on(device)

    def __call__(self, chances: Chances) -> Tensor:
        """Scalar, differentiable in the chances; those of widths are rows that were drawn, a 1 in each."""
        total = sum(self._shares.values())
        return self.weight * sum(
            (share / total * self.milliseconds(kind, chances) for kind, share in self._shares.items()),
            torch.zeros((), device=chances.alpha[0].device),
        )

    def milliseconds(self, kind: Kind, chances: Chances) -> Tensor:
        """Expected of the grid where one kind of decision is as these chances have it."""
        if kind == "operation":
            asked = replace(self._widest, alpha=chances.alpha)
        elif kind == "path":
            asked = replace(self._widest, beta=chances.beta)
        else:
            asked = replace(self._alike, ratio=chances.ratio)
        first, second, third = self._latency.expected(asked)
        milliseconds: Tensor = 1e3 * (first + second + third)
        return milliseconds

    def steer(self, pairs_s: Sequence[float]) -> None:
        """After an epoch, by what the networks of both pairs of branches would take, in seconds.

        The weight is halved if one of them is well below the budget, else doubled if one is well above.
        """
        if min(pairs_s) <= TOO_FAST * self._budget_s:
            self.weight /= 2
        elif max(pairs_s) >= TOO_SLOW * self._budget_s:
            self.weight *= 2
