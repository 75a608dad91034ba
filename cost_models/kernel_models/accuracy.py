"""How well predictions tell what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cost_models.errors import CostModelError
from cost_models.estimate import Estimate

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Errors:
    """Of predictions against measurements. Shares are 0..1.

    Attributes:
        count: predictions judged.
        mape: mean size of the relative errors.
        median: of the same.
        within_5, within_10: share of predictions off by at most 5 or 10 %.
        spearman: rank correlation; 0 where one side has a single value.
        coverage: share of measurements inside their interval.
        far: share of predictions that say they are far from everything measured.
    """

    count: int
    mape: float
    median: float
    within_5: float
    within_10: float
    spearman: float
    coverage: float
    far: float

    @staticmethod
    def of(predictions: Sequence[Estimate], measured_s: Sequence[float]) -> "Errors":
        """Raises CostModelError when there is nothing to judge, or not one measurement a prediction."""
        if not predictions or len(predictions) != len(measured_s):
            raise CostModelError(
                "errors need predictions and a measurement of each, "
                f"found {len(predictions)} predictions and {len(measured_s)} measurements"
            )
        measured = np.array(measured_s)
        rows = [(p.median_s, p.low_s, p.high_s, p.far) for p in predictions]
        median, low, high, far = np.array(rows, dtype=np.float64).T
        off = np.abs(median / measured - 1)
        return Errors(
            count=len(predictions),
            mape=float(off.mean()),
            median=float(np.median(off)),
            within_5=float(np.mean(off <= 0.05)),
            within_10=float(np.mean(off <= 0.1)),
            spearman=spearman(median, measured),
            coverage=float(np.mean((low <= measured) & (measured <= high))),
            far=float(far.mean()),
        )


def spearman(first: Vector, second: Vector) -> float:
    """Correlation of ranks, the mean rank for equals; 0 where one side has a single value, or none.

    What is not a number is the largest of its side.
    """
    from scipy.stats import spearmanr  # takes a second or two to load

    places = [np.unique(side, return_inverse=True)[1].reshape(-1) for side in (first, second)]
    if any(len(set(side.tolist())) < 2 for side in places):
        return 0.0
    return float(spearmanr(*places).statistic)
