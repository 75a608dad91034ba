"""What the recipes of all strategies that learn from images share. No PyTorch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from search.errors import InvalidRecipe
from search.tasks.loss_settings import LOSSES, LossSettings, loss_fault, usual_loss
from targets.support.strict_yaml import Count, Positive, Section, Seed, Side, Text, parse_document

Own = TypeVar("Own", bound="LearningRecipe")


class Judging(Section):
    """What is done after the search.

    Attributes:
        networks: drawn from the final distribution and judged.
        frames: of the validation split they are judged on, evenly spread; all when null.
        calibration_batches: of training frames, by which each path gets batch statistics of its own.
    """

    networks: Count = 200
    frames: int | None = Field(default=None, ge=1)
    calibration_batches: int = Field(default=4, ge=0, lt=1 << 31)


class LearningRecipe(Section):
    """How frames become batches, and by what loss weights learn.

    Attributes:
        crop, scale, flip, colour: see ``search.data.loaders.Augmentation``.
        batch_size: over all processes.
        workers: processes that load data, of each process of the search.
        loss: as in training; ``for_task`` puts the usual one of another task in its place.
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
    loss: LossSettings = usual_loss("segmentation")

    @model_validator(mode="after")
    def _scale_is_ordered(self: Own) -> Own:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is {list(self.scale)}: smallest first")
        return self

    def for_task(self: Own, task: str) -> Own:
        """With the task's usual loss where the recipe names none.

        Raises InvalidRecipe where it names that of another task.
        """
        if "loss" not in self.model_fields_set and task in LOSSES:
            return self.model_copy(update={"loss": usual_loss(task)})
        if fault := loss_fault(task, self.loss):
            raise InvalidRecipe(f"recipe {self.name}: {fault}")
        return self


def changed(recipe: Own, changes: Mapping[str, Any]) -> Own:
    """A recipe with other values of some keys, where ``networks`` is that of its ``judging``.

    Raises InvalidRecipe for other keys, and where they do not fit together.
    """
    document = recipe.model_dump(exclude_unset=True) | {
        name: value for name, value in changes.items() if name != "networks"
    }
    if "networks" in changes:
        document["judging"] = document.get("judging", {}) | {"networks": changes["networks"]}
    where = f"recipe {recipe.name}, with the options given"
    return parse_document(document, where, type(recipe), InvalidRecipe)
