"""Which network is tried next: at random, or a child of those that were tried."""

from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np

from search.problem.problem import SearchProblem
from search.spaces.space import Genotype
from search.strategies.sampling.guesses import guessed
from search.strategies.sampling.recipe import EvolutionRecipe
from search.strategies.sampling.tried import Tried
from search.strategies.sampling.within import made_to_keep, mutated, sample_within

_TRIES = 50  # for a network that was not tried yet, or that keeps the budget
_FAR = 4  # decisions that a network near the donor has otherwise, at most

Options = tuple[str, ...]


class Chooser(Protocol):
    """Which network is tried next."""

    def __call__(
        self, log: Sequence[Tried], random: np.random.Generator, beside: Collection[Options] = ()
    ) -> dict[str, str]:
        """One that was not tried yet, as far as there is one.

        Args:
            beside: options of networks that other processes are about to try: they count as tried.
        """

    def state(self) -> dict[str, Any]:
        """Tensors and plain data: what would take long to find again from the log."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave."""


def tried_before(log: Sequence[Tried], beside: Collection[Options]) -> set[Options]:
    """Options of networks that need not be tried."""
    return {tried.options for tried in log} | set(beside)


class _Stateless:
    """What is a function of the log alone, found at once."""

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


class RandomChooser(_Stateless):
    """Any that keeps the budget, rather one that was not tried yet."""

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem

    def __call__(
        self, log: Sequence[Tried], random: np.random.Generator, beside: Collection[Options] = ()
    ) -> dict[str, str]:
        before = tried_before(log, beside)
        for _ in range(_TRIES):
            genotype = sample_within(self._problem.costs, self._problem.budget, random)
            if tuple(genotype.values()) not in before:
                break
        return genotype


class NearChooser(_Stateless):
    """The network that weights come from, then such as differ from it in a few decisions.

    What costs more than the budget is made cheaper, decision by decision, until it keeps it.
    """

    def __init__(self, problem: SearchProblem, donor: Genotype) -> None:
        self._problem, self._donor = problem, donor

    def __call__(
        self, log: Sequence[Tried], random: np.random.Generator, beside: Collection[Options] = ()
    ) -> dict[str, str]:
        problem, before = self._problem, tried_before(log, beside)
        for _ in range(_TRIES):
            changes = int(random.integers(1, _FAR + 1)) if before else 0
            near = mutated(problem.space, self._donor, changes, random)
            genotype = made_to_keep(problem.costs, problem.budget, near, random)
            if tuple(genotype.values()) not in before:
                break
        return genotype


class EvolutionChooser(_Stateless):
    """Regularised evolution (Real et al., arXiv:1802.01548, section 3.2).

    The population is a queue: who is born joins it, the oldest leaves it. So it is the end of the log. A
    child that breaks the budget is not born; its parent tries again. Of several children that are guessed
    at, the one is tried that trees fitted to the log hold for the best.

    Args:
        donor: what the first population is near; drawn at random when None.
    """

    def __init__(
        self, problem: SearchProblem, recipe: EvolutionRecipe, donor: Genotype | None = None
    ) -> None:
        self._problem, self._recipe = problem, recipe
        self._first = RandomChooser(problem) if donor is None else NearChooser(problem, donor)

    def __call__(
        self, log: Sequence[Tried], random: np.random.Generator, beside: Collection[Options] = ()
    ) -> dict[str, str]:
        if len(log) < self._recipe.population:
            return self._first(log, random, beside)
        before = tried_before(log, beside)
        born = [self._child(log, before, random) for _ in range(self._recipe.guesses)]
        children = [child for child in born if child is not None]
        new = [child for child in children if tuple(child.values()) not in before]
        candidates = new or children or [self._first(log, random, beside)]
        if self._recipe.guesses == 1:
            return candidates[0]
        return candidates[int(guessed(self._problem.costs, log, candidates).argmax())]

    def _child(
        self, log: Sequence[Tried], before: Set[Options], random: np.random.Generator
    ) -> dict[str, str] | None:
        """Of the best of a sample, within the budget, rather one that was not tried; None if none is."""
        recipe, problem = self._recipe, self._problem
        population = log[-recipe.population :]
        sample = random.choice(len(population), recipe.sample, replace=False)
        parent = max((population[int(index)] for index in sample), key=lambda tried: tried.reward)
        genotype = dict(zip((d.name for d in problem.space.decisions), parent.options, strict=True))
        children = [mutated(problem.space, genotype, recipe.mutations, random) for _ in range(_TRIES)]
        budget = problem.budget
        if budget is not None:
            spent = problem.costs.cost(children, [budget.name])[budget.name]
            children = [c for c, cost in zip(children, spent, strict=True) if cost <= budget.value]
        new = [child for child in children if tuple(child.values()) not in before]
        return next(iter(new or children), None)
