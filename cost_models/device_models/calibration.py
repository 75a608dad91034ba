"""A prior's rates, fitted to the latencies of a few whole networks.

Five numbers against about eight: the fit starts from the device's peaks and moves as far as the networks tell
(least squares of logarithms with a wide normal prior, by the method of Levenberg and Marquardt). Whatever is
chosen, is chosen within the networks at hand: the error that is told of a left-out network comes from a
choice and a fit that have not seen it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cost_models.device_models.prior import CLASSES, Prior, Reported, class_of, rounded_macs
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel

LEAST_NETWORKS = 4
STEPS = ((1, 1), (8, 1), (16, 1), (32, 1), (1, 8), (1, 16), (1, 32), (8, 8), (16, 16), (32, 32))

_NOISE = 0.05  # of latencies, as logarithms
_WIDTH = math.log(10)  # of rates before anything is measured: run-times differ by that much
_ROUNDS, _CLOSE = 100, 1e-7
_FOLDS = 10  # of networks left out together when steps are chosen; one each of ten and fewer networks

Vector = npt.NDArray[np.float64]


def calibrate(
    start: Prior,
    networks: Mapping[str, Sequence[Kernel]],
    seconds: Mapping[str, float],
    *,
    origin: str,
    conditions: str,
) -> Prior:
    """Fit a prior's rates, and the steps of its channels, to measured networks.

    Args:
        start: rates to begin with; they stay as they are where the networks do not tell.
        networks: name -> kernels as they run.
        seconds: name -> latency.
        origin, conditions: of the latencies, see ``Prior``.

    Raises:
        CostModelError: fewer than four networks, other names, or a latency that is not above 0 and finite.
    """
    _check(networks, seconds)
    data = _Data.of(list(networks.values()), [seconds[name] for name in networks])
    every = list(range(len(networks)))
    fitted = _choose(start, data, every)
    reported = []
    for index, (name, kernels) in enumerate(networks.items()):
        without = _choose(start, data, every[:index] + every[index + 1 :])
        left_out_s = sum(map(without.predict_s, kernels))
        reported.append(Reported(name, seconds[name], left_out_s, fitted.shares(kernels)))
    return replace(fitted, origin=origin, conditions=conditions, networks=tuple(reported))


def _check(networks: Mapping[str, Sequence[Kernel]], seconds: Mapping[str, float]) -> None:
    common = networks.keys() & seconds.keys()
    if len(common) < LEAST_NETWORKS or networks.keys() != seconds.keys() or not all(networks.values()):
        raise CostModelError(
            f"a calibration needs at least {LEAST_NETWORKS} networks of kernels and a latency of each, found "
            f"{len(networks)} networks and {len(seconds)} latencies, {len(common)} of them of the same name"
        )
    for name, latency_s in seconds.items():
        if not (math.isfinite(latency_s) and latency_s > 0):
            raise CostModelError(f"network {name}: latencies must be finite and > 0 s, found {latency_s!r}")


@dataclass(frozen=True, slots=True)
class _Data:
    """Networks as the fit sees them: the kernels of all, one network's after another's.

    Attributes:
        starts: (networks) index of the first kernel of each.
        counts: (networks) number of kernels.
        kinds: (classes, kernels) 1 where a kernel is of the class, else 0.
        macs: steps of channels -> (kernels) rounded multiply-accumulates.
        bytes: (kernels).
        seconds: (networks).
    """

    starts: npt.NDArray[np.int64]
    counts: Vector
    kinds: Vector
    macs: Mapping[tuple[int, int], Vector]
    bytes: Vector
    seconds: Vector

    @staticmethod
    def of(networks: Sequence[Sequence[Kernel]], seconds: Sequence[float]) -> "_Data":
        counts = np.array([len(kernels) for kernels in networks])
        kernels = [kernel for network in networks for kernel in network]
        return _Data(
            np.cumsum(counts) - counts,
            counts.astype(float),
            np.array([[class_of(kernel) == name for kernel in kernels] for name in CLASSES], dtype=float),
            {steps: np.array([rounded_macs(kernel, steps) for kernel in kernels]) for steps in STEPS},
            np.array([float(kernel.bytes_moved) for kernel in kernels]),
            np.array(seconds),
        )

    def errors(self, parameters: Vector, steps: tuple[int, int]) -> tuple[Vector, Vector]:
        """Logarithms of predicted to measured (networks), and their slopes (networks, parameters)."""
        costs = np.exp(-parameters[:-1])
        macs_s, bytes_s = self.macs[steps] * (costs[:-1] @ self.kinds), self.bytes * costs[-1]
        launches_s = self.counts * math.exp(parameters[-1])
        bound = macs_s > bytes_s
        parts = np.vstack([self.kinds * (bound * macs_s), ~bound * bytes_s])
        sums = np.add.reduceat(parts, self.starts, axis=1)
        totals = sums.sum(axis=0) + launches_s
        return np.log(totals / self.seconds), np.vstack([-sums, launches_s]).T / totals[:, None]


def _choose(start: Prior, data: _Data, networks: Sequence[int]) -> Prior:
    """The fit to some of the networks, with the steps that tell left-out ones of them best."""

    def error(steps: tuple[int, int]) -> float:
        total = 0.0
        for fold in range(min(_FOLDS, len(networks))):
            left = networks[fold::_FOLDS]
            parameters = _fit(start, data, [other for other in networks if other not in left], steps)
            total += float(np.abs(data.errors(parameters, steps)[0][left]).sum())
        return total

    steps = min(STEPS, key=error)
    *rates, bytes_per_s, overhead_s = np.exp(_fit(start, data, networks, steps)).tolist()
    macs_per_s = dict(zip(CLASSES, rates, strict=True))
    return replace(
        start, macs_per_s=macs_per_s, bytes_per_s=bytes_per_s, overhead_s=overhead_s, channel_steps=steps
    )


def _parameters(prior: Prior) -> Vector:
    """Logarithms of the rates by class, of the bandwidth and of the overhead."""
    return np.log([*(prior.macs_per_s[name] for name in CLASSES), prior.bytes_per_s, prior.overhead_s])


def _fit(start: Prior, data: _Data, networks: Sequence[int], steps: tuple[int, int]) -> Vector:
    """Parameters with the least squares of errors and of moves, each in units of how well it is known.

    Not by ``scipy.optimize.least_squares``: the longer of arithmetic and traffic has edges, on which it stops
    elsewhere, and shipped priors would no longer be what their networks give.
    """
    known = _parameters(start)
    directions = np.eye(len(known)) / _WIDTH

    def residuals(parameters: Vector) -> tuple[Vector, Vector]:
        logs, slopes = data.errors(parameters, steps)
        moved = (parameters - known) / _WIDTH
        error = np.concatenate([logs[networks] / _NOISE, moved])
        return error, np.vstack([slopes[networks] / _NOISE, directions])

    parameters, damping = known, 1.0
    error, slope = residuals(parameters)
    for _ in range(_ROUNDS):
        normal = slope.T @ slope
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -slope.T @ error)
        tried, tried_slope = residuals(parameters + step)
        if tried @ tried < error @ error:
            parameters, error, slope, damping = parameters + step, tried, tried_slope, damping / 3
        else:
            damping *= 4
        if np.abs(step).max() < _CLOSE:
            break
    return parameters
