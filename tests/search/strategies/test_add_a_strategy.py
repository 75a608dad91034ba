"""A strategy of one's own keeps the contract: a line in `STRATEGIES`, one in `MAKERS`, a recipe."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict

from search.architecture import Architecture
from search.parallel.ranks import Ranks
from search.problem.goal import SEARCHED
from search.problem.judged import Judged
from search.problem.problem import SearchProblem
from search.problem.strategy import Progress
from search.spaces.sampling import candidates_of, draw, genotypes
from search.spaces.space import Genotype
from search.strategies.making import MAKERS
from search.strategies.registry import STRATEGIES, StrategyInfo
from targets.support.interrupts import HeldInterrupts

from .contract import Make, StrategyContract
from .helpers import ALONE, problem

NAME = "frugal"


class FrugalRecipe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["frugal"] = "frugal"
    name: str = "tiny"
    seed: int = 0
    networks: int = 3
    draws: int = 9

    @property
    def out_of_memory(self) -> str:
        return "out of memory: take fewer draws"


class Frugal:
    """The cheapest networks of some draws; who is cheaper scores higher."""

    curves = ("cheapest",)

    def __init__(self, wanted: SearchProblem, ranks: Ranks, state: Mapping[str, Any] | None) -> None:
        self._wanted, self._recipe = wanted, wanted.recipe
        self._rows = torch.zeros(0, len(wanted.space.decisions))
        if state:
            self.restore(state)

    @property
    def step(self) -> int:
        return len(self._rows)

    @property
    def steps_wanted(self) -> int:
        return int(self._recipe.model_dump()["draws"])

    def steps(self) -> Generator[Progress, None, None]:
        while self.step < self.steps_wanted:
            with HeldInterrupts(errors_first=True):
                random = np.random.default_rng([self._recipe.seed, self.step])
                self._rows = torch.cat([self._rows, torch.from_numpy(self._draw(random)).float()])
                spent = self._expected()
                values = {"cheapest": spent["latency"]}
                yield Progress(self.step - 1, self.step, True, values, spent, "drew another")

    def state(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._rows = state["rows"]

    def propose(self, count: int, seed: int) -> list[Genotype]:
        found = genotypes(self._wanted.space, self._rows.numpy().astype(np.int64))
        different = {tuple(genotype.values()): genotype for genotype in found}
        return sorted(different.values(), key=self._spent)[:count]

    def score(self, genotype: Genotype) -> float:
        return 1 / (1 + 1e3 * self._spent(genotype))

    def worth(self, network: Judged) -> float:
        return network.score

    def companions(self) -> Mapping[str, Architecture]:
        return {}

    def summary(self) -> Mapping[str, Any]:
        return {"expected": self._expected()}

    def _expected(self) -> dict[str, float]:
        costs = self._wanted.costs.cost(self.propose(1, 0), SEARCHED)
        return {name: float(costs[name][0]) for name in SEARCHED}

    def _draw(self, random: np.random.Generator) -> Any:
        return draw(candidates_of(self._wanted.space), 1, random)

    def _spent(self, genotype: Genotype) -> float:
        return float(self._wanted.costs.cost([genotype], ["latency"])["latency"][0])


def load_recipe(name: str | Path, changes: Mapping[str, Any]) -> FrugalRecipe:
    return FrugalRecipe(**changes)


class TestFrugal(StrategyContract):
    stops = (2, 9)
    within = (Frugal, "_draw")

    @pytest.fixture(autouse=True)
    def _known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names, free = (lambda: ["tiny"]), (lambda state, now: ())
        known = StrategyInfo("the cheapest of some draws", "that were drawn", load_recipe, names, free)
        monkeypatch.setitem(STRATEGIES, NAME, known)  # type: ignore[arg-type]
        monkeypatch.setitem(MAKERS, NAME, Frugal)  # type: ignore[arg-type]

    @pytest.fixture
    def make(self) -> Make:
        return _problem


def _problem(**changes: Any) -> SearchProblem:
    return replace(problem(), strategy=NAME, recipe=load_recipe("tiny", changes))


def test_its_draws_are_those_of_the_seed() -> None:
    found = [Frugal(_problem(seed=seed), ALONE, None) for seed in (1, 1, 2)]
    for search in found:
        list(search.steps())
    assert found[0].propose(3, 0) == found[1].propose(3, 0) != found[2].propose(3, 0)
