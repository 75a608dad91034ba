"""What a search strategy is: steps that can be stopped after any of them, then proposals and their scores."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from search.architecture import Architecture
from search.problem.judged import Judged
from search.spaces.space import Genotype


class SearchRecipe(Protocol):
    """A strategy's recipe, read strictly from YAML; frozen."""

    @property
    def name(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def networks(self) -> int:
        """How many networks are judged after the last step."""

    @property
    def out_of_memory(self) -> str:
        """What there was too little memory for if that happens, and what to change."""

    def for_task(self, task: str) -> "SearchRecipe":
        """With a loss of that task. Raises InvalidRecipe where it names that of another."""

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """All of it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands after a step.

    Attributes:
        step: done so far, this one included; ``epoch`` from 0, and whether this step ended it.
        values: curves, by name; the same names after every step, nan where there is nothing to tell yet.
            ``loss`` is kept as its mean over the epoch, all others as the epoch left them.
        expected: cost of what the strategy would give now, by objective: ``goal.SEARCHED``.
        said: a phrase for people.
        tried: where the step tried a network out, its line of the log.
    """

    epoch: int
    step: int
    ends_epoch: bool
    values: Mapping[str, float]
    expected: Mapping[str, float]
    said: str
    tried: Mapping[str, Any] | None = None


class SearchStrategy(Protocol):
    """A search in progress.

    Everything random is a function of the recipe's seed and the step: a search that was stopped and resumed
    gives the same results as one that was not, and so does one that is spread over processes.

    Attributes:
        curves: names of ``Progress.values``, in the order of curves.csv.
        step, steps_wanted: done, and in all.
    """

    @property
    def curves(self) -> tuple[str, ...]: ...

    @property
    def step(self) -> int: ...

    @property
    def steps_wanted(self) -> int: ...

    def steps(self) -> Generator[Progress, None, None]:
        """Go on to the end. A checkpoint may be made after each.

        Ctrl-C is heard between steps, never after one was counted and before it was told: yield inside of
        ``HeldInterrupts``.
        """

    def state(self) -> dict[str, Any]:
        """Tensors and plain data, for a checkpoint."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave, into a strategy that was made for the same problem."""

    def propose(self, count: int, seed: int) -> list[Genotype]:
        """Different networks to judge, the most promising first; fewer where there are hardly more."""

    def score(self, genotype: Genotype) -> float:
        """The task's reward, higher is better; the same in every process."""

    def worth(self, network: Judged) -> float:
        """What decides among the networks that keep the budget, higher is better: mostly their score."""

    def companions(self) -> Mapping[str, Architecture]:
        """Other networks that are handed over, by the names of their files; called in every process."""

    def summary(self) -> Mapping[str, Any]:
        """Its part of search.json: fields of ``SearchDocument``."""


@runtime_checkable
class Remapped(Protocol):
    """A strategy, or what scores its networks, whose weights may begin as those of another network."""

    @property
    def remapped(self) -> str | None:
        """What is from where, as a CSV file; None where they began at random, and in one that goes on."""


@runtime_checkable
class Distributed(Protocol):
    """A strategy that learns how probable options are."""

    def choices(self) -> list[dict[str, float]]:
        """Of each decision, in the space's order: the probability of every option that is left."""
