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
    Share,
    Side,
    Text,
    named_yaml,
    parse_document,
    parse_yaml,
    yaml_names,
)
from targets.support.text import near_miss

_FILES = resources.files("search.strategies.sampling") / "recipes"
Own = TypeVar("Own", bound="SampledRecipe")
_OF_SCORING = ("epochs", "init", "new_head")  # what a command line changes there


Decay = Annotated[float, Field(ge=0, lt=1)]


class PathScoring(Section):
    """Networks are paths through one supernet, whose weights first learn by one drawn path a step.

    Attributes:
        learning_rate: falls along half a cosine.
        sampling: of a path. ``uniform``: each candidate of a position is as likely in every step (SPOS,
            arXiv:1904.00420); ``fair``: in a round of as many steps as a position has candidates each is
            trained once (the strict fairness of FairNAS, arXiv:1907.01845, section 3, with an update a step).
        teacher: an architecture file with weights, whose outputs paths learn from as well; none when null.
        distillation: weight of the distance from them.
        calibration_batches: of training frames, by which each path gets batch statistics of its own.
        init, new_head: weights that each candidate begins with, remapped from a network of the family, and
            whether what tells its classes apart is left out; see ``search.remapping.begin``. Random ones when
            null.
    """

    kind: Literal["paths"]
    epochs: Count
    learning_rate: Positive = 0.05
    weight_decay: float = Field(default=1e-5, ge=0)
    calibration_batches: int = Field(default=4, ge=0, lt=1 << 31)
    sampling: Literal["uniform", "fair"] = "uniform"
    teacher: Text | None = None
    distillation: Positive = 1.0
    init: Text | None = None
    new_head: bool = False


class TrainingScoring(Section):
    """Each network is trained briefly for itself, under torchrun in a process of its own.

    Attributes:
        learning_rate: falls along half a cosine.
        average: decay of a moving average of weights, which is what is scored; the weights themselves at 0.
        finalists: the best of all networks are trained once more, for ``final_epochs``, and of these one is
            chosen: scores of short trainings have luck in them, that of the best most of all. 0: none.
        init, new_head: as of paths: weights that each network begins with, remapped.
    """

    kind: Literal["training"]
    epochs: Count
    learning_rate: Positive = 0.05
    weight_decay: float = Field(default=1e-5, ge=0)
    average: Decay = 0.0
    finalists: int = Field(default=0, ge=0, lt=1 << 31)
    final_epochs: int | None = Field(default=None, ge=1, lt=1 << 31)
    init: Text | None = None
    new_head: bool = False

    @model_validator(mode="after")
    def _finalists_are_trained(self) -> "TrainingScoring":
        if (self.finalists > 0) != (self.final_epochs is not None):
            raise ValueError("finalists and final_epochs go together: give both or neither")
        return self


class DecoderStage(Section):
    """The decoder learns alone, from maps of the frozen encoder that are computed once for all networks.

    Attributes:
        frames: of the training split, each augmented once, whose maps are kept; where there are fewer, some
            are there several times.
        crop: of the recipe when null.
        batch_size: of an update; what is left at the end of an epoch is left out.
        learning_rate, weight_decay: of Adam.
        average: decay of a moving average of weights, which takes their place after each epoch.
        validations: on the way, evenly spread over the epochs, the last at the end.
    """

    frames: Count
    crop: Annotated[tuple[Side, Side], Field(strict=False)] | None = None
    epochs: Count
    batch_size: int = Field(ge=2, lt=1 << 31)
    learning_rate: Positive = 3e-3
    weight_decay: float = Field(default=1e-5, ge=0)
    average: Decay = 0.9
    gradient_norm: Positive = 3.0
    validations: Count = 1

    @model_validator(mode="after")
    def _fits_together(self) -> "DecoderStage":
        if self.batch_size > self.frames:
            raise ValueError(f"batch_size is {self.batch_size} of {self.frames} frames: at most that")
        if self.validations > self.epochs:
            raise ValueError(f"validations are {self.validations} in {self.epochs} epochs: at most as many")
        return self


class EverythingStage(Section):
    """Then all of the network learns, from frames.

    Attributes:
        steps: updates.
        learning_rate, weight_decay: of Adam, for the decoder; the decay for the encoder too.
        encoder_learning_rate, momentum: of SGD, for the encoder.
        average: as of the decoder, over all weights; takes their place at the end.
        freeze_norms: whether the encoder's normalisations keep the statistics by which its maps were made;
            few steps are not enough for the decoder to get used to others.
    """

    steps: Count
    crop: Annotated[tuple[Side, Side], Field(strict=False)] | None = None
    batch_size: int = Field(ge=2, lt=1 << 31)
    learning_rate: Positive = 3e-3
    encoder_learning_rate: Positive = 1e-3
    momentum: Decay = 0.9
    weight_decay: float = Field(default=1e-5, ge=0)
    average: Decay = 0.99
    gradient_norm: Positive = 3.0
    freeze_norms: bool = False


class ProgressiveScoring(Section):
    """Each network's decoder is trained over an encoder that is trained already, then both are, and weak ones
    are given up on the way (arXiv:1810.10804).

    Attributes:
        init: weights of the encoder: a file of a network that begins with it. ``--init`` gives another.
        reward: of the task, by name (``combined`` of segmentation); the task's own when null.
        everything: left out when null.
        auxiliary: weight of the loss of each head that a network has for its training alone.
        teacher: an architecture file with weights, whose outputs decoders learn from as well; none when null.
        distillation: weight of the mean squared distance from them.
        early_stop: whether weak networks are given up.
        memory_mib: what kept maps may take.
    """

    kind: Literal["progressive"]
    init: Text | None = None
    reward: Text | None = None
    decoder: DecoderStage
    everything: EverythingStage | None = None
    auxiliary: float = Field(default=0.15, ge=0)
    teacher: Text | None = None
    distillation: Positive = 0.3
    early_stop: bool = True
    memory_mib: Count = 2048


Scoring = Annotated[PathScoring | TrainingScoring | ProgressiveScoring, Field(discriminator="kind")]


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
    def finalists(self) -> int:
        """How many are scored once more."""
        return self.scoring.finalists if isinstance(self.scoring, TrainingScoring) else 0

    @property
    def networks(self) -> int:
        """All that were tried out are judged, their scores are known; or the finalists alone."""
        return self.finalists or self.candidates

    @property
    def out_of_memory(self) -> str:
        """What there was too little memory for, and what to change."""
        height, width = self.crop
        return (
            f"out of memory with {self.batch_size} images of {height}x{width}: lower batch_size or crop in "
            "the recipe"
        )

    def changed(self: Own, changes: Mapping[str, Any]) -> Own:
        """With other epochs, init or new_head (of the scoring), seed, or networks (candidates).

        Raises InvalidRecipe for other keys, and where they do not fit together.
        """
        own = {"networks": "candidates"}
        document: dict[str, Any] = self.model_dump(exclude_unset=True)
        document |= {own.get(name, name): value for name, value in changes.items() if name not in _OF_SCORING}
        document["scoring"] = document["scoring"] | {n: changes[n] for n in _OF_SCORING if n in changes}
        where = f"recipe {self.name}, with the options given"
        return parse_document(document, where, type(self), InvalidRecipe)


class RandomRecipe(SampledRecipe):
    """Random search: networks drawn one after another, within the budget."""

    kind: Literal["random"]


class EvolutionRecipe(SampledRecipe):
    """Regularised evolution (arXiv:1802.01548): the oldest dies, the best of a sample has a child.

    Attributes:
        population: of networks that may have children.
        begin: how the first population is made: drawn at ``random``; or by the ``donor``, whose weights
            the scoring begins with (``init``): that network itself and such as are near it, made cheaper
            where they cost more than the budget. A donor of another space is near none.
        sample: of the population, whose best is the parent.
        mutations: decisions that a child has otherwise.
        guesses: children, each of a parent of its own, of which one is tried: the one that trees fitted to
            the log hold for the best. 1 does without them.
    """

    kind: Literal["evolution"]
    population: int = Field(default=32, ge=2, lt=1 << 31)
    begin: Literal["random", "donor"] = "random"
    sample: Count = 8
    mutations: Count = 1
    guesses: Annotated[int, Field(ge=1, le=4096)] = 1

    @model_validator(mode="after")
    def _sample_fits(self) -> "EvolutionRecipe":
        if self.sample > self.population:
            raise ValueError(f"sample is {self.sample} of a population of {self.population}: at most that")
        return self


class ControllerSettings(Section):
    """The policy of ``ppo``, see ``search.strategies.fastdense.policy.PolicySettings``.

    Attributes:
        feedback: whether the controller sees what it chose.
    """

    rule: Literal["ppo", "reinforce"] = "ppo"
    feedback: bool = False
    learning_rate: Positive = 1e-4
    clip: Share = 0.1
    memory: Count = 100
    decay: Decay = 0.95
    gradient_norm: Positive = 2.0
    entropy: float = Field(default=0.0, ge=0)


class PpoRecipe(SampledRecipe):
    """Networks are drawn by a controller that learns from their rewards.

    Attributes:
        over_budget: exponent w of what a network above the budget is paid: its reward times
            (cost / budget)^-w.
        draws: of which the first is taken that keeps the budget and was not tried yet; else the last.
    """

    kind: Literal["ppo"]
    controller: ControllerSettings = ControllerSettings()
    over_budget: float = Field(default=1.0, ge=0)
    draws: Count = 1


KINDS: dict[str, type[SampledRecipe]] = {
    "random": RandomRecipe,
    "evolution": EvolutionRecipe,
    "ppo": PpoRecipe,
}


def list_recipes(strategy: str) -> list[str]:
    """Names of the shipped ones of a strategy, in alphabetical order."""
    return [
        name.removeprefix(f"{strategy}-") for name in yaml_names(_FILES) if name.startswith(f"{strategy}-")
    ]


def load_recipe(strategy: str, source: str | Path, changes: Mapping[str, Any] | None = None) -> SampledRecipe:
    """A recipe of a strategy of ``KINDS`` by name (``small``) or from a YAML file of the user's.

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
