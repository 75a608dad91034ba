"""Segments every frame of a split at its full size, and counts. No PyTorch: TVM must not meet it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from search.data import Data
from search.tasks.segmentation_metrics import (
    Counts,
    confusion_matrix,
    iou_per_category,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)
from squeezenas_tvm.bundles.images import UInt8, squeezed
from squeezenas_tvm.terminal.progress import progress

log = logging.getLogger(__name__)

Segment = Callable[[UInt8], UInt8]  # frame (H, W, 3) -> class indices (H, W)


@dataclass(frozen=True)
class Evaluation:
    """How right a network is on a split of a data set.

    Attributes:
        network: its name.
        weights: the file that they are from; None for random ones.
        resolution: of the network, ``HxW``.
        runs: what ran it, in words.
        miou_percent, pixel_accuracy_percent: None where no pixel counts.
        iou_percent: by class; None for those that do not occur.
        category_miou_percent, category_iou_percent: the same by category; None where the data has none.
    """

    network: str
    weights: str | None
    resolution: str
    runs: str
    data: str
    split: str
    frames: int
    miou_percent: float | None
    pixel_accuracy_percent: float | None
    iou_percent: Mapping[str, float | None]
    category_miou_percent: float | None
    category_iou_percent: Mapping[str, float | None] | None


def check_split(data: Data, split: str) -> int:
    """How many frames a split has. Raises SearchError where it lacks it, a frame, or any label."""
    frames = data.frames(split)
    data.check(*("train", "val") if split == "trainval" else (split,))
    data.check_labelled(split)
    return len(frames)


def evaluate_frames(
    segment: Segment,
    data: Data,
    split: str,
    *,
    network: str,
    weights: str | None,
    resolution: str,
    runs: str,
    size: tuple[int, int] | None = None,
    shown: bool = True,
) -> Evaluation:
    """Segment the frames one after the other, and say how right that was.

    Args:
        network, weights, resolution, runs: see `Evaluation`.
        size: height and width to which every frame is resized; a note tells where that distorts them.
        shown: draw how far it is.
    """
    frames = data.frames(split)
    counts: Counts = np.zeros((data.num_classes, data.num_classes), dtype=np.int64)
    notes: list[str] = []
    with progress("evaluate", len(frames), shown=shown) as step:
        for index, name in enumerate(frames.names):
            image, labels = frames[index]
            if size and (note := squeezed(image, *size)):
                notes.append(note)
            counts = counts + confusion_matrix(labels, segment(image), data.num_classes)
            step(name)
    if notes:
        log.warning("%d of %d frames are %s", len(notes), len(frames), notes[0])
    by_class = dict(zip(data.class_names, iou_per_class(counts).tolist(), strict=True))
    by_category = iou_per_category(counts, data.categories) if data.categories else None
    known = [iou for iou in (by_category or {}).values() if iou == iou]
    return Evaluation(
        network=network,
        weights=weights,
        resolution=resolution,
        runs=runs,
        data=data.name,
        split=split,
        frames=len(frames),
        miou_percent=_percent(mean_iou(counts)),
        pixel_accuracy_percent=_percent(pixel_accuracy(counts)),
        iou_percent=_percents(by_class),
        category_miou_percent=_percent(sum(known) / len(known)) if known else None,
        category_iou_percent=None if by_category is None else _percents(by_category),
    )


def _percents(shares: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _percent(share) for name, share in shares.items()}


def _percent(share: float) -> float | None:
    return None if share != share else 100 * share
