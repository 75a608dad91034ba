"""Statistics of raw samples: against known values, and against the distributions they speak of."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_models.statistics import (
    ENOUGH,
    disturbed_rounds,
    drift,
    interval_width,
    is_coarse,
    median_interval,
    outliers,
    relative_width,
)

SAMPLES = st.lists(st.floats(1e-7, 10.0), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("count", "rank"),  # ranks of the tables for 95 %, e.g. Le Boudec (2010), appendix A
    [(1, 1), (2, 1), (5, 1), (6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (30, 10), (50, 18), (70, 27)],
)
def test_ends_of_the_interval_are_the_samples_of_the_known_ranks(count: int, rank: int) -> None:
    samples = [float(n) for n in range(1, count + 1)]
    random.Random(count).shuffle(samples)
    assert median_interval(samples) == (rank, count + 1 - rank)


def test_thousands_of_samples_are_no_trouble() -> None:
    low, high = median_interval([float(n) for n in range(1, 2002)])
    assert (low, high) == (957.0, 1045.0)  # the normal approximation: 1001 +- 1.96 sqrt(2001) / 2


@pytest.mark.parametrize("count", [3, 5, 6, 11, 25])
def test_the_interval_holds_the_true_median_as_often_as_it_says(count: int) -> None:
    """Log-normal, as latencies are: median 1. Up to 5 samples cover 1 - 2**(1 - n)."""
    random_ = random.Random(7)
    trials = 4000
    held = 0
    for _ in range(trials):
        low, high = median_interval([random_.lognormvariate(0.0, 1.0) for _ in range(count)])
        held += low <= 1.0 <= high
    promised = 0.95 if count >= ENOUGH else 1 - 2.0 ** (1 - count)
    assert held / trials >= promised - 0.015


@given(SAMPLES)
def test_the_interval_is_around_the_median_and_within_the_samples(samples: list[float]) -> None:
    low, high = median_interval(samples)
    assert min(samples) <= low <= high <= max(samples)
    assert low <= statistics.median_high(samples)
    assert statistics.median_low(samples) <= high


def test_widths() -> None:
    assert interval_width((2.0, 4.0, 3.0)) == 2.0
    assert relative_width((2.0, 4.0, 3.0)) == pytest.approx(2 / 3)
    assert relative_width((3.0, 3.0)) == 0.0
    assert interval_width((3.0,)) == relative_width((3.0,)) == math.inf


def test_outliers_are_counted() -> None:
    quiet = [1.00, 1.01, 0.99, 1.02, 0.98, 1.01, 0.99]
    assert outliers(quiet) == 0
    assert outliers([*quiet, 1.5]) == 1
    assert outliers([*quiet, 1.5, 0.5]) == 2
    assert outliers([1.0, 1.0, 1.0, 1.1]) == 0  # no scatter to compare with
    assert outliers([1.0]) == 0


def test_drift_is_of_the_slowest_over_the_fastest() -> None:
    assert drift([1.0, 1.2, 1.1]) == pytest.approx(0.2)
    assert drift([1.0]) == drift([]) == 0.0


def test_rounds_beside_a_slow_reference_are_disturbed() -> None:
    assert disturbed_rounds([1.0, 1.04, 1.0, 1.3, 1.0, 1.0], 0.05) == (2, 3)
    assert disturbed_rounds([1.3, 1.3, 1.0], 0.05) == (0, 1)
    assert (
        disturbed_rounds([1.0, 1.04], 0.05)
        == disturbed_rounds([1.0], 0.05)
        == disturbed_rounds([], 0.05)
        == ()
    )


def test_a_coarse_clock_shows_in_equal_samples() -> None:
    assert is_coarse([2e-6, 2e-6, 2e-6, 3e-6, 2e-6])
    assert not is_coarse([2e-6, 2e-6, 2e-6, 2e-6])  # too few to tell
    assert not is_coarse([2e-6, 2e-6, 2e-6, 3e-6, 3e-6, 4e-6])  # half of them only
    assert not is_coarse([])
