"""What is searched for, and what is found, whatever the strategy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from search.architecture import Architecture, architecture_for
from search.costs.space_costs import SpaceCosts
from search.data.fingerprint import fingerprint
from search.data.frames import Data
from search.problem.goal import SEARCHED, Budget, Mix
from search.problem.judged import Judged
from search.problem.strategy import Progress, SearchRecipe
from search.resolution import Resolution
from search.spaces.space import Genotype, Head, SearchSpace
from search.tasks.task import Task

NEW_IN_FINGERPRINT = ("task", "frames", "resolution")


@dataclass(frozen=True)
class SearchProblem:
    """What is searched for.

    Attributes:
        costs: of the space's parts on the target.
        target: its name, for the files that are written; so are ``resolution``, that the costs are of, and
            ``data_spec``, by which ``open_data`` gave the data.
        strategy: by name; ``recipe`` is one of its.
    """

    space: SearchSpace
    task: Task
    data: Data
    costs: SpaceCosts
    target: str
    mix: Mix
    budget: Budget | None
    strategy: str
    recipe: SearchRecipe
    resolution: Resolution
    data_spec: str

    @property
    def cost(self) -> str:
        """What the front is drawn over and the budget limits."""
        return self.budget.name if self.budget else next(iter(self.mix.weights))

    @property
    def head(self) -> Head:
        """Of every network that is searched among."""
        return self.task.head(self.data)

    def architecture(self, genotype: Genotype, name: str, **more: Any) -> Architecture:
        """A network of the space for the data; ``more``: other fields of its file."""
        return architecture_for(self.space, genotype, self.data, name=name, **more)

    def check(self) -> None:
        """Raises InvalidSearch: no network of the space costs the budget; InvalidData: bad frames."""
        if self.budget:
            self.budget.check(*self.costs.range(self.budget.name), self.where())
        self.data.check("train", "val")
        self.data.check_labelled("train", "val")

    def where(self) -> str:
        """What costs are of. Frames of another size are named: ``--resolution`` may have been left out."""
        where = f"costs are on {self.target} at {self.resolution}"
        size = self.data.frame_size
        if size is None or Resolution(*size) == self.resolution:
            return where
        frames = Resolution(*size)
        return f"{where}; frames of {self.data.name} have {frames}: --resolution {frames.nearest()}"

    def fingerprint(self) -> dict[str, Any]:
        """What a search that is resumed must have been started with. Reads files of the data.

        Those of 0.1 lack ``NEW_IN_FINGERPRINT``.
        """
        return {
            "space": self.space.name,
            "task": self.task.name,
            "data": self.data.described,
            "frames": fingerprint(self.data, ("train", "val")),
            "target": self.target,
            "resolution": str(self.resolution),
            "costs": self.costs.digest(),
            "mix": str(self.mix),
            "budget": str(self.budget),
            "strategy": self.strategy,
            "recipe": self.recipe.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        networks: all that were judged; ``front`` and ``chosen`` are among them.
        summary: what the strategy says of itself.
    """

    networks: list[Judged]
    front: list[Judged]
    chosen: Judged
    summary: Mapping[str, Any] = field(default_factory=dict)


class Watch(Protocol):
    """Is told how far a search is, in every process."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A part of ``total`` pieces, of which ``done`` were done before."""

    def step(self, now: Progress) -> None:
        """After each step of the strategy."""

    def judged(self, network: Judged, count: int) -> None:
        """After each network judged, the ``count``-th."""


def judged_costs(costs: SpaceCosts, genotype: Genotype) -> dict[str, float]:
    """The costs among the fields of ``Judged``."""
    total = costs.cost([genotype])
    seconds = {"latency_s": "latency", "low_s": "latency_low", "high_s": "latency_high"}
    counted = {name: name for name in SEARCHED if name != "latency"}
    return {own: float(total[name][0]) for own, name in {**seconds, **counted}.items()}
