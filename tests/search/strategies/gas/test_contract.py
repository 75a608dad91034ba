"""The search after GAS keeps the contract of strategies."""

from functools import partial

import pytest

from ..contract import Make, StrategyContract
from ..helpers import CELLS, problem


class TestGas(StrategyContract):
    stops = (2, 3, 4)  # within and at the end of what weights learn alone, in the search

    @pytest.fixture
    def make(self) -> Make:
        return partial(problem, strategy="gas", space=CELLS)
