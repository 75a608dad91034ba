"""Losses of heat maps, the same for a batch as for its parts on several processes."""

import torch
from torch import Tensor

from search.parallel.ranks import Ranks


class HeatMapLoss:
    """See ``search.tasks.pose_recipe.HeatMaps``.

    Call it with heat maps (N, points, h, w), and truth (N, points + 1, 3) as ``search.data.key_points`` has
    it; returns a scalar. Its mean over the processes is the loss of the whole batch. 0 without any point.
    """

    def __init__(self, sigma: float = 2.0, weight: float = 1.0, ranks: Ranks | None = None) -> None:
        self._sigma, self._weight, self._ranks = sigma, weight, ranks

    def __call__(self, last: Tensor, truth: Tensor) -> Tensor:
        wanted = heat_maps(truth, (last.shape[2], last.shape[3]), self._sigma)
        there = (truth[:, :-1, 2] > 0).to(last.dtype)
        total = ((last - wanted.to(last)).square().mean((2, 3)) * there).sum()
        count = there.sum()
        count = self._ranks.mean(count) if self._ranks else count
        return 0.5 * self._weight * total / torch.where(count > 0, count, torch.ones_like(count))


def heat_maps(truth: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Gaussians around key points on maps (N, points, h, w); the height of each is 1.

    Args:
        truth: (N, points + 1, 3), see ``search.data.key_points``; its pictures are as large as maps reach.
        size: height and width of a map.
        sigma: pixels of the map.
    """
    height, width = size
    points, picture = truth[:, :-1], truth[:, -1:, 1:]
    down, across = (
        torch.exp(-(_steps(side, truth) - place[..., None]).square() / (2 * sigma**2))
        for side, place in (
            (height, (points[..., 1] + 0.5) * height / picture[..., 0] - 0.5),
            (width, (points[..., 0] + 0.5) * width / picture[..., 1] - 0.5),
        )
    )
    return down[..., :, None] * across[..., None, :]


def heat_map_distance(last: Tensor, taught: Tensor, weight: float) -> Tensor:
    """Half the mean squared difference of two networks' heat maps, times a weight."""
    return 0.5 * weight * (last - taught).square().mean()


def _steps(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device, dtype=like.dtype)
