"""How far a kernel is from those that were measured, and how wide the interval around its prediction must be.

Intervals are conformal (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005): as wide
as nine out of ten errors on kernels that were left out of the fit, in groups by their distance to the nearest
kernel that stayed in it (the groups of Vovk's Mondrian predictors).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cost_models.estimate import CONFIDENCE, Estimate, Source
from cost_models.kernel_models.features import FEATURES, Vector

FAR = 3.0  # doublings of size
_STEPS = (0.5, 1.0, 2.0, FAR, math.inf)  # ends of the groups by distance
_Width = Annotated[float, Field(ge=0, le=20)]  # up to a factor of 500 million
_LEAST_IN_GROUP = 20  # smaller ones join the next

SIZES = ("group_channels", "out_channels", "pixels", "compared")
_PROGRAM = ("window", "stride", "dilation", "groups", "resizes", "reductions", "moves")
_RAGGED = ("ragged",)
_END = ("inputs", "elementwise")
_RAGGED_AT = len(SIZES + _PROGRAM)
# Doublings that a difference counts for; of another program nothing is known, and its end matters little.
_WEIGHTS = (1.0,) * len(SIZES) + (3.5,) * len(_PROGRAM + _RAGGED) + (0.5,) * len(_END)
_ROWS = 1024  # at a time

Groups = npt.NDArray[np.int64]
Place = Annotated[list[float], Field(min_length=len(_WEIGHTS), max_length=len(_WEIGHTS))]


def coordinates(table: Vector) -> Vector:
    """Where kernels (rows of ``features.matrix``) stand: the logarithms of sizes, then what is no size.

    Convolutions of maps that tiles and vectors do not divide are ragged: they are computed in another way.
    """
    column = dict(zip(FEATURES, table.T, strict=True))
    column["pixels"] = column["rows"] * column["columns"]
    column["ragged"] = np.asarray(column["tiled_macs"] > column["macs"], dtype=np.float64)
    column["compared"] = np.maximum(column["compared"], 1)  # most kernels compare nothing
    sizes = [np.log2(column[name]) for name in SIZES]
    return np.column_stack([*sizes, *(column[name] for name in _PROGRAM + _RAGGED + _END)])


def distances(places: Vector, known: Vector) -> Vector:
    """From each of ``places`` to the nearest of ``known`` (both ``coordinates``), in doublings of size.

    Differences add up. Another window, stride, dilation or number of groups, an operation more or less, or
    ragged beside whole, is another program, and counts as more than ``FAR``.
    """
    nearest = np.zeros(len(places))
    for start in range(0, len(places), _ROWS):
        some = slice(start, start + _ROWS)
        nearest[some] = pairwise(places[some], known).min(axis=1)
    return nearest


def pairwise(places: Vector, others: Vector) -> Vector:
    """From each to each, as ``distances``: (places, others)."""
    apart = np.zeros((len(places), len(others)))
    for index, weight in enumerate(_WEIGHTS):
        gap = np.abs(places[:, [index]] - others[:, index])
        apart += weight * (gap if index < len(SIZES) else gap > 0)
    return apart


def sorts(table: Vector) -> Groups:
    """Number of each kernel's sort (rows of ``features.matrix``): the program that it is, and its end."""
    place = np.delete(coordinates(table), [*range(len(SIZES)), _RAGGED_AT], axis=1)
    return np.unique(place, axis=0, return_inverse=True)[1].reshape(-1)


def families(table: Vector) -> tuple[Groups, Groups]:
    """Number of each kernel's group (rows of ``features.matrix``), by sizes alone and by program alone."""
    place = coordinates(table)
    end = len(SIZES) + len(_PROGRAM)
    parts = place[:, : len(SIZES)], place[:, len(SIZES) : end]
    by_size, by_program = (np.unique(part, axis=0, return_inverse=True)[1].reshape(-1) for part in parts)
    return by_size, by_program


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half widths of intervals, as logarithms of a factor.

    Attributes:
        widths: one for each group by distance, never falling.
        reach: the largest distance that errors are known at; beyond it widths grow in proportion.
    """

    widths: Annotated[Sequence[_Width], Field(min_length=len(_STEPS), max_length=len(_STEPS))]
    reach: Annotated[float, Field(ge=FAR)]

    @staticmethod
    def calibrate(apart: Vector, logs: Vector) -> "Intervals":
        """From kernels that were left out.

        Args:
            apart: distance of each to the nearest kernel that stayed.
            logs: size of the error of each, ``abs(log(predicted / measured))``.
        """
        widths: list[float] = []
        width, start = 0.0, -math.inf
        for index, end in enumerate(_STEPS, 1):
            group = np.sort(logs[(start < apart) & (apart <= end)])
            if len(group) >= _LEAST_IN_GROUP or index == len(_STEPS):
                rank = min(math.ceil((len(group) + 1) * CONFIDENCE), len(group))
                width = max(width, *group[rank - 1 : rank].tolist(), 0.0)
                widths += [width] * (index - len(widths))
                start = end
        return Intervals(tuple(widths), max(FAR, float(apart.max())))

    def estimates(self, medians_s: Vector, apart: Vector) -> list[Estimate]:
        """Medians with their intervals, for kernels that far away."""
        width = np.array(self.widths)[np.searchsorted(_STEPS, apart)]
        factor = np.exp(width * np.maximum(apart / self.reach, 1.0))
        columns = [medians_s, medians_s / factor, medians_s * factor, apart > FAR]
        return [
            Estimate(median_s, low_s, high_s, Source.PREDICTED, far)
            for median_s, low_s, high_s, far in zip(*(column.tolist() for column in columns), strict=True)
        ]
