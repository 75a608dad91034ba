"""How what a network gives is compared with the truth, by task. No PyTorch: TVM must not meet it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from search.data import Data
from search.data.frames import Size
from search.tasks.depth_metrics import DepthErrors
from search.tasks.pose_metrics import PointCounts
from search.tasks.segmentation_metrics import (
    Counts,
    confusion_matrix,
    iou_per_category,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)
from squeezenas_tvm.bundles.images import resize_nearest
from squeezenas_tvm.bundles.key_points import to_size
from squeezenas_tvm.bundles.values import resize_metres

Array = npt.NDArray[Any]
Scores = Mapping[str, float | None]


class Counter(Protocol):
    """Takes frame by frame in."""

    def add(self, truth: Array, given: Array) -> None:
        """A frame's truth, and what a network gives at its size."""

    def scores(self) -> Scores:
        """By the names of ``search.tasks.words``; None where nothing counted."""

    def details(self) -> Mapping[str, Scores]:
        """What scores are made of."""


class _Classes:
    """Pixels by class."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._counts: Counts = np.zeros((data.num_classes, data.num_classes), dtype=np.int64)

    def add(self, truth: Array, given: Array) -> None:
        self._counts = self._counts + confusion_matrix(truth, given, self._data.num_classes)

    def scores(self) -> Scores:
        """Those of categories where the data has such."""
        found = {
            "miou_percent": _percent(mean_iou(self._counts)),
            "pixel_accuracy_percent": _percent(pixel_accuracy(self._counts)),
        }
        if self._data.categories:
            known = [iou for iou in self._by_category().values() if iou == iou]
            found["category_miou_percent"] = _percent(sum(known) / len(known)) if known else None
        return found

    def details(self) -> Mapping[str, Scores]:
        """IoU by class, and by category where the data has such; None for those that do not occur."""
        ious = zip(self._data.class_names, iou_per_class(self._counts).tolist(), strict=True)
        found = {"iou_percent": {name: _percent(iou) for name, iou in ious}}
        if self._data.categories:
            by_category = self._by_category()
            found["category_iou_percent"] = {name: _percent(iou) for name, iou in by_category.items()}
        return found

    def _by_category(self) -> Mapping[str, float]:
        return iou_per_category(self._counts, self._data.categories)


class _Depths:
    """Errors in metres."""

    def __init__(self, data: Data) -> None:
        self._errors = DepthErrors()

    def add(self, truth: Array, given: Array) -> None:
        self._errors.add(truth, given)

    def scores(self) -> Scores:
        return self._errors.scores()

    def details(self) -> Mapping[str, Scores]:
        return {}


class _Points:
    """Right key points."""

    def __init__(self, data: Data) -> None:
        self._counts = PointCounts(data.tells, getattr(data.truth, "unscored", ()))

    def add(self, truth: Array, given: Array) -> None:
        self._counts.add(truth[None], given[None])

    def scores(self) -> Scores:
        return self._counts.scores()

    def details(self) -> Mapping[str, Scores]:
        return self._counts.details()


@dataclass(frozen=True)
class Counting:
    """Of a task.

    Attributes:
        counter: one that has seen nothing, for a data set.
        resized: what a network gives for a frame of one size, for it at another.
    """

    counter: Callable[[Data], Counter]
    resized: Callable[[Array, Size, Size], Array]


COUNTING: Mapping[str, Counting] = {
    "segmentation": Counting(_Classes, lambda given, before, after: resize_nearest(given, *after)),
    "depth": Counting(_Depths, lambda given, before, after: resize_metres(given, *after)),
    "pose": Counting(_Points, to_size),
}


def _percent(share: float) -> float | None:
    return None if share != share else 100 * share
