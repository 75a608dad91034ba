from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_models.errors import CostModelError
from cost_models.estimate import Estimate, Source
from cost_models.kernel_models.accuracy import Errors, spearman


def prediction(seconds: float, far: bool = False) -> Estimate:
    return Estimate(seconds, 0.9 * seconds, 1.1 * seconds, Source.PREDICTED, far)


def test_errors_by_hand() -> None:
    predictions = [prediction(1.04), prediction(2.16), prediction(3.6, far=True), prediction(8.0)]
    found = Errors.of(predictions, [1.0, 2.0, 3.0, 4.0])
    assert found.mape == pytest.approx((0.04 + 0.08 + 0.2 + 1.0) / 4)
    assert found.median == pytest.approx(0.14)
    assert (found.count, found.within_5, found.within_10) == (4, 0.25, 0.5)
    assert (found.coverage, found.far) == (0.5, 0.25)
    assert found.spearman == pytest.approx(1.0)


def test_errors_of_nothing_are_refused() -> None:
    with pytest.raises(CostModelError, match="found 0 predictions and 0 measurements"):
        Errors.of([], [])
    with pytest.raises(CostModelError, match="found 1 predictions and 2 measurements"):
        Errors.of([prediction(1.0)], [1.0, 2.0])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=20))
def test_rank_correlation_is_that_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    def ranks(values: Sequence[int]) -> list[float]:
        return [sum(v < x for v in values) + (sum(v == x for v in values) - 1) / 2 for x in values]

    first, second = zip(*pairs, strict=True)
    found = spearman(np.array(first, dtype=float), np.array(second, dtype=float))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found == 0
    else:
        assert found == pytest.approx(np.corrcoef(ranks(first), ranks(second))[0, 1])


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4], [10, 30, 20, 40], 0.8),
        ([1, 1, 2, 2], [1, 2, 3, 4], 4 / 20**0.5),  # equals share the mean of their ranks
        ([1, 2, 2, 3], [3, 2, 2, 1], -1),
        ([0, 0, 0], [1, 2, 3], 0),  # a single value
        ([1, 2, 3], [NAN, NAN, NAN], 0),
        ([1], [2], 0),
        ([], [], 0),
        ([1, 2, NAN], [1, 2, 3], 1),  # what is not a number is the largest
        ([1, INF, NAN], [1, 2, 3], 1),
        ([NAN, NAN, 1, 2], [3, 3, 1, 2], 1),
        ([NAN, 1, 2], [1, 2, 3], -0.5),
    ],
)
def test_rank_correlation_by_hand(first: list[float], second: list[float], expected: float) -> None:
    found = spearman(np.array(first, dtype=float), np.array(second, dtype=float))
    assert found == pytest.approx(expected, rel=1e-12)
