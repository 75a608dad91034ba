"""The k-th largest value."""

import math

import pytest
import torch

from search.parallel.selection import kth_largest


def values(count: int) -> torch.Tensor:
    """With repeated, tiny and large ones, and both zeros."""
    drawn = torch.randn(count, generator=torch.Generator().manual_seed(count)).abs()
    drawn[: count // 3] = (drawn[: count // 3] * 4).round() / 4
    drawn[-4:] = torch.tensor([0.0, -0.0, 1e-42, 3e38])
    return drawn


@pytest.mark.parametrize("count", [4, 7, 200])
def test_as_sorting_finds_it(count: int) -> None:
    drawn = values(count)
    ordered = drawn.sort(descending=True).values
    for k in range(1, count + 1):
        assert kth_largest(drawn, k) == float(ordered[k - 1])


def test_what_is_no_number_is_larger_than_all() -> None:
    assert math.isnan(kth_largest(torch.tensor([1.0, math.nan, math.inf]), 1))
    assert math.isnan(kth_largest(torch.tensor([1.0, -math.nan, 2.0]), 1))
    assert kth_largest(torch.tensor([1.0, -math.nan, math.inf]), 2) == math.inf
