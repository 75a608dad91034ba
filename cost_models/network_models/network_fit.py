"""Calibrates the estimate of networks (``network_model``) on networks that were timed whole.

The forms are nested, from the plain sum upwards, each without and with overlap. Each is fitted with numbers
of 0 or more and least relative errors, scales drawn a little towards 1. Of all forms, the one with the fewest
numbers is taken whose errors on networks left out of its fit are not clearly worse than the best form's. The
errors that are reported are those of a choice and a fit without the network in question.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cost_models.errors import CostModelError
from cost_models.estimate import CONFIDENCE, Estimate, Source
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.roofline import solve_non_negative
from cost_models.network_models.network_model import NetworkModel, cold_bytes

LEAST_NETWORKS = 5
_FOLDS = 8
_TOWARDS_1 = 0.3  # what a scale off by 1 weighs, beside one network off by its own time
_OVERLAPS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEAST_S = 1e-9

Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TimedNetwork:
    """A network timed whole.

    Attributes:
        alone_s: what each kernel takes on its own.
        seconds: what all of it took.
    """

    graph: KernelGraph
    alone_s: Sequence[float]
    seconds: float

    def amounts(self, overlap: float) -> dict[str, float]:
        """What the numbers of a model are multiplied with, by name."""
        weight = np.full(len(self.alone_s), 1 - overlap)
        if overlap:
            weight[self.graph.critical_path(self.alone_s)] = 1.0
        found = {"overhead": 1.0, "gap": float(weight.sum())}
        found["scale"] = float(weight @ np.array(self.alone_s))
        found["cold"] = float(weight @ np.array([cold_bytes(kernel) for kernel in self.graph.kernels]))
        for kernel, each, alone_s in zip(self.graph.kernels, weight, self.alone_s, strict=True):
            name = f"scale.{kernel.kind}"
            found[name] = found.get(name, 0.0) + float(each) * alone_s
        return found


@dataclass(frozen=True)
class _Form:
    """Which numbers a fit may choose; the others stay as in a plain sum.

    Attributes:
        table: amounts of each network (rows) by number (columns), over its seconds.
        alone: sum of the kernels' own times of each network, over its seconds.
    """

    names: tuple[str, ...]
    overlap: float
    table: Vector
    alone: Vector

    @property
    def size(self) -> int:
        return len(self.names) + (self.overlap > 0)

    def fit(self, rows: Rows) -> Vector:
        """The numbers that tell these networks best."""
        scales = np.array([name.startswith("scale") for name in self.names], dtype=np.float64)
        table = np.vstack([self.table[rows], _TOWARDS_1 * np.diag(scales)])
        norms: Vector = np.maximum(np.linalg.norm(table, axis=0), _LEAST_S)
        wanted = np.append(np.ones(len(rows)), _TOWARDS_1 * scales)
        return solve_non_negative(table / norms, wanted) / norms

    def logs(self, rows: Rows, numbers: Vector) -> Vector:
        """``log(estimated / measured)`` of networks."""
        told: Vector = self.table[rows] @ numbers if self.names else self.alone[rows]
        return np.asarray(np.log(np.maximum(told, _LEAST_S)))

    def left_out(self, rows: Rows) -> Vector:
        """``logs`` of each network by a fit to others."""
        logs = np.zeros(len(rows))
        for fold in range(min(_FOLDS, len(rows))):
            left = np.arange(len(rows)) % _FOLDS == fold
            logs[left] = self.logs(rows[left], self.fit(rows[~left]))
        return logs


def fit_networks(
    networks: Sequence[TimedNetwork],
    fingerprint: Mapping[str, Any],
    origin: str,
    others: Sequence[TimedNetwork] = (),
) -> NetworkModel:
    """Calibrate. The same networks give the same numbers.

    Args:
        networks: different ones, at least ``LEAST_NETWORKS``.
        fingerprint: of the environment that all times are from.
        others: networks of another sort, which help to fit; forms are chosen, and errors told, by the first.

    Raises:
        CostModelError: too few of them.
    """
    if len(networks) < LEAST_NETWORKS:
        raise CostModelError(
            f"a calibration needs at least {LEAST_NETWORKS} networks timed whole, found {len(networks)}; "
            "time more: profile with --networks"
        )
    count, every = len(networks), [*networks, *others]
    forms = _forms(every, np.array([network.seconds for network in every]))
    seconds, everyone = np.array([network.seconds for network in networks]), np.arange(len(every))
    logs = np.zeros(count)
    for index in range(count):
        rest = everyone[everyone != index]
        form = _choose(forms, rest, count)
        logs[index] = form.logs(everyone[[index]], form.fit(rest))[0]
    form = _choose(forms, everyone, count)
    numbers = dict(zip(form.names, form.fit(everyone).tolist(), strict=True))
    sizes = np.abs(logs)
    widths = np.array([_width(np.delete(sizes, index)) for index in range(count)])
    plain_s = np.array([sum(network.alone_s) for network in networks])
    return NetworkModel(
        fingerprint=dict(fingerprint),
        scale={kind: numbers.get(f"scale.{kind}", numbers.get("scale", 1.0)) for kind in _kinds(every)},
        gap_s=numbers.get("gap", 0.0),
        cold_s_per_byte=numbers.get("cold", 0.0),
        overhead_s=numbers.get("overhead", 0.0),
        overlap=form.overlap,
        width=_width(sizes),
        range_s=(float(seconds.min()), float(seconds.max())),
        origin=origin,
        errors=_errors(seconds * np.exp(logs), seconds, widths),
        plain_errors=_errors(plain_s, seconds, np.zeros(count)),
        left_out=tuple(logs.tolist()),
    )


def _kinds(networks: Sequence[TimedNetwork]) -> list[str]:
    return sorted({kernel.kind for network in networks for kernel in network.graph.kernels})


def _forms(networks: Sequence[TimedNetwork], seconds: Vector) -> list[_Form]:
    """All forms, those with the fewest numbers first."""
    one, each = ("scale",), tuple(f"scale.{kind}" for kind in _kinds(networks))
    calls, cold = ("overhead", "gap"), ("cold",)
    forms = []
    for overlap in _OVERLAPS:
        amounts = [network.amounts(overlap) for network in networks]
        alone = np.array([amount["scale"] for amount in amounts]) / seconds
        for names in ((), one, one + calls, one + calls + cold, each + calls + cold):
            rows = [[amount.get(name, 0.0) for name in names] for amount in amounts]
            table = np.array(rows).reshape(len(amounts), len(names)) / seconds[:, None]
            forms.append(_Form(names, overlap, table, alone))
    return sorted(forms, key=lambda form: form.size)


def _choose(forms: Sequence[_Form], rows: Rows, count: int) -> _Form:
    """The first form whose left-out errors are at most one standard error above those of the best.

    Args:
        count: the first so many of all networks are those that are judged by.
    """
    judged = rows < count
    sizes = [np.abs(form.left_out(rows))[judged] for form in forms]
    best = min(sizes, key=lambda errors: float(errors.mean()))
    for form, errors in zip(forms, sizes, strict=True):
        worse = errors - best
        if worse.mean() <= worse.std() / math.sqrt(len(worse)):
            return form
    raise AssertionError("the best form is no worse than itself")


def _width(sizes: Vector) -> float:
    """Half of the interval, as a logarithm, that holds nine of ten more like these errors."""
    rank = min(math.ceil((len(sizes) + 1) * CONFIDENCE), len(sizes))
    return float(np.sort(sizes)[rank - 1])


def _errors(told_s: Vector, seconds: Vector, widths: Vector) -> Errors:
    """Each within the interval that the others gave."""
    rows = np.column_stack([told_s, told_s * np.exp(-widths), told_s * np.exp(widths)]).tolist()
    told = [Estimate(s, low_s, high_s, Source.PREDICTED) for s, low_s, high_s in rows]
    return Errors.of(told, seconds.tolist())
