"""How right a segmentation is: counts of pixels, and what is read off them. No PyTorch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from search.data.classes import IGNORE

Counts = npt.NDArray[np.int64]


def confusion_matrix(labels: npt.ArrayLike, predicted: npt.ArrayLike, num_classes: int) -> Counts:
    """Pixels of class i (row) that were given class j (column); matrices of several frames add up.

    Args:
        labels, predicted: integer class indices of one shape. Pixels labelled ``IGNORE`` are left out.

    Returns (num_classes, num_classes). Raises ValueError for differing shapes and other indices.
    """
    truth, given = np.asarray(labels), np.asarray(predicted)
    if truth.shape != given.shape:
        raise ValueError(f"labels are {truth.shape}, predictions {given.shape}: they must be of one shape")
    scored = truth != IGNORE
    truth, given = truth[scored].astype(np.int64), given[scored].astype(np.int64)
    for name, values in (("label", truth), ("prediction", given)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            wrong = values[(values < 0) | (values >= num_classes)][0]
            raise ValueError(f"{name} {wrong}: must be 0 to {num_classes - 1}")
    pairs = np.bincount(truth * num_classes + given, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def pixel_accuracy(confusion: Counts) -> float:
    """Share of scored pixels that have the right class; nan when none is scored."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def iou_per_class(confusion: Counts) -> npt.NDArray[np.float64]:
    """Intersection over union, (num_classes,), 0..1, as Cityscapes' evaluation counts it.

    A class that is given where no label has it is 0, one that occurs in neither is nan.
    """
    hits = np.diag(confusion)
    union = confusion.sum(1) + confusion.sum(0) - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def iou_per_category(confusion: Counts, categories: Sequence[str]) -> dict[str, float]:
    """The same for coarser classes, within which one may be taken for another.

    Args:
        categories: of each class, in the order of the classes.
    """
    names = list(dict.fromkeys(categories))
    belongs = np.array([[category == name for category in categories] for name in names], np.int64)
    return dict(zip(names, iou_per_class(belongs @ confusion @ belongs.T).tolist(), strict=True))


def mean_iou(confusion: Counts) -> float:
    """Mean IoU over the classes that occur, in labels or predictions; nan when there are none."""
    iou = iou_per_class(confusion)
    return float(np.nanmean(iou)) if not np.isnan(iou).all() else float("nan")


def class_accuracy(confusion: Counts) -> float:
    """Mean share of a class's pixels that have it, over the classes that labels have; nan without any."""
    pixels = confusion.sum(1)
    occurs = pixels > 0
    return float((np.diag(confusion)[occurs] / pixels[occurs]).mean()) if occurs.any() else float("nan")


def frequency_weighted_iou(confusion: Counts) -> float:
    """Mean IoU of the classes that labels have, weighted by their pixels; nan without any."""
    pixels, iou = confusion.sum(1), iou_per_class(confusion)
    occurs = pixels > 0
    return float(np.average(iou[occurs], weights=pixels[occurs])) if occurs.any() else float("nan")


def combined_accuracy(confusion: Counts) -> float:
    """Geometric mean of the mean IoU over the classes that labels have, ``class_accuracy`` and
    ``frequency_weighted_iou`` (arXiv:1810.10804); nan without labels."""
    iou = iou_per_class(confusion)[confusion.sum(1) > 0]
    if not iou.size:
        return float("nan")
    return geometric_mean(float(iou.mean()), class_accuracy(confusion), frequency_weighted_iou(confusion))


def geometric_mean(*shares: float) -> float:
    """Of numbers from 0 to 1."""
    return float(np.prod(shares) ** (1 / len(shares)))
