"""Drawing networks from a distribution."""

import pytest

from search.strategies.drawn import draw_networks

CANDIDATES = [["a", "b", "c"], ["x", "y"]]


def test_drawn_networks_are_different_and_the_likeliest_is_among_them() -> None:
    networks = draw_networks([[0.2, 0.7, 0.1], [0.4, 0.6]], CANDIDATES, 4, seed=0)
    assert networks[0] == ("b", "y")
    assert len(networks) == len(set(networks)) == 4
    assert networks == draw_networks([[0.2, 0.7, 0.1], [0.4, 0.6]], CANDIDATES, 4, seed=0)


def test_a_settled_distribution_has_fewer_networks_than_wanted() -> None:
    assert draw_networks([[1.0, 0.0, 0.0], [0.5, 0.5]], CANDIDATES, 200, seed=1) in (
        [("a", "x"), ("a", "y")],
        [("a", "y"), ("a", "x")],
    )


def test_draws_follow_the_probabilities() -> None:
    counts = {"a": 0, "b": 0, "c": 0}
    for seed in range(400):
        _, other = draw_networks([[0.1, 0.6, 0.3], [1.0, 0.0]], CANDIDATES, 2, seed=seed)
        counts[other[0]] += 1
    assert counts["b"] == 0  # the likeliest is always there, as the first
    assert counts["c"] / counts["a"] == pytest.approx(3.0, rel=0.35)
