"""The search of a grid beside its teacher keeps the contract of strategies."""

from pathlib import Path

import pytest

from search.problem.problem import SearchProblem
from search.run import run_search
from search.spaces.fasterseg.derive import score

from ..contract import Make, StrategyContract
from ..helpers import ALONE, Log
from .problems import cosearch


@pytest.mark.slow  # that it goes on as if it had not stopped, and its files, are not: see test_cosearch.py
class TestCosearch(StrategyContract):
    stops = (1, 2)  # at the end of the pretraining, at the end of an epoch of the search

    @pytest.fixture
    def make(self) -> Make:
        return cosearch

    @pytest.mark.parametrize("share", [0.18, 0.6])
    def test_the_chosen_network_keeps_the_budget(self, make: Make, share: float, tmp_path: Path) -> None:
        """Of those that do, faster ones are worth a little more."""
        wanted: SearchProblem = make(share)
        found = run_search(wanted, tmp_path, ALONE, resume=False, watch=Log())
        self.check_budget(wanted, found)
        assert wanted.budget is not None
        within = [n for n in found.networks if n.latency_s <= wanted.budget.value]
        best = max(score(n.score, n.latency_s) for n in within)
        assert score(found.chosen.score, found.chosen.latency_s) == best
