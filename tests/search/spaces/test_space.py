"""Every space that ships, and one that is no chain, keep the contract of spaces."""

import numpy as np
import pytest

from search.spaces.registry import SPACES
from search.spaces.space import SearchSpace, one_hot, uniform

from ..strategies.helpers import FIVE
from .contract import SearchSpaceContract
from .toy_space import TOY

LARGE = ("fastdense-templates",)  # 52 000 parts


class TestShippedSpaces(SearchSpaceContract):
    @pytest.fixture(
        params=[pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in SPACES]
    )
    def space(self, request: pytest.FixtureRequest) -> SearchSpace:
        return SPACES[request.param]

    def peak_slack(self, space: SearchSpace) -> float:
        """Of what waits, which hangs on what else was chosen."""
        return 0.3 if space.name.startswith("gas") else 0.4 if space.name in LARGE else 0.0


class TestToySpace(SearchSpaceContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return TOY

    def test_a_choice_inside_a_branch_runs_as_often_as_both_are_made(self) -> None:
        chances = {name: float(chance) for name, chance in TOY.marginals(uniform(TOY)).items()}
        assert chances["branch.wide"] == 0.5
        assert chances["branch.deep.k3"] == chances["branch.deep.k5"] == 0.25


def test_certain_distributions_are_ones_at_the_options() -> None:
    genotypes = [FIVE.sample(np.random.default_rng(seed)) for seed in range(3)]
    for decision in FIVE.decisions:
        rows = one_hot(FIVE, genotypes)[decision.name]
        assert rows.shape == (3, 13)
        assert rows.sum(axis=1).tolist() == [1.0] * 3
        assert [decision.options[i] for i in rows.argmax(axis=1)] == [g[decision.name] for g in genotypes]
