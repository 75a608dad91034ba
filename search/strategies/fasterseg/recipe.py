"""How to search a grid together with its teacher, as data: a YAML file, read strictly. No PyTorch."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from search.errors import InvalidRecipe
from search.strategies.learning_recipe import LearningRecipe
from targets.support.strict_yaml import (
    Count,
    Positive,
    Section,
    Share,
    Side,
    named_yaml,
    parse_document,
    parse_yaml,
    yaml_names,
)

_FILES = resources.files("search.strategies.fasterseg") / "recipes"
NETWORKS = 4  # of two pairs of branches: as the logits have them, and within the budget


Factor = Annotated[float, Field(gt=0, le=100)]


class Pretraining(Section):
    """Before the search weights learn alone, from the frames that they also learn from in it.

    Attributes:
        epochs: none when 0.
        learning_rate: of the first epoch.
    """

    epochs: int = Field(ge=0, lt=1 << 31)
    crop: Annotated[tuple[Side, Side], Field(strict=False)]
    batch_size: int = Field(ge=2, lt=1 << 31)
    learning_rate: Positive = 0.02


class WeightsOptimizer(Section):
    """SGD of the weights.

    Attributes:
        learning_rate: of the first epoch; those after it are multiplied by ``decay`` each, also in the
            pretraining.
        gradient_norm: to which longer gradients are cut.
    """

    learning_rate: Positive = 0.01
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    decay: Share = 0.978
    gradient_norm: Positive = 5.0


class LogitsOptimizer(Section):
    """Adam of the logits, one for each who learns."""

    learning_rate: Positive = 3e-4
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.5, 0.999)


class Shares(Section):
    """How much each kind of decision counts in what is paid for latency, see ``DecoupledPenalty``."""

    operation: float = Field(ge=0)
    path: float = Field(ge=0)
    width: float = Field(ge=0)

    @model_validator(mode="after")
    def _some(self) -> "Shares":
        if not self.operation + self.path + self.width:
            raise ValueError("all are 0; allowed: one above 0 at least")
        return self


class CosearchRecipe(LearningRecipe):
    """Of a search of a student beside its teacher.

    Attributes:
        kind: tells it from other recipes.
        scales: one is drawn instead of a factor from ``scale``, see ``search.data.loaders.Augmentation``.
        epochs: of the search, after the pretraining.
        resource_weight: of the latency in the loss; where it starts.
        shares: of the kinds of decisions in the milliseconds that are paid for; when null each kind costs the
            weight from its cheapest to its dearest, on every target: inverse to how far it moves the latency.
        frames: of the validation split by which the pair of branches is chosen, evenly spread; all when null.
    """

    kind: Literal["cosearch"]
    scales: Annotated[tuple[Factor, ...], Field(strict=False, max_length=64)] = ()
    epochs: Count
    pretraining: Pretraining
    weights: WeightsOptimizer = WeightsOptimizer()
    logits: LogitsOptimizer = LogitsOptimizer()
    resource_weight: Positive = 0.01
    shares: Shares | None = None
    frames: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> "CosearchRecipe":
        if self.scales and "scale" in self.model_fields_set:
            raise ValueError("scale, scales: found both; allowed: one of them")
        return self

    @property
    def networks(self) -> int:
        """Both pairs of branches, each within the budget too."""
        return NETWORKS

    @property
    def all_epochs(self) -> int:
        """Those of the pretraining and of the search."""
        return self.pretraining.epochs + self.epochs

    @property
    def out_of_memory(self) -> str:
        """What there was too little memory for, and what to change."""
        height, width = self.crop
        return (
            f"out of memory with {self.batch_size} images of {height}x{width}: lower batch_size or crop in "
            "the recipe, or search a smaller grid (--space fasterseg-student:layers=12,base=6)"
        )

    def changed(self, changes: Mapping[str, Any]) -> "CosearchRecipe":
        """With other epochs, seed or resource_weight.

        Raises InvalidRecipe for other keys, and where they do not fit together.
        """
        fixed = {"networks": f"it judges {NETWORKS}", "paths": "it trains all paths"}
        if wrong := [f"--{name} is not for cosearch: {fixed[name]}" for name in fixed if name in changes]:
            raise InvalidRecipe(f"{'; '.join(wrong)}; leave it out")
        where = f"recipe {self.name}, with the options given"
        document = self.model_dump(include=self.model_fields_set)
        return parse_document({**document, **changes}, where, CosearchRecipe, InvalidRecipe)


def list_recipes() -> list[str]:
    """Names of the shipped ones, in alphabetical order."""
    return yaml_names(_FILES)


def load_recipe(source: str | Path, changes: Mapping[str, Any] | None = None) -> CosearchRecipe:
    """A recipe by name (``camvid``) or from a YAML file of the user's.

    Args:
        changes: see ``CosearchRecipe.changed``.

    Raises:
        InvalidRecipe: no such name or file, not YAML, or unlike the schema: every fault in one message.
    """
    text, where = named_yaml(source, "recipe of cosearch", _FILES, InvalidRecipe)
    recipe = parse_yaml(text, where, CosearchRecipe, InvalidRecipe)
    return recipe.changed(changes) if changes else recipe
