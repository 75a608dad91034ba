"""All networks of a new device from a handful that were measured on it, and from what other devices are like.

The latency of a network is a sum of non-negative parts: amounts of physical work at a cost each, and shares
of its latencies on other devices. Several such models are fitted (the work alone; the other devices together;
each of them alone, scaled) and averaged, each with the weight that its errors at left-out networks earn it;
models of other forms that were fitted to the same networks can take part.
So a device of a known kind gets that kind's habits, and one unlike all others gets physics. Before anything
is measured, a device is thought to be of a kind with others, likelier with those about as fast: few timings,
some of them disturbed, must not make a telephone a graphics card.

An average of sums is a sum: the model says of a kernel what it adds, and a search can tabulate it by blocks.

Least absolute relative errors throughout: a phone's timing is now and then twice what it should be.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cost_models.errors import CostModelError
from cost_models.estimate import CONFIDENCE
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.roofline import solve_non_negative

TERMS = (
    *("network", "kernels", "grouped kernels", "MACs", "depthwise MACs"),
    *("bytes of maps", "bytes of depthwise maps", "bytes of weights"),
)
LEAST_NETWORKS = 4

_KIND = 0.7  # a device that is twice as fast or slow is likely of another kind: spread of logarithms of speed
_UNLIKE = math.log(100)  # how much less likely, before measuring, a device is unlike all others
_SMALL = 0.01  # relative errors below it count as squares: nothing is measured better
_ROUNDS = 6  # of weighted least squares, until weights hardly move
_RIDGE = 1e-3  # of the design: directions that nothing has been chosen in are known that badly

Vector = npt.NDArray[np.float64]


def work_of(kernels: Iterable[Kernel]) -> Vector:
    """Amounts of work of a network's kernels: one number for each of ``TERMS``, bytes as in float32.

    ``network`` is 0 here: every network has its own once, set by ``work_of_networks``.
    """
    total = np.zeros(len(TERMS))
    for kernel in kernels:
        weights = 4.0 * kernel.graph.num_parameters
        maps = kernel.bytes_moved - weights
        depthwise, done = kernel.work_class == "depthwise", kernel.work
        macs = (0.0, done) if depthwise else (done, 0.0)
        traffic = (0.0, maps) if depthwise else (maps, 0.0)
        total += (0.0, 1.0, kernel.kind == "grouped", *macs, *traffic, weights)
    return total


def work_of_networks(networks: Iterable[Iterable[Kernel]]) -> Vector:
    """Work of each network: an array (networks, ``TERMS``)."""
    work = np.array([work_of(kernels) for kernels in networks])
    work[:, TERMS.index("network")] = 1.0
    return work


def choose_networks(columns: Vector, count: int) -> list[int]:
    """Networks that tell most when they are measured: rows of ``columns``, the first one first.

    Greedy D-optimal design: each next network is the one whose latency is known worst, among the directions
    in which the networks differ most, half as many as networks are chosen.

    Args:
        columns: (networks, columns) what their latencies depend on: latencies on other devices where such are
            known, else ``work_of_networks``.
        count: how many, at most as many as there are networks.

    Raises:
        CostModelError: not such an array, or another count.
    """
    columns = _checked(columns, "columns")
    if not 0 < count <= len(columns):
        raise CostModelError(f"{count} networks to choose of {len(columns)}; allowed: 1 to {len(columns)}")
    means = np.abs(columns).mean(axis=0)
    relative = columns[:, means > 0] / means[means > 0]
    left, spread, _ = np.linalg.svd(relative - relative.mean(axis=0), full_matrices=False)
    kept = min(max(count // 2, 1), int((spread > 1e-8 * max(1.0, spread[0])).sum())) if len(spread) else 0
    design = np.hstack([np.ones((len(columns), 1)), left[:, :kept] * math.sqrt(len(columns))])
    unknown = np.eye(kept + 1) / _RIDGE
    chosen: list[int] = []
    for _ in range(count):
        variance = np.einsum("ij,jk,ik->i", design, unknown, design)
        variance[chosen] = -1.0
        best = int(variance.argmax())
        chosen.append(best)
        along = unknown @ design[best]
        unknown = unknown - np.outer(along, along) / (1 + design[best] @ along)
    return chosen


def interval_factor(logs: Sequence[float] | Vector) -> float:
    """Nine of ten lie within this factor, by the errors of one or more others.

    Of nine and more errors their quantile (conformal). The worst of fewer covers less, and is drawn out as
    errors with exponential tails would be.

    Args:
        logs: ``log(said / measured)`` of each.
    """
    errors = np.sort(np.abs(logs))
    rank = math.ceil((len(errors) + 1) * CONFIDENCE)
    if rank <= len(errors):
        return math.exp(float(errors[rank - 1]))
    return math.exp(float(errors[-1]) * math.log(1 - CONFIDENCE) / -math.log(len(errors) + 1))


@dataclass(frozen=True, eq=False)
class Refit:
    """What a model of another form says that was fitted to the very networks.

    Attributes:
        seconds: (networks) of each.
        left_out_s: (networks) of each, by a fit to the others.
    """

    seconds: Vector
    left_out_s: Vector


@dataclass(frozen=True, eq=False)
class DeviceModel:
    """What networks cost on a device of which a few were measured.

    Attributes:
        costs_s: (``TERMS``) seconds a unit of work.
        shares: (devices and refits) of a network's latency on each other device, then by each refit.
        weights: of the averaged models: ``work``, ``devices``, ``device 0`` and so on for single ones, and
            ``refit 0`` and so on.
        left_out: (networks) relative error of each measured network, said by the others.
    """

    costs_s: Vector
    shares: Vector
    weights: Mapping[str, float]
    left_out: Vector

    @property
    def error_factor(self) -> float:
        """Nine of ten networks like the measured ones lie within this factor, by the left-out errors."""
        return interval_factor(np.log(np.maximum(1 + self.left_out, 1e-9)))

    def predict_s(self, work: Vector, others: Vector | None = None) -> Vector:
        """Latency of networks, or of any pieces of them: (networks), in seconds.

        Args:
            work: (networks, ``TERMS``), see ``work_of_networks``.
            others: (networks, devices and refits) seconds on the same devices and by the same refits as in
                ``fit_device``, in the same order.

        Raises:
            CostModelError: arrays of other shapes than the model was fitted to.
        """
        others = np.zeros((len(work), 0)) if others is None else others
        if work.shape != (len(others), len(TERMS)) or others.shape[1:] != self.shares.shape:
            raise CostModelError(
                f"the model takes rows of {len(TERMS)} terms of work and of {len(self.shares)} latencies "
                f"on other devices, found {work.shape} and {others.shape}"
            )
        return work @ self.costs_s + others @ self.shares


def fit_device(
    work: Vector,
    seconds: Sequence[float] | Vector,
    others: Vector | None = None,
    refits: Sequence[Refit] = (),
) -> DeviceModel:
    """Fit a device to networks that were measured on it.

    Args:
        work: (networks, ``TERMS``) of the measured networks, see ``work_of_networks``.
        seconds: (networks) as measured; at least four, better ten, picked by ``choose_networks``.
        others: (networks, devices) seconds of the same networks on other devices, from tables or priors.
        refits: what other models say that were fitted to these networks.

    Raises:
        CostModelError: too few networks, shapes that do not fit, numbers that are no work or no latency.
    """
    work = _checked(work, "work")
    measured = _checked(np.asarray(seconds, dtype=float)[:, None], "seconds")[:, 0]
    others = np.zeros((len(work), 0)) if others is None else _checked(others, "others")
    if work.shape != (len(measured), len(TERMS)) or len(others) != len(measured):
        raise CostModelError(
            f"{len(measured)} measured networks need as many rows of {len(TERMS)} terms of work, and of "
            f"latencies on other devices, found {work.shape} and {others.shape}"
        )
    if len(measured) < LEAST_NETWORKS:
        raise CostModelError(
            f"{len(measured)} measured networks are too few; measure at least {LEAST_NETWORKS}"
        )
    if min(measured.min(), others.min(initial=math.inf)) <= 0:
        raise CostModelError("latencies must be above 0 s, here and on other devices; leave failures out")
    relative = [Refit(refit.seconds / measured, refit.left_out_s / measured) for refit in refits]
    return _average(work / measured[:, None], others / measured[:, None], relative)


def _checked(array: Vector, name: str) -> Vector:
    array = np.asarray(array, dtype=float)
    if array.ndim != 2 or not len(array) or not np.isfinite(array).all() or (array < 0).any():
        raise CostModelError(f"{name} must be finite numbers >= 0, one row for each of one or more networks")
    return array


@dataclass(frozen=True)
class _Candidate:
    """One way to tell latencies: costs of all columns, errors at left-out networks, how likely beforehand."""

    costs: Vector
    left_out: Vector
    log_prior: float

    @property
    def log_weight(self) -> float:
        """Likelihood of the left-out errors as Laplace's, at their own spread."""
        return self.log_prior - len(self.left_out) * math.log(float(np.abs(self.left_out).mean()) + 1e-6)


def _average(work: Vector, others: Vector, refits: Sequence[Refit]) -> DeviceModel:
    """Fit every model to rows that were divided by their measured latency, and average them."""
    said = np.array([refit.seconds for refit in refits]).reshape(len(refits), len(work)).T
    columns, devices = np.hstack([work, others, said]), others.shape[1]
    physics = -_UNLIKE if devices else 0.0
    candidates = {"work": _sum(columns, slice(0, len(TERMS)), physics)}
    if devices:
        candidates["devices"] = _sum(columns, slice(len(TERMS), len(TERMS) + devices), 0.0)
    for device in range(devices):
        candidates[f"device {device}"] = _scaled(columns, len(TERMS) + device)
    for index, refit in enumerate(refits):
        alone = np.eye(columns.shape[1])[len(TERMS) + devices + index]
        candidates[f"refit {index}"] = _Candidate(alone, refit.left_out_s - 1, physics)
    most = max(candidate.log_weight for candidate in candidates.values())
    likely = {name: math.exp(candidate.log_weight - most) for name, candidate in candidates.items()}
    weights = {name: weight / sum(likely.values()) for name, weight in likely.items()}
    costs = sum((w * candidates[name].costs for name, w in weights.items()), np.zeros(columns.shape[1]))
    left_out = sum((w * candidates[name].left_out for name, w in weights.items()), np.zeros(len(work)))
    return DeviceModel(costs[: len(TERMS)], costs[len(TERMS) :], weights, left_out)


def _sum(columns: Vector, group: slice, log_prior: float) -> _Candidate:
    """A sum of the columns of a group."""
    chosen = columns[:, group]
    costs = np.zeros(columns.shape[1])
    costs[group] = _least_absolute(chosen)
    rest = [_least_absolute(np.delete(chosen, row, axis=0)) for row in range(len(chosen))]
    return _Candidate(costs, (chosen * np.array(rest)).sum(axis=1) - 1, log_prior)


def _scaled(columns: Vector, index: int) -> _Candidate:
    """One other device, so many times slower or faster."""
    factors = 1 / columns[:, index]
    costs = np.zeros(columns.shape[1])
    costs[index] = np.median(factors)
    rest = np.array([np.median(np.delete(factors, row)) for row in range(len(factors))])
    return _Candidate(costs, rest / factors - 1, -((math.log(costs[index]) / _KIND) ** 2) / 2)


def _least_absolute(relative: Vector) -> Vector:
    """The costs >= 0 for which ``relative @ costs`` is closest to 1, by weighted least squares in turns."""
    weights, costs = np.ones(len(relative)), np.zeros(relative.shape[1])
    for _ in range(_ROUNDS):
        weighted = relative * weights[:, None]
        scale = np.linalg.norm(weighted, axis=0)
        scale[scale == 0] = 1.0
        costs = solve_non_negative(weighted / scale, weights) / scale
        weights = 1 / np.sqrt(np.maximum(np.abs(relative @ costs - 1), _SMALL) / _SMALL)
    return costs
