"""Random networks: which ones a seed gives, and how likely each candidate is."""

import random

import numpy as np
import pytest

from search.spaces.registry import get_space
from search.spaces.sampling import draw, draw_by_seed, names_of

NAMES = [("a", "b", "c"), ("d", "e"), ("f",)]


def test_every_candidate_is_as_likely_unless_told_otherwise() -> None:
    choices = draw(NAMES, 6000, np.random.default_rng(0))
    assert choices.shape == (6000, 3)
    assert np.bincount(choices[:, 0]) / 6000 == pytest.approx([1 / 3] * 3, abs=0.03)
    assert np.bincount(choices[:, 1]) / 6000 == pytest.approx([1 / 2] * 2, abs=0.03)
    assert set(choices[:, 2]) == {0}


def test_chances_are_followed_and_need_no_sum_of_one() -> None:
    chances = [np.array([1.0, 0.0, 3.0]), np.array([0.2, 0.8]), np.array([5.0])]
    choices = draw(NAMES, 6000, np.random.default_rng(0), chances)
    assert np.bincount(choices[:, 0], minlength=3) / 6000 == pytest.approx([0.25, 0, 0.75], abs=0.03)
    assert np.bincount(choices[:, 1]) / 6000 == pytest.approx([0.2, 0.8], abs=0.03)


def test_every_network_may_have_chances_of_its_own() -> None:
    first = np.eye(3)[np.array([2, 0, 1, 1])]
    chances = [first, np.array([0.0, 1.0]), np.ones((4, 1))]
    choices = draw(NAMES, 4, np.random.default_rng(0), chances)
    assert choices.tolist() == [[2, 1, 0], [0, 1, 0], [1, 1, 0], [1, 1, 0]]


def test_more_networks_of_a_generator_go_on_where_the_first_end() -> None:
    whole, parts = np.random.default_rng(5), np.random.default_rng(5)
    together = np.vstack([draw(NAMES, 3, parts), draw(NAMES, 7, parts)])
    assert together.tolist() == draw(NAMES, 10, whole).tolist()


def test_chances_give_the_numbers_of_numpys_choice() -> None:
    """Searches of 0.1 drew so, one number after another; their records of judged networks hold."""
    rows = [np.array([0.2, 0.7, 0.1]), np.array([0.4, 0.6]), np.array([1.0])]
    one_by_one = np.random.default_rng(3)
    expected = [[int(one_by_one.choice(len(row), p=row)) for row in rows] for _ in range(200)]
    assert draw(NAMES, 200, np.random.default_rng(3), rows).tolist() == expected


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_networks_of_a_seed_are_those_of_0_1(seed: int) -> None:
    candidates = [position.candidates for position in get_space("small").positions]
    chance = random.Random(seed)
    expected = [tuple(chance.choice(names) for names in candidates) for _ in range(50)]
    found = [names_of(candidates, choice) for choice in draw_by_seed(candidates, 50, seed)]
    assert found == expected
    assert draw_by_seed(candidates, 0, seed).shape == (0, 20)
