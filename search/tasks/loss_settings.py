"""Losses as recipes say them, by task. No PyTorch."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from search.tasks.depth_recipe import L1, BerHu
from search.tasks.pose_recipe import HeatMaps
from search.tasks.segmentation_recipe import CrossEntropy, Ohem

LossSettings = Annotated[CrossEntropy | Ohem | BerHu | L1 | HeatMaps, Field(discriminator="kind")]
LOSSES: Mapping[str, tuple[CrossEntropy | Ohem | BerHu | L1 | HeatMaps, ...]] = {
    "segmentation": (CrossEntropy(kind="cross_entropy"), Ohem(kind="ohem")),
    "depth": (BerHu(kind="berhu"), L1(kind="l1")),
    "pose": (HeatMaps(kind="heat_maps"),),
}
"""Those of each task; the first is the usual one."""


def usual_loss(task: str) -> CrossEntropy | Ohem | BerHu | L1 | HeatMaps:
    """What a recipe means that says none."""
    return LOSSES[task][0]


def loss_fault(task: str, loss: Any) -> str | None:
    """What is wrong with a loss that is not the task's; None where it is, or nobody knows the task."""
    kinds = [one.kind for one in LOSSES.get(task, ())]
    if not kinds or loss.kind in kinds:
        return None
    return f"loss.kind: found {loss.kind!r}; allowed for {task}: {', '.join(kinds)}"
