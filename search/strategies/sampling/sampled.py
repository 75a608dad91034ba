"""Networks tried out one after another, each chosen by what is known of the earlier ones.

What comes next is a function of the seed and the log alone, so that a search that was stopped and resumed
tries the same networks as one that was not.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from search.architecture import Architecture
from search.problem.goal import SEARCHED
from search.problem.judged import Judged
from search.problem.problem import SearchProblem
from search.problem.strategy import Progress
from search.spaces.space import Genotype
from search.strategies.sampling.recipe import EvolutionRecipe
from search.strategies.sampling.scorers import Scorer
from search.strategies.sampling.within import mutated, sample_within
from targets.support.interrupts import HeldInterrupts

_TRIES = 50  # for a network that was not tried yet, or that keeps the budget


@dataclass(frozen=True, slots=True)
class Tried:
    """A network and its score."""

    options: tuple[str, ...]
    score: float


class Chooser(Protocol):
    """Which network is tried next."""

    def __call__(self, log: Sequence[Tried], random: np.random.Generator) -> dict[str, str]: ...


class RandomChooser:
    """Any that keeps the budget, rather one that was not tried yet."""

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem

    def __call__(self, log: Sequence[Tried], random: np.random.Generator) -> dict[str, str]:
        known = {tried.options for tried in log}
        for _ in range(_TRIES):
            genotype = sample_within(self._problem.costs, self._problem.budget, random)
            if tuple(genotype.values()) not in known:
                break
        return genotype


class EvolutionChooser:
    """Regularised evolution (Real et al., arXiv:1802.01548, section 3.2).

    The population is a queue: who is born joins it, the oldest leaves it. So it is the end of the log. A
    child that breaks the budget is not born; its parent tries again.
    """

    def __init__(self, problem: SearchProblem, recipe: EvolutionRecipe) -> None:
        self._problem, self._recipe = problem, recipe
        self._first = RandomChooser(problem)

    def __call__(self, log: Sequence[Tried], random: np.random.Generator) -> dict[str, str]:
        recipe, problem = self._recipe, self._problem
        if len(log) < recipe.population:
            return self._first(log, random)
        population = log[-recipe.population :]
        sample = random.choice(len(population), recipe.sample, replace=False)
        parent = max((population[int(index)] for index in sample), key=lambda tried: tried.score)
        known = {tried.options for tried in log}
        genotype = dict(zip((d.name for d in problem.space.decisions), parent.options, strict=True))
        children = [mutated(problem.space, genotype, recipe.mutations, random) for _ in range(_TRIES)]
        budget = problem.budget
        if budget is not None:
            spent = problem.costs.cost(children, [budget.name])[budget.name]
            children = [c for c, cost in zip(children, spent, strict=True) if cost <= budget.value]
        new = [child for child in children if tuple(child.values()) not in known]
        return (new or children or [self._first(log, random)])[0]


class SampledSearch:
    """A ``SearchStrategy``: the scorer prepares itself, then networks are tried out, each an epoch."""

    curves = ("loss", "score", "best", "tried")

    def __init__(
        self, problem: SearchProblem, scorer: Scorer, choose: Chooser, *, candidates: int, seed: int
    ) -> None:
        self._problem, self._scorer, self._choose = problem, scorer, choose
        self._candidates, self._seed = candidates, seed
        self.log: list[Tried] = []

    @property
    def step(self) -> int:
        """Steps of preparation, and networks tried."""
        return self._scorer.step + len(self.log)

    @property
    def steps_wanted(self) -> int:
        """In all."""
        return self._scorer.steps_wanted + self._candidates

    def steps(self) -> Generator[Progress, None, None]:
        """Go on to the end."""
        mean = self._problem.costs.mean()
        mean = {name: mean[name] for name in SEARCHED}
        while self._scorer.step < self._scorer.steps_wanted:
            with HeldInterrupts(errors_first=True):
                loss = self._scorer.prepare()
                yield self._progress(loss, mean, f"shared weights, loss {loss:.3f}")
        while len(self.log) < self._candidates:
            random = np.random.default_rng([self._seed, len(self.log)])
            genotype = self._choose(self.log, random)
            score = self.score(genotype)
            with HeldInterrupts(errors_first=True):  # what is in the log is also told
                self.log.append(Tried(tuple(genotype.values()), score))
                best, shown = self._best(), self._problem.task.shown
                said = f"network {len(self.log)} of {self._candidates}: {shown(score)}, "
                yield self._progress(math.nan, self._expected(best), f"{said}best {shown(best.score)}")

    def _progress(self, loss: float, expected: Mapping[str, float], said: str) -> Progress:
        last = self.log[-1].score if self.log else math.nan
        best = self._best().score if self.log else math.nan
        values = {"loss": loss, "score": last, "best": best, "tried": len(self.log)}
        prepared, of_epoch = divmod(self._scorer.step, self._scorer.steps_per_epoch)
        return Progress(
            epoch=prepared + len(self.log) - (of_epoch == 0),
            step=self.step,
            ends_epoch=of_epoch == 0,
            values=values,
            expected=expected,
            said=said,
        )

    def score(self, genotype: Genotype) -> float:
        """Of the log, where the network is in it."""
        options = tuple(self._problem.space.check(genotype).values())
        known = next((tried.score for tried in self.log if tried.options == options), None)
        if known is not None:
            return known
        return self._scorer.score(genotype)

    def propose(self, count: int, seed: int) -> list[Genotype]:
        """The best of the log."""
        ranked = sorted(dict.fromkeys(self.log), key=lambda tried: -tried.score)
        return [self._genotype(tried) for tried in ranked[:count]]

    def worth(self, network: Judged) -> float:
        """Its score."""
        return network.score

    def companions(self) -> dict[str, Architecture]:
        """None."""
        return {}

    def state(self) -> dict[str, Any]:
        """What the scorer knows, and the log."""
        return {
            "scorer": self._scorer.state(),
            "log": [[list(tried.options), tried.score] for tried in self.log],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave."""
        self._scorer.restore(state["scorer"])
        self.log = [Tried(tuple(options), score) for options, score in state["log"]]

    def summary(self) -> dict[str, Any]:
        """Which networks were tried, in order, and what the best costs."""
        tried = [{"options": list(entry.options), "score": entry.score} for entry in self.log]
        return {"expected": self._expected(self._best()), "tried": tried}

    def _best(self) -> Tried:
        return max(self.log, key=lambda tried: tried.score)

    def _genotype(self, tried: Tried) -> dict[str, str]:
        names = (decision.name for decision in self._problem.space.decisions)
        return dict(zip(names, tried.options, strict=True))

    def _expected(self, tried: Tried) -> dict[str, float]:
        costs = self._problem.costs.cost([self._genotype(tried)], SEARCHED)
        return {name: float(values[0]) for name, values in costs.items()}
