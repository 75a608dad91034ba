"""Networks drawn by a controller that learns from the log of those before."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from search.errors import SearchError
from search.networks.names import HasEncoder
from search.problem.problem import SearchProblem
from search.strategies.fastdense.controller import Action, Controller
from search.strategies.fastdense.policy import Policy, PolicySettings
from search.strategies.sampling.choosers import Options, tried_before
from search.strategies.sampling.recipe import PpoRecipe
from search.strategies.sampling.tried import Tried
from targets.support.interrupts import HeldInterrupts

_TRIES = 1000  # for a network that the space has


class PolicyChooser:
    """A ``Chooser``: what it draws next is a function of the recipe's seed and the log alone.

    It learns from networks in the log's order. What one costs above the budget lowers what is paid for it.
    Where no draw is new and within the budget, the cheapest new one is taken.
    """

    def __init__(self, problem: SearchProblem, recipe: PpoRecipe) -> None:
        self._problem, self._recipe = problem, recipe
        space, own = problem.space, recipe.controller
        warm_up = len(space.encoder.taps) if isinstance(space, HasEncoder) else 0
        controller = Controller(space.decisions, warm_up, feedback=own.feedback, seed=recipe.seed)
        settings = PolicySettings(**own.model_dump(exclude={"feedback"}))
        self.policy = Policy(controller, settings, recipe.seed)

    def __call__(
        self, log: Sequence[Tried], random: np.random.Generator, beside: Collection[Options] = ()
    ) -> dict[str, str]:
        with HeldInterrupts():  # a policy that learned half of a round is none that can be gone on with
            self._learn(log[self.policy.count :])
        generator = torch.Generator().manual_seed(int(random.integers(1 << 62)))
        before = tried_before(log, beside)
        budget = self._problem.budget
        most = math.inf if budget is None else budget.value
        drawn: list[tuple[bool, float, int, dict[str, str]]] = []
        for genotype in islice(self._drawn(generator), self._recipe.draws):
            known, spent = tuple(genotype.values()) in before, self._spent(genotype)
            if not known and spent <= most:
                return genotype
            drawn.append((known, spent, len(drawn), genotype))
        return min(drawn)[-1] if drawn else self._problem.space.sample(random)

    def _drawn(self, generator: torch.Generator) -> Iterator[dict[str, str]]:
        """Networks of the space; not all that can be drawn are."""
        for _ in range(_TRIES):
            controller = self.policy.controller
            try:
                yield self._problem.space.check(controller.genotype(controller.draw(generator).places))
            except SearchError:
                continue

    def _learn(self, news: Sequence[Tried]) -> None:
        """Of networks that were drawn by the policy as it is now."""
        controller = self.policy.controller
        actions = []
        for tried in news:
            places = controller.places(self._genotype(tried))
            with torch.no_grad():
                actions.append(Action(places, float(controller.log_probability(places))))
        for tried, action in zip(news, actions, strict=True):
            self.policy.learn(action, self.paid(tried))

    def paid(self, tried: Tried) -> float:
        """For a network: its reward, less where it costs more than the budget."""
        budget = self._problem.budget
        if budget is None:
            return tried.reward
        over = max(self._spent(self._genotype(tried)) / budget.value, 1.0)
        return float(tried.reward * over**-self._recipe.over_budget)

    def _spent(self, genotype: Mapping[str, str]) -> float:
        name = self._problem.cost
        return float(self._problem.costs.cost([genotype], [name])[name][0])

    def _genotype(self, tried: Tried) -> dict[str, str]:
        names = (decision.name for decision in self._problem.space.decisions)
        return dict(zip(names, tried.options, strict=True))

    def state(self) -> dict[str, Any]:
        """The policy."""
        return self.policy.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """What ``state`` gave."""
        self.policy.restore(state)
