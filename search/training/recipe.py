"""How to train, as data: YAML files with a list of stages, read strictly. No PyTorch."""

from importlib import resources
from itertools import dropwhile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from search.errors import InvalidRecipe
from search.tasks.loss_settings import LossSettings, loss_fault, usual_loss
from targets.support.plain_yaml import dump_yaml
from targets.support.strict_yaml import (
    Count,
    Positive,
    Section,
    Seed,
    Share,
    Side,
    Text,
    named_yaml,
    parse_document,
    parse_yaml,
    yaml_names,
)

_FILES = resources.files("search") / "recipes"


class Sgd(Section):
    """Stochastic gradient descent with momentum.

    Attributes:
        decay_norms: whether weight decay also holds for batch normalisation and biases.
        head_factor: the learning rate of the decoder, as a multiple of that of the encoder.
    """

    kind: Literal["sgd"] = "sgd"
    learning_rate: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    nesterov: bool = False
    decay_norms: bool = True
    head_factor: Positive = 1.0

    @model_validator(mode="after")
    def _has_momentum(self) -> "Sgd":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Adam(Section):
    """Adam (arXiv:1412.6980), with its usual numbers; other attributes as of ``Sgd``."""

    kind: Literal["adam"]
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    decay_norms: bool = True
    head_factor: Positive = 1.0


def _usual_kind(found: Any) -> Any:
    return {"kind": "sgd", **found} if isinstance(found, dict) else found


Optimizer = Annotated[Sgd | Adam, Field(discriminator="kind"), BeforeValidator(_usual_kind)]
"""Descent where a recipe says no kind, as those of 0.1 do."""


class _Schedule(Section):
    """Attributes: ``warmup_epochs``, over which the learning rate first rises from about 0."""

    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0


class Poly(_Schedule):
    """Falls to 0 as the share of steps that are left, to a power."""

    kind: Literal["poly"]
    power: Positive = 0.9


class Steps(_Schedule):
    """Is multiplied by ``factor`` at the beginning of each of the epochs ``milestones``, counted from 0."""

    kind: Literal["step"]
    milestones: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]
    factor: Share = 0.1


class Cosine(_Schedule):
    """Falls to 0 along half a cosine."""

    kind: Literal["cosine"]


class Exponential(_Schedule):
    """Is multiplied by ``factor`` after each epoch."""

    kind: Literal["exponential"]
    factor: Share


Schedule = Annotated[Poly | Steps | Cosine | Exponential, Field(discriminator="kind")]


class Distillation(Section):
    """How a network learns from a teacher, where ``train --teacher`` names one.

    Attributes:
        coefficient: of the distance to the teacher in the loss; 0: this stage does without the teacher.
        temperature: by which logits are divided in that distance, see ``teacher_divergence``.
    """

    coefficient: Annotated[float, Field(ge=0, le=1000)] = 1.0
    temperature: Annotated[float, Field(ge=0.1, le=100)] = 1.0


class Given(Section):
    """Training that happened elsewhere: its result is what ``--init`` names."""

    kind: Literal["given"]
    name: Text
    summary: Text


_SCALE = (0.5, 2.0)
_Factor = Annotated[float, Field(gt=0, le=100)]


class Stage(Section):
    """Training of the network on one data set.

    Attributes:
        kind: the task that it is for.
        data: what ``open_data`` takes; ``{data}`` stands for all of ``--data``, ``{path}`` for its path.
        split: ``trainval`` leaves no frames to choose the best epoch by; the last one counts as the best.
        batch_size: over all processes.
        steps_per_epoch: updates of an epoch, in which frames may have several turns or not one; as many as
            they fill when null.
        crop, scale, flip, colour, scales: see ``search.data.loaders.Augmentation``.
        ema_decay: of a moving average of the weights, which is what is evaluated and kept; none when null.
        precision: of activations; ``float16`` on GPUs only.
        evaluate_every: epochs; the last one is evaluated in any case.
        freeze_norms: leave batch normalisation as it is.
        auxiliary: weight of the loss of each head that networks have for training alone, in spaces with such.
        distillation: counts where there is a teacher.
    """

    kind: Literal["segmentation", "depth", "pose"]
    name: Text
    data: Text = "{data}"
    split: Literal["train", "trainval"] = "train"
    epochs: Count
    steps_per_epoch: Count | None = None
    batch_size: Count
    crop: Annotated[tuple[Side, Side], Field(strict=False)]
    scale: Annotated[tuple[_Factor, _Factor], Field(strict=False)] = _SCALE
    scales: Annotated[tuple[_Factor, ...], Field(strict=False, max_length=64)] = ()
    flip: bool = True
    colour: Annotated[float, Field(ge=0, le=1)] = 0.0
    optimizer: Optimizer
    schedule: Schedule
    loss: LossSettings = Field(default_factory=lambda known: usual_loss(known.get("kind", "segmentation")))
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    evaluate_every: Count = 1
    freeze_norms: bool = False
    auxiliary: Annotated[float, Field(ge=0, le=10)] = 0.0
    distillation: Distillation = Distillation()

    @model_validator(mode="after")
    def _fits_together(self) -> "Stage":
        faults = []
        if self.scale[0] > self.scale[1]:
            faults.append(f"scale: found {list(self.scale)}; allowed: the smaller one first")
        if self.scales and self.scale != _SCALE:
            faults.append("scale, scales: found both; allowed: one of them")
        if isinstance(self.schedule, Steps):
            found = list(self.schedule.milestones)
            if found != sorted(set(found)) or found[-1] >= self.epochs:
                faults.append(
                    f"schedule.milestones: found {found}; allowed: rising, all below epochs, {self.epochs}"
                )
        if self.schedule.warmup_epochs >= self.epochs:
            found_epochs = f"{self.schedule.warmup_epochs:g}"
            faults.append(
                f"schedule.warmup_epochs: found {found_epochs}; allowed: less than epochs, {self.epochs}"
            )
        faults += filter(None, (loss_fault(self.kind, self.loss), self._distillation_fault()))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _distillation_fault(self) -> str | None:
        temperature = self.distillation.temperature
        if self.kind == "segmentation" or temperature == 1:
            return None
        return (
            f"distillation.temperature: found {temperature:g}; allowed for {self.kind}: 1, since its outputs "
            "are no probabilities"
        )

    def data_spec(self, given: str) -> str:
        """What to open for this stage where ``--data`` is ``given``."""
        return self.data.replace("{data}", given).replace("{path}", given.partition(":")[2])


class Recipe(Section):
    """Stages of training, one after the other: each begins with the weights of the one before."""

    schema_version: Literal[1]
    name: Text
    summary: Text
    seed: Seed = 0
    stages: Annotated[
        tuple[Annotated[Given | Stage, Field(discriminator="kind")], ...], Field(strict=False, min_length=1)
    ]

    @property
    def given(self) -> tuple[Given, ...]:
        """The first stages, which ``--init`` stands for."""
        return tuple(stage for stage in self.stages if isinstance(stage, Given))

    @property
    def training(self) -> tuple[Stage, ...]:
        """The stages that are run."""
        return tuple(stage for stage in self.stages if isinstance(stage, Stage))

    @property
    def task(self) -> str:
        """What it trains for."""
        return self.training[0].kind

    @property
    def epochs(self) -> int:
        """Of all stages that are run."""
        return sum(stage.epochs for stage in self.training)

    def with_seed(self, seed: int) -> "Recipe":
        """The same with another seed. Raises InvalidRecipe where it does not fit."""
        return parse_document(
            {**self.model_dump(), "seed": seed}, f"recipe {self.name}", Recipe, InvalidRecipe
        )

    @model_validator(mode="after")
    def _in_order(self) -> "Recipe":
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages: found the names {', '.join(names)}; allowed: each once")
        if not self.training:
            raise ValueError("stages: all are of kind given; allowed: one of a kind of training at least")
        if len(kinds := dict.fromkeys(stage.kind for stage in self.training)) > 1:
            raise ValueError(f"stages: found the kinds {', '.join(kinds)}; allowed: one task")
        if any(isinstance(stage, Given) for stage in dropwhile(_is_given, self.stages)):
            raise ValueError("stages: one of kind given comes after training; allowed: before it only")
        return self


def list_recipes() -> list[str]:
    """Names of the shipped recipes, in alphabetical order."""
    return yaml_names(_FILES)


def load_recipe(source: str | Path) -> Recipe:
    """A recipe by name (``camvid``) or from a YAML file of the user's.

    Raises:
        InvalidRecipe: no such name or file, not YAML, or unlike the schema: every fault in one message.
    """
    text, where = named_yaml(source, "recipe", _FILES, InvalidRecipe)
    return parse_yaml(text, where, Recipe, InvalidRecipe)


def dump_recipe(recipe: Recipe) -> str:
    """YAML text that ``load_recipe`` reads back to an equal recipe, with all that was left to defaults."""
    return dump_yaml(recipe.model_dump(mode="json"))


def _is_given(stage: Any) -> bool:
    return isinstance(stage, Given)
