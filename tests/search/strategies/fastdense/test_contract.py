"""The search by a controller keeps the contract of strategies."""

from pathlib import Path
from typing import Any

import pytest

from search.problem.problem import SearchProblem

from ...spaces.toy_space import TOY
from ..contract import Make, StrategyContract
from ..helpers import TRAINING, problem
from ..sampling.decoders import decoders, encoder_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder_weights(tmp_path_factory.mktemp("weights"))


class TestPpo(StrategyContract):
    stops = (1, 3)

    @pytest.fixture
    def make(self) -> Make:
        def make(**changes: Any) -> SearchProblem:
            return problem(strategy="ppo", space=TOY, scoring=TRAINING, **changes)

        return make


@pytest.mark.slow  # that scoring goes on as if it had not stopped is not: see test_progressive.py
class TestPpoOfDecoders(StrategyContract):
    stops = (1, 2)

    @pytest.fixture
    def make(self, weights: Path) -> Make:
        def make(**changes: Any) -> SearchProblem:
            return decoders(weights, **changes)

        return make
