"""Gumbel-softmax keeps the contract of strategies, and what is its own: the expected cost meets the budget."""

import pytest

from ..contract import Make, StrategyContract
from ..helpers import problem


class TestGumbel(StrategyContract):
    stops = (2, 3, 7)  # within an epoch, at the end of one, among the paths that learn afterwards

    @pytest.fixture
    def make(self) -> Make:
        def make(**changes: object) -> object:
            usual = {"remove_below": 0.05, "draws": "image", "path_training": {"epochs": 1}}
            return problem(**(usual | changes))  # type: ignore[arg-type]

        return make  # type: ignore[return-value]
