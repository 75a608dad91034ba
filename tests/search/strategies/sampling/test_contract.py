"""Random search and evolution keep the contract of strategies, by paths and by training."""

from typing import Any

import pytest

from search.problem.problem import SearchProblem

from ...spaces.toy_space import TOY
from ..contract import Make, StrategyContract
from ..helpers import TRAINING, problem


def maker(strategy: str, **usual: Any) -> Make:
    def make(**changes: Any) -> SearchProblem:
        return problem(strategy=strategy, **{**usual, **changes})

    return make


@pytest.mark.slow  # evolution by paths, and random search by training, are not
class TestRandomPaths(StrategyContract):
    stops = (2, 3, 6)  # within the preparation, at its end, among the tries

    @pytest.fixture
    def make(self) -> Make:
        return maker("random")


class TestEvolutionPaths(StrategyContract):
    stops = (2, 3, 7)  # the last with a child of the first population

    @pytest.fixture
    def make(self) -> Make:
        return maker("evolution")


class TestRandomTraining(StrategyContract):
    stops = (1, 3)

    @pytest.fixture
    def make(self) -> Make:
        return maker("random", space=TOY, scoring=TRAINING)


class TestEvolutionTraining(StrategyContract):
    stops = (1, 4)

    @pytest.fixture
    def make(self) -> Make:
        return maker("evolution", space=TOY, scoring=TRAINING)
