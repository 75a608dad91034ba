"""Losses of segmentation as a recipe says them. No PyTorch."""

from typing import Annotated, Literal

from pydantic import Field

from targets.support.strict_yaml import Positive, Section, Share


class _Loss(Section):
    """Attributes: ``class_weights``, one a class, or from how frequent the classes are: 1 / ln(1.02 + share)
    (ENet, arXiv:1606.02147, section 5.2); all 1 when null."""

    class_weights: Literal["inverse-log"] | Annotated[tuple[Positive, ...], Field(strict=False)] | None = None


class CrossEntropy(_Loss):
    """Mean over the labelled pixels."""

    kind: Literal["cross_entropy"]


class Ohem(_Loss):
    """Cross-entropy of hard pixels alone (online hard example mining, arXiv:1604.03540).

    Attributes:
        threshold: pixels whose own class has a lower probability than this count,
        min_kept: and at least this share of the labelled pixels of every image, the hardest.
    """

    kind: Literal["ohem"]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    min_kept: Share = 0.0625


LossSettings = Annotated[CrossEntropy | Ohem, Field(discriminator="kind")]
