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
    """Cross-entropy of hard pixels alone (online hard example mining, arXiv:1604.03540), those of a batch.

    Attributes:
        threshold: pixels whose own class has this probability or a lower one count,
        min_kept: and at least so many, the hardest: this share of all pixels, labelled or not, that the loss
            is taken over; all labelled ones where those are fewer.
        over: whose pixels are compared. Recipes of 0.1, which do not say it, meant each image's, and are not
            gone on with.
    """

    kind: Literal["ohem"]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    min_kept: Share = 0.0625
    over: Literal["batch"] = "batch"
