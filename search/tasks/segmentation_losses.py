"""Losses of segmentation, the same for a batch as for its parts on several processes."""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from search.data.classes import IGNORE
from search.data.frames import Frames
from search.errors import InvalidData, InvalidRecipe
from search.parallel.ranks import Ranks
from search.parallel.selection import kth_largest
from search.tasks.segmentation_recipe import CrossEntropy, Ohem

LossKind = Literal["cross_entropy", "ohem"]
_COUNTED = 500  # frames that class frequencies are taken from, at most


class SegmentationLoss:
    """Mean cross-entropy over the pixels that count, those of all processes; made by ``segmentation_loss``.

    Call it with logits (N, classes, H, W) and labels (N, H, W), integers, 255 ignored; returns a scalar. Its
    mean over the processes is the loss of the whole batch, and so is that of its gradients: what
    DistributedDataParallel takes. 0 where no pixel counts. Raises InvalidData for labels out of range.
    """

    def __init__(
        self,
        kind: LossKind,
        class_weights: Tensor | None,
        threshold: float,
        min_kept: float,
        ranks: Ranks | None,
    ) -> None:
        self._kind, self._class_weights = kind, class_weights
        self._most, self._min_kept = -math.log(threshold), min_kept
        self._ranks = ranks

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        ignored = labels == IGNORE
        _check(labels, ignored, logits.shape[1])
        losses = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
        weights = (~ignored).to(losses.dtype)
        if self._kind == "ohem":
            weights = weights * self._hard(losses.detach(), ignored)
        if self._class_weights is not None:
            weights = weights * self._class_weights.to(losses)[labels.masked_fill(ignored, 0)]
        total, weight = (losses * weights).sum(), weights.sum()
        weight = self._ranks.mean(weight) if self._ranks else weight
        return total / torch.where(weight > 0, weight, torch.ones_like(weight))

    def _hard(self, losses: Tensor, ignored: Tensor) -> Tensor:
        """1 for the pixels that are kept, chosen among those of all processes."""
        scored = losses[~ignored]
        counts = torch.tensor([losses.numel(), scored.numel()], device=losses.device)
        pixels, labelled = (self._ranks.sum(counts) if self._ranks else counts).tolist()
        limit = self._most
        if labelled:
            least = min(max(1, int(self._min_kept * pixels)), labelled)
            limit = min(limit, kth_largest(scored, least, self._ranks))
        return (losses.to(torch.float32) >= limit).to(losses.dtype)


def segmentation_loss(
    kind: LossKind = "cross_entropy",
    class_weights: Tensor | None = None,
    *,
    threshold: float = 0.7,
    min_kept: float = 0.0625,
    ranks: Ranks | None = None,
) -> SegmentationLoss:
    """A loss by name.

    Args:
        kind: ``cross_entropy`` over all labelled pixels, or ``ohem``: hard ones alone, those whose class has
            a probability up to ``threshold``, and at least the hardest, as many as ``min_kept`` is of all
            pixels, of labels and of none; all labelled ones where those are fewer.
        class_weights: (classes,).
        ranks: processes that have parts of each batch.
    """
    return SegmentationLoss(kind, class_weights, threshold, min_kept, ranks)


def teacher_divergence(logits: Tensor, taught: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of each pixel's classes, the mean over all pixels, labelled or not.

    Args:
        logits, taught: (N, classes, H, W), of the student and of its teacher.
        temperature: both are divided by it, and the result multiplied by its square, which keeps the size of
            the gradients (arXiv:1503.02531, section 2).
    """
    student, teacher = ((each / temperature).log_softmax(1) for each in (logits, taught))
    total = functional.kl_div(student, teacher, reduction="sum", log_target=True)
    return total * (temperature**2 / student[:, 0].numel())


def make_loss(loss: CrossEntropy | Ohem, frames: Frames, num_classes: int, ranks: Ranks) -> SegmentationLoss:
    """The loss that a recipe describes.

    Args:
        frames: of training, from which class weights may be counted.

    Raises InvalidRecipe for a loss of another task, or another number of class weights than of classes.
    """
    if not isinstance(loss, CrossEntropy | Ohem):
        raise InvalidRecipe(f"loss: found {loss.kind}; allowed for segmentation: cross_entropy, ohem")
    weights = loss.class_weights
    if weights == "inverse-log":
        weights = tuple(inverse_log_weights(frames, num_classes).tolist())
    if weights is not None and len(weights) != num_classes:
        raise InvalidRecipe(
            f"loss.class_weights: found {len(weights)}; allowed: one for each of the {num_classes} classes"
        )
    tensor = torch.tensor(weights, device=ranks.device) if weights else None
    hard = {"threshold": loss.threshold, "min_kept": loss.min_kept} if isinstance(loss, Ohem) else {}
    return segmentation_loss(loss.kind, tensor, ranks=ranks, **hard)


def inverse_log_weights(frames: Frames, num_classes: int) -> npt.NDArray[np.float32]:
    """1 / ln(1.02 + share of the labelled pixels) a class (ENet, arXiv:1606.02147, section 5.2).

    Counted over at most 500 frames, evenly spread.
    """
    counts = np.zeros(num_classes, np.int64)
    for index in np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _COUNTED)).astype(int)):
        _, labels = frames[int(index)]
        counts += np.bincount(labels[labels < num_classes], minlength=num_classes)
    shares = counts / max(counts.sum(), 1)
    weights: npt.NDArray[np.float32] = (1 / np.log(1.02 + shares)).astype(np.float32)
    return weights


def _check(labels: Tensor, ignored: Tensor, num_classes: int) -> None:
    wrong = ((labels < 0) | (labels >= num_classes)) & ~ignored
    if wrong.any():
        raise InvalidData(
            f"label {int(labels[wrong][0])} in the data; allowed: 0 to {num_classes - 1}, and {IGNORE} for "
            "pixels that do not count; mend the label images, or take data with as many classes"
        )
