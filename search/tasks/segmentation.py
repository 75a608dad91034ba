"""Semantic segmentation: a class for every pixel."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from search.data.frames import Data, Frames
from search.errors import InvalidData
from search.parallel.ranks import Ranks
from search.spaces.camera import segmentation_head
from search.spaces.space import Head
from search.tasks.segmentation_losses import SegmentationLoss, make_loss, teacher_divergence
from search.tasks.segmentation_metrics import (
    combined_accuracy,
    confusion_matrix,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)
from search.tasks.task import Scores, Task, nearest
from search.tasks.words import WORDS

_WORDS = WORDS["segmentation"]


class SegmentationMeter:
    """A confusion matrix, (classes, classes), and what is read off it.

    Args:
        class_names: in the order of the class indices.
    """

    def __init__(self, class_names: list[str]) -> None:
        self._names = class_names
        self.counts = np.zeros((len(class_names), len(class_names)), np.int64)

    def add(self, predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
        """Class indices of the same shape; truth also ``IGNORE``. Raises ValueError for others."""
        self.counts += confusion_matrix(truth, predicted, len(self._names))

    def merge(self, ranks: Ranks) -> None:
        """Add up the counts of all processes."""
        self.counts = ranks.sum(torch.from_numpy(self.counts).to(ranks.device)).cpu().numpy()

    def scores(self) -> Scores:
        """Of all classes together, in percent."""
        if not self.counts.sum():
            return dict.fromkeys(Segmentation.columns)
        return {
            "miou_percent": 100 * mean_iou(self.counts),
            "pixel_accuracy_percent": 100 * pixel_accuracy(self.counts),
        }

    def details(self) -> dict[str, dict[str, float | None]]:
        """Of each class by its name; None for those that do not occur."""
        ious = iou_per_class(self.counts)
        known = (None if np.isnan(iou) else 100 * float(iou) for iou in ious)
        return {"iou_percent": dict(zip(self._names, known, strict=True))}


class Segmentation:
    """See ``Task``."""

    name = "segmentation"
    columns: tuple[str, ...] = tuple(column.name for column in _WORDS.columns)
    primary, title, unit = _WORDS.primary.name, _WORDS.primary.title, _WORDS.primary.unit

    def head(self, data: Data) -> Head:
        """Logits of the data's classes, deployed as the index of the largest."""
        return segmentation_head(data.num_classes)

    def loss(self, settings: Any, frames: Frames, outputs: int, ranks: Ranks) -> SegmentationLoss:
        """Cross-entropy, over all pixels or hard ones."""
        return make_loss(settings, frames, outputs, ranks)

    def distance(self, last: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """Kullback-Leibler divergence of the classes' probabilities."""
        return teacher_divergence(last, taught, temperature)

    def truth_at(self, truth: Tensor, size: tuple[int, int]) -> Tensor:
        """Of each pixel that of the nearest."""
        return nearest(truth, size)

    def predict(self, last: Tensor, size: tuple[int, int]) -> Tensor:
        """Class indices (N, h, w); each pixel takes that of the nearest, as a deployed network does it."""
        classes = last.argmax(1)
        if tuple(classes.shape[-2:]) == size:
            return classes
        resized = functional.interpolate(classes[:, None].float(), size=size, mode="nearest-exact")
        return resized[:, 0].long()

    def meter(self, data: Data) -> SegmentationMeter:
        """Counts pixels by class."""
        return SegmentationMeter(data.class_names)

    def reward(self, scores: Mapping[str, float | None]) -> float:
        """Mean IoU, 0..1. Raises InvalidData where no pixel was scored."""
        found = scores[self.primary]
        if found is None:
            raise InvalidData("nothing to score: no pixel of the validation frames is labelled")
        return found / 100

    def score_of(self, reward: float) -> float:
        """In percent."""
        return _WORDS.of_reward(reward)

    def shown(self, reward: float) -> str:
        """In percent."""
        return f"{self.title} {self.score_of(reward):.1f} %"

    @property
    def rewards(self) -> Mapping[str, Task]:
        """``combined``: see ``combined_accuracy``."""
        return {"combined": CombinedSegmentation()}


class CombinedMeter(SegmentationMeter):
    """Scores of ``CombinedSegmentation``."""

    def scores(self) -> Scores:
        """Those of segmentation, and the combined one in percent."""
        found = super().scores()
        some = bool(self.counts.sum())
        return {**found, CombinedSegmentation.primary: 100 * combined_accuracy(self.counts) if some else None}


class CombinedSegmentation(Segmentation):
    """Segmentation whose networks are compared by what rare classes, frequent ones and all have in common."""

    primary, title = "combined_percent", "combined accuracy"
    columns = (*Segmentation.columns, primary)

    def meter(self, data: Data) -> CombinedMeter:
        """Counts pixels by class."""
        return CombinedMeter(data.class_names)
