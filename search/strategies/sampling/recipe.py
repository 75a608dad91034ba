"""How to search by trying networks out, as data: a YAML file, read strictly. No PyTorch."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from search.errors import InvalidRecipe
from search.strategies.learning_recipe import LearningRecipe
from targets.support.strict_yaml import (
    YAML_SUFFIXES,
    Count,
    Positive,
    Section,
    named_yaml,
    parse_document,
    parse_yaml,
    yaml_names,
)
from targets.support.text import near_miss

_FILES = resources.files("search.strategies.sampling") / "recipes"
Own = TypeVar("Own", bound="SampledRecipe")


class PathScoring(Section):
    """Networks are paths through one supernet, whose weights first learn by one drawn path a step.

    Attributes:
        learning_rate: falls along half a cosine.
        calibration_batches: of training frames, by which each path gets batch statistics of its own.
    """

    kind: Literal["paths"]
    epochs: Count
    learning_rate: Positive = 0.05
    weight_decay: float = Field(default=1e-5, ge=0)
    calibration_batches: int = Field(default=4, ge=0, lt=1 << 31)


class TrainingScoring(Section):
    """Each network is trained briefly for itself.

    Attributes:
        learning_rate: falls along half a cosine.
    """

    kind: Literal["training"]
    epochs: Count
    learning_rate: Positive = 0.05
    weight_decay: float = Field(default=1e-5, ge=0)


Scoring = Annotated[PathScoring | TrainingScoring, Field(discriminator="kind")]


class SampledRecipe(LearningRecipe):
    """Of a search that tries networks out.

    Attributes:
        scoring: how accurate a network is.
        candidates: networks that are tried out.
        frames: of the validation split that they are scored on, evenly spread; all when null.
    """

    scoring: Scoring
    candidates: Count
    frames: int | None = Field(default=None, ge=1)

    @property
    def networks(self) -> int:
        """All that were tried out are judged: their scores are known."""
        return self.candidates

    @property
    def out_of_memory(self) -> str:
        """What there was too little memory for, and what to change."""
        height, width = self.crop
        return (
            f"out of memory with {self.batch_size} images of {height}x{width}: lower batch_size or crop in "
            "the recipe"
        )

    def changed(self: Own, changes: Mapping[str, Any]) -> Own:
        """With other epochs (of the scoring), seed, or networks (candidates).

        Raises InvalidRecipe for other keys, and where they do not fit together.
        """
        own = {"networks": "candidates"}
        document: dict[str, Any] = self.model_dump()
        document |= {own.get(name, name): value for name, value in changes.items() if name != "epochs"}
        if "epochs" in changes:
            document["scoring"] = document["scoring"] | {"epochs": changes["epochs"]}
        where = f"recipe {self.name}, with the options given"
        return parse_document(document, where, type(self), InvalidRecipe)


class RandomRecipe(SampledRecipe):
    """Random search: networks drawn one after another, within the budget."""

    kind: Literal["random"]


class EvolutionRecipe(SampledRecipe):
    """Regularised evolution (arXiv:1802.01548): the oldest dies, the best of a sample has a child.

    Attributes:
        population: of which the first are drawn at random.
        sample: of the population, whose best is the parent.
        mutations: decisions that a child has otherwise.
    """

    kind: Literal["evolution"]
    population: int = Field(default=32, ge=2, lt=1 << 31)
    sample: Count = 8
    mutations: Count = 1

    @model_validator(mode="after")
    def _sample_fits(self) -> "EvolutionRecipe":
        if self.sample > self.population:
            raise ValueError(f"sample is {self.sample} of a population of {self.population}: at most that")
        return self


KINDS: dict[str, type[SampledRecipe]] = {"random": RandomRecipe, "evolution": EvolutionRecipe}


def list_recipes(strategy: str) -> list[str]:
    """Names of the shipped ones of a strategy, in alphabetical order."""
    return [
        name.removeprefix(f"{strategy}-") for name in yaml_names(_FILES) if name.startswith(f"{strategy}-")
    ]


def load_recipe(strategy: str, source: str | Path, changes: Mapping[str, Any] | None = None) -> SampledRecipe:
    """A recipe of ``random`` or ``evolution`` by name (``small``) or from a YAML file of the user's.

    Args:
        changes: see ``SampledRecipe.changed``.

    Raises:
        InvalidRecipe: no such name or file, not YAML, or unlike the schema: every fault in one message.
    """
    known = list_recipes(strategy)
    if Path(source).suffix not in YAML_SUFFIXES and str(source) not in known:
        raise InvalidRecipe(
            f"unknown recipe {str(source)!r} of {strategy}{near_miss(source, known)}; "
            f"allowed: {', '.join(known)}, or the path of a .yaml file of your own"
        )
    named = f"{strategy}-{source}" if str(source) in known else source
    text, where = named_yaml(named, f"recipe of {strategy}", _FILES, InvalidRecipe)
    recipe = parse_yaml(text, where, KINDS[strategy], InvalidRecipe)
    return recipe.changed(changes) if changes else recipe
