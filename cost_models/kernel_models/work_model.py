"""Latency as a sum of work that grows with a kernel's size: what the learned correction starts from.

Seconds are an overhead, multiply-accumulates and bytes by class of kernel, values compared, and bytes beyond
the sizes that caches have, each at a cost that is fitted and never below 0. Work never shrinks when channels
or pixels are added, so neither does the estimate, and it extrapolates, which trees cannot.

Unlike ``roofline.PhysicalModel``, which judges schedules and has few terms on purpose, this one tells strided
convolutions and the operations that only move data apart, and pays for what falls out of a cache.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from cost_models.kernel_models.features import FEATURES, Vector
from cost_models.kernel_models.roofline import solve_non_negative

_CACHES = tuple(2**exponent for exponent in (19, 20, 21, 22))  # bytes; where a cache really ends is fitted
_SHRINKING = 0.1  # pull towards no cost, beside one unit of relative error a kernel: steadies rare classes
_ROBUST = 0.05  # errors above this share count linearly, not by their square
_ROUNDS = 6  # of weighting by the errors of the round before; it settles in fewer
_LEAST_S = 1e-9


@dataclass(frozen=True, slots=True)
class Base:
    """Seconds a unit of each sort of work, none below 0; only work that occurred among what was measured."""

    costs_s: Mapping[str, Annotated[float, Field(ge=0)]]

    @staticmethod
    def fit(table: Vector, seconds: Vector) -> "Base":
        """Least relative errors, large ones counted linearly (a badly tuned kernel must not bend the rest).

        Args:
            table: ``features.matrix`` of the measured kernels.
            seconds: latency of each, above 0.
        """
        work = {name: amount for name, amount in _work(table).items() if amount.any()}
        relative = np.column_stack(list(work.values())) / seconds[:, None]
        scale = np.linalg.norm(relative, axis=0)
        relative /= scale
        shrinking = _SHRINKING * np.eye(len(work))
        weights, costs = np.ones(len(seconds)), np.zeros(len(work))
        for _ in range(_ROUNDS):
            rows = np.vstack([relative * weights[:, None], shrinking])
            costs = solve_non_negative(rows, np.concatenate([weights, np.zeros(len(work))]), costs)
            errors = np.abs(np.log(np.maximum(relative @ costs, _LEAST_S)))
            weights = 1 / np.sqrt(np.maximum(errors, _ROBUST))
            weights /= math.sqrt(np.mean(weights**2))
        return Base(dict(zip(work, (costs / scale).tolist(), strict=True)))

    def predict_s(self, table: Vector) -> Vector:
        """Seconds of each row of ``features.matrix``. Work never measured costs what is usual of its sort."""
        total = np.zeros(len(table))
        for name, amount in _work(table).items():
            total += amount * self._cost_s(name)
        return np.maximum(total, _LEAST_S)

    def _cost_s(self, name: str) -> float:
        sort = name.partition(".")[0]
        alike = [cost for other, cost in self.costs_s.items() if other.partition(".")[0] == sort]
        return self.costs_s.get(name, statistics.median(alike or [0.0]))


def _work(table: Vector) -> dict[str, Vector]:
    """Amounts by sort of work, named ``sort.class``.

    MACs, bytes read and written, bytes beyond a cache, and 1 a kernel. Convolutions work on maps that are
    filled up to whole vectors and tiles.
    """
    column = dict(zip(FEATURES, table.T, strict=True))
    bytes_moved = column["bytes_in"] + column["bytes_out"] + column["bytes_weights"]
    work = {"overhead": np.ones(len(table)), "macs.compared": column["compared"]}
    for name, members in _classes(column).items():
        if "moving" not in name:
            work[f"macs.{name}"] = column["tiled_macs"] * members
        work[f"read.{name}"] = (column["tiled_bytes_in"] + column["bytes_weights"]) * members
        work[f"written.{name}"] = column["tiled_bytes_out"] * members
    work |= {f"beyond.{size}": np.maximum(bytes_moved - size, 0) for size in _CACHES}
    return work


def _classes(column: Mapping[str, Vector]) -> dict[str, Vector]:
    """Which rows belong to each class: convolutions by kind and stride, the others by what they do."""
    window, groups, strided = column["window"], column["groups"], column["stride"] > 1
    convolution = window > 0
    kinds = {
        "pointwise": convolution & (groups == 1) & (window == 1),
        "dense": convolution & (groups == 1) & (window > 1),
        "depthwise": convolution & (groups == 0),
        "grouped": convolution & (groups > 1),
    }
    resizes, reductions, moves = (column[name] > 0 for name in ("resizes", "reductions", "moves"))
    classes = {kind: members & ~strided for kind, members in kinds.items()}
    classes |= {f"{kind}.strided": members & strided for kind, members in kinds.items()}
    return classes | {
        "moving.resize": ~convolution & resizes,
        "moving.reduction": ~convolution & ~resizes & reductions,
        "moving.copy": ~convolution & ~resizes & ~reductions & moves,
        "moving.elementwise": ~convolution & ~resizes & ~reductions & ~moves,
    }
