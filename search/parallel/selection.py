"""Which value is the k-th largest of those that all processes hold."""

import torch
from torch import Tensor

from search.parallel.ranks import Ranks

_HALF = 16  # bits
_ALL_BUT_SIGN = (1 << 31) - 1


def kth_largest(values: Tensor, k: int, ranks: Ranks | None = None) -> float:
    """Exactly, by two exchanges of 65536 counts, however many values there are.

    Numbers that are not negative are ordered as their bits are: those of the upper half are found first.

    Args:
        values: (n,), 0 or more, taken as float32; n may differ between processes, and be 0.
        k: 1 to the number of values of all processes.
    """
    bits = values.detach().to(torch.float32).view(torch.int32) & _ALL_BUT_SIGN
    upper = bits >> _HALF
    high, left = _place(upper, k, ranks)
    low, _ = _place(bits[upper == high] & (1 << _HALF) - 1, left, ranks)
    return float(torch.tensor(high << _HALF | low, dtype=torch.int32).view(torch.float32))


def _place(digits: Tensor, k: int, ranks: Ranks | None) -> tuple[int, int]:
    """The k-th largest of digits below 65536, and the how-manieth of those that are equal to it."""
    counts = torch.bincount(digits, minlength=1 << _HALF)
    counts = (ranks.sum(counts) if ranks else counts).flip(0)
    reached = counts.cumsum(0)
    index = int((reached < k).sum())
    return (1 << _HALF) - 1 - index, k - int(reached[index] - counts[index])
