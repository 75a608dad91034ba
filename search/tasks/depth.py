"""Depth: how many metres away what a pixel shows is."""

import math
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from search.data.frames import Data, Frames
from search.errors import InvalidData
from search.parallel.ranks import Ranks
from search.spaces.camera import depth_head
from search.spaces.space import Head
from search.tasks.depth_losses import DepthLoss, positive
from search.tasks.depth_metrics import DepthErrors
from search.tasks.task import Scores, nearest
from search.tasks.words import WORDS, reward_of_error

_WORDS = WORDS["depth"]


class DepthMeter:
    """Sums of ``DepthErrors`` over frames and processes."""

    def __init__(self) -> None:
        self._errors = DepthErrors()

    def add(self, predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
        """Metres (..., H, W) of one shape; see ``DepthErrors.add``."""
        self._errors.add(truth, predicted)

    def merge(self, ranks: Ranks) -> None:
        """Add up the sums of all processes."""
        sums = torch.from_numpy(self._errors.sums).to(ranks.device)
        self._errors.sums = ranks.sum(sums).cpu().numpy()

    def scores(self) -> Scores:
        """Over all measured pixels."""
        return dict(self._errors.scores())

    def details(self) -> dict[str, dict[str, float | None]]:
        """Nothing beside the scores."""
        return {}


class Depth:
    """See ``Task``. A network's last map is metres; what it gives below 0 is 0."""

    name = "depth"
    columns = tuple(column.name for column in _WORDS.columns)
    primary, title, unit = _WORDS.primary.name, _WORDS.primary.title, _WORDS.primary.unit

    def head(self, data: Data) -> Head:
        """One map of metres, deployed at the frame's size."""
        return depth_head()

    def loss(self, settings: Any, frames: Frames, outputs: int, ranks: Ranks) -> DepthLoss:
        """Inverse Huber, or the plain distance."""
        return DepthLoss(settings, ranks)

    def distance(self, last: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Mean distance, metres. Raises ValueError for another temperature than 1: metres have none."""
        if temperature != 1:
            raise ValueError(f"temperature {temperature}: metres have none, it must be 1")
        return functional.l1_loss(positive(last), positive(taught))

    def truth_at(self, truth: Tensor, size: tuple[int, int]) -> Tensor:
        """Of each pixel that of the nearest: what was not measured mixes with nothing."""
        return nearest(truth, size)

    def predict(self, last: Tensor, size: tuple[int, int]) -> Tensor:
        """Metres (N, h, w), bilinear where the size is another, as a deployed network's are resized."""
        metres = positive(last)
        if tuple(metres.shape[-2:]) == size:
            return metres
        resized = functional.interpolate(metres[:, None], size=size, mode="bilinear", align_corners=False)
        return resized[:, 0]

    def meter(self, data: Data) -> DepthMeter:
        """Sums up errors."""
        return DepthMeter()

    def reward(self, scores: Mapping[str, float | None]) -> float:
        """1 / (1 + RMSE in metres); 0 where that is no number. Raises InvalidData where nothing counts."""
        found = scores[self.primary]
        if found is None:
            raise InvalidData("nothing to score: no pixel of the validation frames has a depth")
        return reward_of_error(found) if math.isfinite(found) else 0.0

    def score_of(self, reward: float) -> float:
        """RMSE in metres."""
        return _WORDS.of_reward(reward)

    def shown(self, reward: float) -> str:
        """``RMSE 0.523 m``."""
        return _WORDS.primary.text(self.score_of(reward))
