"""Losses of depth, the same for a batch as for its parts on several processes."""

import torch
from torch import Tensor

from search.data.truth import NO_DEPTH
from search.errors import InvalidData, InvalidRecipe
from search.parallel.ranks import Ranks
from search.tasks.depth_recipe import L1, BerHu


class DepthLoss:
    """Mean over all pixels of a distance in metres, which is 0 where nobody measured.

    Call it with last maps (N, 1, H, W) and metres (N, H, W), float32, 0 where nobody measured; returns a
    scalar. Its mean over the processes is the loss of the whole batch, and so is that of its gradients.

    Args:
        settings: ``BerHu`` or ``L1``.
        ranks: processes that have parts of each batch, equally large ones.

    Raises InvalidRecipe for other settings.
    """

    def __init__(self, settings: BerHu | L1, ranks: Ranks) -> None:
        if not isinstance(settings, BerHu | L1):
            raise InvalidRecipe(f"loss: found {settings.kind}; allowed for depth: berhu, l1")
        self._share = settings.share if isinstance(settings, BerHu) else None
        self._ranks = ranks

    def __call__(self, last: Tensor, truth: Tensor) -> Tensor:
        """Raises InvalidData for truth that is no metres a pixel."""
        found = positive(last)
        if found.shape != truth.shape or not truth.is_floating_point():
            raise InvalidData(
                f"frames are labelled with {truth.dtype} of {tuple(truth.shape)}; allowed for depth: metres, "
                f"a number a pixel of {tuple(found.shape)}"
            )
        distance = torch.where(truth > NO_DEPTH, (found - truth).abs(), torch.zeros_like(found))
        if self._share is None:
            return distance.mean()
        limit = self._share * self._ranks.largest(distance.max())
        safe = torch.where(limit > 0, limit, torch.ones_like(limit))
        return torch.where(
            distance <= limit, distance, (distance.square() + safe.square()) / (2 * safe)
        ).mean()


def positive(last: Tensor) -> Tensor:
    """Metres (N, H, W) of a last map (N, 1, H, W), 0 where it has less."""
    return last[:, 0].relu()
