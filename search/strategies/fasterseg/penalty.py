"""What FasterSeg's search pays for latency: each kind of decision for itself, steered around a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from search.strategies.fasterseg.latency import Chances, GridLatency, Kind

SHARES: Mapping[Kind, float] = {"operation": 1.0, "path": 497.0, "width": 2.0}
"""The authors'; the paper says: inverse to how much the latency answers to each kind."""
TOO_FAST, TOO_SLOW = 0.94, 1.06  # of the budget: 175 and 155 frames a second around 165


def per_ms(shares: Mapping[Kind, float]) -> dict[Kind, float]:
    """What a millisecond of each kind costs, times the weight: the mean of the milliseconds is paid for."""
    total = sum(shares.values())
    return {kind: share / total for kind, share in shares.items()}


def own_per_ms(latency: GridLatency) -> dict[Kind, float]:
    """By the paper's rule, of the latency at hand: each kind costs 1 from its cheapest to its dearest.

    So a weight means the same on every device. A kind that the latency does not answer to costs nothing.
    """
    return {kind: 1e-3 / own_s if own_s > 0 else 0.0 for kind, own_s in latency.sensitivity_s().items()}


class DecoupledPenalty:
    """``weight`` times what the grid is expected to take.

    That is a sum of three: in each, one kind of decision is as it was learned, the others are all alike,
    and maps are of full width where widths are not what it is about. So no kind outweighs the others by how
    much the latency answers to it.

    Args:
        prices: of a millisecond of each kind, see ``per_ms`` and ``own_per_ms``.

    Attributes:
        weight: at present.
    """

    def __init__(
        self,
        latency: GridLatency,
        budget_s: float,
        *,
        weight: float,
        prices: Mapping[Kind, float],
        device: torch.device | None = None,
    ) -> None:
        grid = latency.grid
        self.weight, self._budget_s, self._prices = weight, budget_s, prices
        self._latency = latency.on(device)
        alike = Chances.uniform(grid)
        widest = alike.with_width(grid, grid.widths[-1])
        self._alike, self._widest = alike.on(device), widest.on(device)

    def __call__(self, chances: Chances) -> Tensor:
        """Scalar, differentiable in the chances; those of widths are rows that were drawn, a 1 in each."""
        return self.weight * sum(
            (price * self.milliseconds(kind, chances) for kind, price in self._prices.items()),
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
