"""How to search, as data: a YAML file, read strictly."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator

from search.errors import InvalidRecipe
from search.strategies.learning_recipe import Judging, LearningRecipe, changed
from targets.support.strict_yaml import (
    Count,
    Positive,
    Section,
    Text,
    named_yaml,
    parse_yaml,
    yaml_names,
)

_FILES = resources.files("search.strategies.gumbel") / "recipes"


class WeightsOptimizer(Section):
    """SGD of the weights; the learning rate falls along half a cosine."""

    learning_rate: Positive = 0.05
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-5, ge=0)


class LogitsOptimizer(Section):
    """Adam of the architecture's logits, whose gradients come from few of the candidates at a time."""

    learning_rate: Positive = 0.02
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.5, 0.999)


class PathTraining(Section):
    """After the search, before networks are judged: the weights alone learn on, by one drawn path a step.

    In a search every block learns as a part of mixtures. Alone it has never been asked, so a path through a
    supernet that was searched briefly tells little about its network; steps of one path are also cheap.

    Attributes:
        learning_rate: falls along half a cosine of its own.
    """

    epochs: int = Field(default=0, ge=0, lt=1 << 31)
    learning_rate: Positive = 0.02


class GumbelRecipe(LearningRecipe):
    """Of a Gumbel-softmax search.

    Attributes:
        kind: tells it from a recipe of training.
        epochs: of which the first ``warmup_epochs`` train weights alone, the logits staying as they are.
        update: weights and logits ``together`` from the same batch (the paper), or ``alternately`` from the
            two halves of the training frames (FBNet, DARTS).
        temperature: first and last.
        draws: a Gumbel sample for each ``image`` (the authors' code) or one for the ``batch``.
        cost: ``expected``, of the probabilities (the paper), or ``sampled``, of the weights that were drawn
            (the authors' code).
        remove_below: probability under which a candidate is removed for good.
        paths: candidates of a position that are evaluated in a step; all when null.
        logits, resource_weight: in files also ``theta`` and ``alpha``, as the paper calls them; the weight is
            that of the resource loss, at first where a budget is given.
        init, new_head: weights that each candidate begins with, remapped from a network of the family, and
            whether what tells its classes apart is left out; see ``search.remapping.begin``. Random ones when
            null.
        form, checkpointing, precision: how the supernet is computed, see ``search.supernet``.
        compile: whether PyTorch's compiler makes the passes over the fused form's hidden maps. On one core of
            a Xeon a step took 3 % less time with it in bfloat16 and 3 % more in float32 (192x192, batches of
            4); GPUs, whose time goes into such passes much more, were not at hand.
    """

    kind: Literal["supernet-search"]
    epochs: Count
    warmup_epochs: int = Field(default=0, ge=0, lt=1 << 31)
    update: Literal["together", "alternately"] = "together"
    weights: WeightsOptimizer = WeightsOptimizer()
    logits: Annotated[LogitsOptimizer, Field(validation_alias=AliasChoices("logits", "theta"))] = (
        LogitsOptimizer()
    )
    temperature: Annotated[tuple[Positive, Positive], Field(strict=False)] = (5.0, 1.0)
    draws: Literal["image", "batch"] = "image"
    cost: Literal["expected", "sampled"] = "expected"
    remove_below: float = Field(default=0.005, ge=0, lt=0.5)
    paths: int | None = Field(default=None, ge=1)
    resource_weight: Annotated[float, Field(validation_alias=AliasChoices("resource_weight", "alpha"))] = 0.1
    init: Text | None = None
    new_head: bool = False
    form: Literal["fused", "plain"] = "fused"
    checkpointing: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    path_training: PathTraining = PathTraining()
    judging: Judging = Judging()

    @property
    def networks(self) -> int:
        """Judged after the search."""
        return self.judging.networks

    @property
    def out_of_memory(self) -> str:
        """What there was too little memory for, and what to change."""
        height, width = self.crop
        again = "" if self.checkpointing else "set checkpointing: true in the recipe (--resume takes it); or "
        fewer = "" if self.paths == 1 else ", or train fewer paths (--paths 2)"
        return (
            f"out of memory with {self.batch_size} images of {height}x{width}: {again}lower batch_size or "
            f"crop in the recipe{fewer}"
        )

    @property
    def all_epochs(self) -> int:
        """Those of the search, and those of paths after it."""
        return self.epochs + self.path_training.epochs

    def changed(self, changes: Mapping[str, Any]) -> "GumbelRecipe":
        """With other epochs, seed, paths, resource_weight, init, new_head, or networks to judge.

        Raises InvalidRecipe for other keys, and where they do not fit together.
        """
        return changed(self, changes)

    @model_validator(mode="after")
    def _orders(self) -> "GumbelRecipe":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs} of {self.epochs} epochs: none is left to search in"
            )
        if self.compile and self.form == "plain":
            raise ValueError("compile is of the fused form; allowed: form: fused, or compile: false")
        return self


def list_recipes() -> list[str]:
    """Names of the shipped ones, in alphabetical order."""
    return yaml_names(_FILES)


def load_recipe(source: str | Path, changes: Mapping[str, Any] | None = None) -> GumbelRecipe:
    """A recipe by name (``camvid``) or from a YAML file of the user's.

    Args:
        changes: see ``GumbelRecipe.changed``.

    Raises:
        InvalidRecipe: no such name or file, not YAML, or unlike the schema: every fault in one message.
    """
    text, where = named_yaml(source, "search recipe", _FILES, InvalidRecipe)
    recipe = parse_yaml(text, where, GumbelRecipe, InvalidRecipe)
    return recipe.changed(changes) if changes else recipe
