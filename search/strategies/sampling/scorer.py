"""What tells how accurate a network is, and what all that do share."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from search.architecture import load_architecture
from search.errors import InvalidCheckpoint
from search.problem.problem import SearchProblem
from search.spaces.space import Genotype
from search.strategies.sampling.tried import Tried
from search.training.teacher import Teacher, load_teacher


class Scorer(Protocol):
    """Prepares itself in ``steps_wanted`` steps, then scores networks.

    Everything random is a function of the recipe's seed and the step or the network.

    Attributes:
        alone: whether each process scores networks by itself; else all score one together.
        about: what to know of it while it scores, a phrase or nothing.
    """

    step: int

    @property
    def alone(self) -> bool: ...

    @property
    def about(self) -> str: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def steps_wanted(self) -> int: ...

    def prepare(self) -> float:
        """The next step; returns its loss."""

    def score(self, genotype: Genotype, log: Sequence[Tried]) -> Tried:
        """A network and the task's reward; the same in every process.

        Args:
            log: of the networks before it.

        Raises Diverged, and what PyTorch raises where memory runs out.
        """

    def state(self) -> dict[str, Any]:
        """Tensors and plain data."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave."""


def teacher_of(problem: SearchProblem, name: str | None) -> Teacher | None:
    """An architecture file with weights, as the teacher of the problem's networks; None for None.

    Raises what ``load_teacher`` does.
    """
    if name is None:
        return None
    student = problem.architecture(problem.space.sample(np.random.default_rng(0)), "student")
    return load_teacher(load_architecture(name), student)


def check_sums(kept: Mapping[str, str], sums: Mapping[str, str]) -> None:
    """That a search goes on with the weights that it was begun with.

    Args:
        kept, sums: SHA-256 of what ``scoring.NAME`` names, then and now.

    Raises InvalidCheckpoint where one differs.
    """
    for name in ("init", "teacher"):
        if kept.get(name) != sums.get(name):
            raise InvalidCheckpoint(
                f"networks of this search were scored with other weights (scoring.{name}): give those "
                "that it was begun with, or name another folder to start anew"
            )
