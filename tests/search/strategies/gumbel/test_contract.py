"""Gumbel-softmax keeps the contract of strategies."""

from pathlib import Path
from typing import Any

import pytest

from search.problem.problem import SearchProblem

from ..contract import Make, StrategyContract
from ..helpers import problem


class TestGumbel(StrategyContract):
    stops = (2, 3, 7)  # within an epoch, at the end of one, among the paths that learn afterwards

    @pytest.fixture
    def make(self) -> Make:
        def make(**changes: Any) -> SearchProblem:
            usual: dict[str, Any] = {"remove_below": 0.05, "path_training": {"epochs": 1}}
            return problem(**(usual | changes))

        return make

    @pytest.mark.parametrize("share", [0.3, 0.6])
    def test_the_chosen_network_keeps_the_budget(self, make: Make, share: float, tmp_path: Path) -> None:
        """The distribution meets it in the mean: so some of a few networks that are drawn of it do."""

        def judging_more(**changes: Any) -> SearchProblem:
            return make(judging={"networks": 12, "frames": 1, "calibration_batches": 1}, **changes)

        super().test_the_chosen_network_keeps_the_budget(judging_more, share, tmp_path)
