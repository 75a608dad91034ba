"""Which kernels of a space to measure first, where the others are to be predicted from them.

All kernels are put into one order, every beginning of which is a choice: so a profile of 120 measures 60 more
than one of 60, and none again. The order hangs on the kernels and on the width of the machine's vectors, not
on anything measured.

First come those that are in every network, then the largest and the smallest of each sort (window, stride,
dilation, groups, what is fused), since neither a sort that nobody measured nor sizes beyond all measured ones
are told well. Then, one by one, the kernel that brings all others nearest to a measured one, by the distance
that the predictor's intervals go by: greedy k-median, whose error is within a factor of what any choice can
reach (Nemhauser, Wolsey and Fisher, "An analysis of approximations for maximizing submodular set functions",
1978). Designs that are D-optimal in logarithms of sizes were tried and are no better (docs/profiling.md).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.features import Machine, Vector, matrix
from cost_models.kernel_models.intervals import coordinates, pairwise, sorts

_DIGITS = 9  # gains that agree so far are equal: sums differ in their last bits between processors


@dataclass(frozen=True)
class Design:
    """Kernels in the order in which they are worth measuring.

    Attributes:
        order: all of them.
        least: how many of them must be measured in any case.
    """

    order: tuple[Kernel, ...]
    least: int

    @staticmethod
    def of(
        kernels: Collection[Kernel], always: Collection[Kernel], fingerprint: Mapping[str, Any]
    ) -> "Design":
        """Of distinct kernels, in whatever order they come.

        Args:
            always: those of them that every network has.
            fingerprint: of the environment that they will be measured in.
        """
        known = sorted(kernels, key=lambda kernel: kernel.key)
        machine = Machine.of(fingerprint, macs_per_s=1.0, bytes_per_s=1.0)  # no rate has a say here
        table = matrix(known, machine)
        chosen = [row for row, kernel in enumerate(known) if kernel in always]
        chosen = list(dict.fromkeys([*chosen, *_extremes(known, table)]))
        rows = _nearer(coordinates(table), chosen)
        return Design(tuple(known[row] for row in rows), len(chosen))


def _extremes(kernels: Sequence[Kernel], table: Vector) -> list[int]:
    """Rows of the largest and the smallest of each sort, all the largest first."""
    members: dict[int, list[int]] = {}
    for row, sort in enumerate(sorts(table).tolist()):
        members.setdefault(sort, []).append(row)

    def work(row: int) -> tuple[int, int]:
        return kernels[row].macs, kernels[row].bytes_moved

    return [max(rows, key=work) for rows in members.values()] + [
        min(rows, key=work) for rows in members.values()
    ]


def _nearer(places: Vector, chosen: Sequence[int]) -> list[int]:
    """All rows: the chosen ones, then always the one that shortens the distances of all others most."""
    apart = pairwise(places, places)
    rows, gap = list(chosen), apart[:, list(chosen)].min(axis=1, initial=np.inf)
    left = np.ones(len(places), dtype=bool)
    left[rows] = False
    while left.any():
        gains = np.where(left, np.maximum(gap[:, None] - apart, 0).sum(axis=0).round(_DIGITS), -1.0)
        best = int(gains.argmax())
        rows.append(best)
        left[best] = False
        gap = np.minimum(gap, apart[:, best])
    return rows
