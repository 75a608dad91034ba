"""How good predictions are on kernels that were left out: at random, and all of a sort at once.

A random hold-out leaves near-copies of every kernel in the fit, and flatters. The hard ones leave out every
kernel of a map size (what an unseen resolution comes to), of a channel count, or of a window and dilation.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cost_models.errors import CostModelError
from cost_models.intervals import Prediction
from cost_models.kernels import Kernel
from cost_models.ops import Conv2d

SPLITS = ("random", "resolution", "channels", "window")
LEAST_KEPT = 10
_FIFTHS = 5

Vector = npt.NDArray[np.float64]
Predict = Callable[[Sequence[Kernel]], Sequence[Prediction]]
Fit = Callable[[Sequence[Kernel], Sequence[float]], Predict]


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
    def of(predictions: Sequence[Prediction], measured_s: Sequence[float]) -> "Errors":
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


@dataclass(frozen=True, slots=True)
class HoldOut:
    """One way of leaving out.

    Attributes:
        groups: how many times something was left out and the rest fitted.
        overall: errors of everything that was left out.
        by_kind: the same for each ``Kernel.kind``.
    """

    groups: int
    overall: Errors
    by_kind: Mapping[str, Errors]


def hold_outs(
    kernels: Sequence[Kernel],
    seconds: Sequence[float],
    fit: Fit,
    *,
    splits: Sequence[str] = SPLITS,
    seed: int = 0,
) -> dict[str, HoldOut]:
    """Leave out and predict, in each of several ways.

    Groups that leave fewer than 10 kernels to fit to are not tried; a split without any other is left out.

    Args:
        seconds: measured latency of each kernel.
        fit: makes, from the kernels that are kept, the function that predicts the others.
        splits: ``random`` fifths, every ``resolution`` (size of the output map), every count of ``channels``,
            every ``window`` (kernel size and dilation of what is larger than a pixel).
        seed: of the random fifths.
    """
    found = {}
    for split in splits:
        rows: list[int] = []
        predictions: list[Prediction] = []
        groups = 0
        for left in _left_out(kernels, split, seed):
            kept = sorted(set(range(len(kernels))) - set(left))
            if len(kept) < LEAST_KEPT:
                continue
            predict = fit([kernels[i] for i in kept], [seconds[i] for i in kept])
            predictions += predict([kernels[i] for i in left])
            rows += left
            groups += 1
        if rows:
            found[split] = _judge([kernels[i] for i in rows], [seconds[i] for i in rows], predictions, groups)
    return found


def spearman(first: Vector, second: Vector) -> float:
    """Correlation of ranks, the mean rank for equals; 0 where one side has a single value."""
    ranks = [_ranks(side) - (len(side) - 1) / 2 for side in (first, second)]
    norm = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / norm if norm else 0.0


def _ranks(values: Vector) -> Vector:
    """From 0; equals share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[group.reshape(-1)], dtype=np.float64)


def _judge(
    kernels: Sequence[Kernel], seconds: Sequence[float], predictions: Sequence[Prediction], groups: int
) -> HoldOut:
    by_kind = {}
    for kind in sorted({kernel.kind for kernel in kernels}):
        rows = [i for i, kernel in enumerate(kernels) if kernel.kind == kind]
        by_kind[kind] = Errors.of([predictions[i] for i in rows], [seconds[i] for i in rows])
    return HoldOut(groups, Errors.of(predictions, seconds), by_kind)


def _left_out(kernels: Sequence[Kernel], split: str, seed: int) -> list[list[int]]:
    """Rows of each group; a row may be in several, or in none."""
    if split == "random":
        order = np.random.default_rng(seed).permutation(len(kernels)).tolist()
        return [order[fifth::_FIFTHS] for fifth in range(min(_FIFTHS, len(order)))]
    rows: dict[Hashable, list[int]] = {}
    for row, kernel in enumerate(kernels):
        for group in _HARD[split](kernel):
            rows.setdefault(group, []).append(row)
    return list(rows.values())


def _map_size(kernel: Kernel) -> Iterator[Hashable]:
    """Of the output; odd sides count as the even ones that they were cut from."""
    *_, height, width = kernel.output_shape
    yield height + height % 2, width + width % 2


def _channel_counts(kernel: Kernel) -> Iterator[Hashable]:
    """Of a convolution's input and output."""
    for node in kernel.graph.nodes:
        if isinstance(node.op, Conv2d):
            yield from {node.op.in_channels, node.op.out_channels}


def _window(kernel: Kernel) -> Iterator[Hashable]:
    """Kernel size and dilation, of those that look beyond their own pixel."""
    for node in kernel.graph.nodes:
        if isinstance(node.op, Conv2d) and node.op.kernel > 1:
            yield node.op.kernel, node.op.dilation


_HARD = {"resolution": _map_size, "channels": _channel_counts, "window": _window}
