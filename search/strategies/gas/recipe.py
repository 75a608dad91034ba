"""How to search a chain of cells after GAS, as data: a YAML file, read strictly. No PyTorch."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator

from search.errors import InvalidRecipe
from search.strategies.learning_recipe import Judging, LearningRecipe, changed
from targets.support.strict_yaml import Count, Positive, Section, named_yaml, parse_yaml, yaml_names

_FILES = resources.files("search.strategies.gas") / "recipes"
Message = Literal["gcn", "linear", "none"]
Sender = Literal["own", "received"]
"""What the cell before sends: its own logits, or those that it has with what it received itself."""


class WeightsOptimizer(Section):
    """SGD of the weights; the learning rate falls along half a cosine to ``last_learning_rate``."""

    learning_rate: Positive = 0.025
    last_learning_rate: float = Field(default=0.001, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-3, ge=0)

    @model_validator(mode="after")
    def _falls(self) -> "WeightsOptimizer":
        if self.last_learning_rate > self.learning_rate:
            raise ValueError(
                f"last_learning_rate is {self.last_learning_rate:g}, allowed: up to learning_rate, which is "
                f"{self.learning_rate:g}"
            )
        return self


class LogitsOptimizer(Section):
    """Adam of the logits, and of what cells tell their neighbours.

    Attributes:
        message_learning_rate: of the latter, where it is not that of the logits: a message is a product of
            several of its weights with logits, and decides within a few steps where all learn fast.
    """

    learning_rate: Positive = 1e-3
    message_learning_rate: Positive | None = None
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.5, 0.999)
    weight_decay: float = Field(default=1e-4, ge=0)


class GasRecipe(LearningRecipe):
    """Of a search after GAS. What is left out is the paper's, as far as it is known.

    Attributes:
        kind: tells it from other recipes.
        epochs: in the first ``warmup`` of which, a share, weights learn alone.
        temperature: of the draws, first and last.
        message: what a cell's logits take over from those of the cell before: by a graph network ``gcn``, by
            a fully connected layer ``linear``, or ``none``.
        sends: see ``Sender``.
        gamma, hidden: how much of a message counts; features of an edge in the graph network.
        resource_weight: of the latency's logarithm in the loss, in files also ``beta`` as in the paper; with
            a budget, where it starts.
        form: how the supernet is computed; the numbers are the same.
    """

    kind: Literal["gas"]
    epochs: Count
    warmup: float = Field(default=0.2, ge=0, lt=1)
    weights: WeightsOptimizer = WeightsOptimizer()
    logits: LogitsOptimizer = LogitsOptimizer()
    temperature: Annotated[tuple[Positive, Positive], Field(strict=False)] = (1.0, 0.03)
    message: Message = "gcn"
    sends: Sender = "own"
    gamma: float = Field(default=0.5, ge=0)
    hidden: Count = 64
    resource_weight: Annotated[
        float, Field(validation_alias=AliasChoices("resource_weight", "beta"), ge=0)
    ] = 0.005
    form: Literal["fused", "plain"] = "fused"
    judging: Judging = Judging()

    @property
    def networks(self) -> int:
        """Judged after the search."""
        return self.judging.networks

    @property
    def warmup_epochs(self) -> int:
        """In which logits stay as they are."""
        return int(self.warmup * self.epochs)

    @property
    def out_of_memory(self) -> str:
        """What there was too little memory for, and what to change."""
        height, width = self.crop
        return (
            f"out of memory with {self.batch_size} images of {height}x{width}: lower batch_size or crop in "
            "the recipe, or search a narrower space (--space gas)"
        )

    def changed(self, changes: Mapping[str, Any]) -> "GasRecipe":
        """With other epochs, seed, message, resource_weight, or networks to judge.

        Raises InvalidRecipe for other keys, and where they do not fit together.
        """
        if "paths" in changes:
            raise InvalidRecipe("--paths is not for gas: it trains all operations; leave it out")
        return changed(self, changes)


def list_recipes() -> list[str]:
    """Names of the shipped ones, in alphabetical order."""
    return yaml_names(_FILES)


def load_recipe(source: str | Path, changes: Mapping[str, Any] | None = None) -> GasRecipe:
    """A recipe by name (``camvid``) or from a YAML file of the user's.

    Args:
        changes: see ``GasRecipe.changed``.

    Raises:
        InvalidRecipe: no such name or file, not YAML, or unlike the schema: every fault in one message.
    """
    text, where = named_yaml(source, "recipe of gas", _FILES, InvalidRecipe)
    recipe = parse_yaml(text, where, GasRecipe, InvalidRecipe)
    return recipe.changed(changes) if changes else recipe
