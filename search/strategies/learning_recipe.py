"""What the recipes of all strategies that learn from images share. No PyTorch."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from search.tasks.segmentation_recipe import CrossEntropy, LossSettings
from targets.support.strict_yaml import Positive, Section, Seed, Side, Text

Own = TypeVar("Own", bound="LearningRecipe")


class LearningRecipe(Section):
    """How frames become batches, and by what loss weights learn.

    Attributes:
        crop, scale, flip, colour: see ``search.data.loaders.Augmentation``.
        batch_size: over all processes.
        workers: processes that load data, of each process of the search.
        loss: as in training.
    """

    schema_version: Literal[1]
    name: Text
    summary: Text
    seed: Seed = 0
    crop: Annotated[tuple[Side, Side], Field(strict=False)]
    scale: Annotated[tuple[Positive, Positive], Field(strict=False)] = (0.5, 2.0)
    flip: bool = True
    colour: float = Field(default=0.2, ge=0, le=1)
    batch_size: int = Field(ge=2, lt=1 << 31)
    workers: int = Field(default=2, ge=0, le=1024)
    loss: LossSettings = CrossEntropy(kind="cross_entropy")

    @model_validator(mode="after")
    def _scale_is_ordered(self: Own) -> Own:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is {list(self.scale)}: smallest first")
        return self
