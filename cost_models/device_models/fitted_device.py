"""A device on which somebody has measured a few networks, as a prior that costs every kernel.

What ``fewshot.fit_device`` says of whole networks is a sum over kernels, so a kernel costs what it adds to
its network: its physical work at the device's rates, shares of its latency on other devices, and a share of
what the target's data sheet says once its rates are calibrated on the networks. A single kernel is told worse
than a network, in which errors cancel; the interval is that of networks.

The file names the other devices and holds a sum of what they were, not their tables: a table that has been
measured anew since is another one, and the fit has to be made again.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from cost_models.device_models.calibration import calibrate
from cost_models.device_models.fewshot import (
    LEAST_NETWORKS,
    TERMS,
    DeviceModel,
    Refit,
    Vector,
    fit_device,
    work_of,
    work_of_networks,
)
from cost_models.device_models.prior import Prior
from cost_models.errors import IncompatiblePrior, MissingEntry
from cost_models.estimate import Estimate, LatencySource, Source, prior_factor
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.accuracy import Errors
from cost_models.network_models.network_model import NetworkModel
from targets.support.commands import command_line
from targets.support.document import Document

FILE = "fitted.json"
CALIBRATED = "its data sheet, calibrated"  # a name beside those of other devices

_LITTLE = 1e-3  # of the networks' time: a device that tells less is left out, and need not be there later
_LEAST_S = 1e-9  # of a kernel: one that costs nothing would have no interval
_ALIKE = 2.0  # how far outside the sizes of the measured networks' kernels, as a factor, a kernel is alike


@dataclass(frozen=True, slots=True)
class MeasuredNetwork:
    """A network whose latency was measured.

    Attributes:
        kernels: as they run, equal ones as often as they do.
        seconds: the latency.
    """

    name: str
    kernels: tuple[Kernel, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True, repr=False)
class FittedDevice:
    """A target, fitted to a few networks. Make it with ``fit``.

    Attributes:
        basis: what was measured there, for people.
        remedy: what to do about kernels that are far from all that was measured.
        dtype: of weights and feature maps in the networks.
        origin: to what it was fitted, and how well the networks tell each other.
        model: the costs; its ``shares`` are of ``others``, in their order.
        networks: name and measured seconds of each, in the order of ``model.left_out``.
        sizes: the least and the most bytes that kernels of the networks move, by ``Kernel.kind``.
        others: the devices that it has shares of.
        calibrated: the data sheet's prior with rates fitted to the networks; the last share is of it.
    """

    basis: ClassVar[str] = "whole networks measured there, no kernel"
    remedy: ClassVar[str] = "measure networks with such kernels too, and fit again: profile --from-networks"

    target: str
    dtype: str
    origin: str
    model: DeviceModel
    networks: tuple[tuple[str, float], ...]
    sizes: Mapping[str, tuple[float, float]]
    others: Mapping[str, LatencySource]
    calibrated: Prior | None

    @staticmethod
    def fit(
        target: str,
        networks: Sequence[MeasuredNetwork],
        others: Mapping[str, LatencySource],
        *,
        measured: str,
        start: Prior | None = None,
        dtype: str = "float32",
    ) -> "FittedDevice":
        """Fit a device to its measured networks; other devices are kept as far as they tell something.

        Args:
            others: name -> what kernels cost there; each must cost every kernel.
            measured: where the latencies are from, in words.
            start: what the target's data sheet says; its rates are calibrated, which takes seconds.
            dtype: of weights and feature maps, here and on the others.

        Raises:
            CostModelError: fewer than four networks, or a latency that is not above 0 and finite.
            MissingEntry: one of the others cannot cost a kernel.
        """
        seconds = np.array([network.seconds for network in networks])
        work = work_of_networks(network.kernels for network in networks)
        columns = _columns(others, networks)
        calibrated = _calibrated(start, networks)
        refits = [] if calibrated is None else [_refit(calibrated, networks)]
        model = fit_device(work, seconds, columns, refits)
        told = np.column_stack([columns, *(refit.seconds for refit in refits)])
        useful = (told * model.shares / seconds[:, None]).mean(axis=0) >= _LITTLE
        names = [*others, CALIBRATED]
        error = float(np.abs(model.left_out).mean())
        return FittedDevice(
            target=target,
            dtype=dtype,
            origin=f"fitted to {len(networks)} measured networks ({measured}), "
            f"left-out error {100 * error:.1f} %",
            model=replace(
                model,
                shares=model.shares[useful],
                weights={_model_name(key, names): weight for key, weight in model.weights.items()},
            ),
            networks=tuple((network.name, network.seconds) for network in networks),
            sizes=_sizes(networks),
            others={name: others[name] for name, is_useful in zip(others, useful, strict=False) if is_useful},
            calibrated=calibrated if useful[len(others) :].any() else None,
        )

    def __repr__(self) -> str:
        return f"FittedDevice({self.target!r}, {self.digest()})"

    def network_model(self) -> NetworkModel:
        """What networks take besides their kernels; it holds where the fit tells all kernels."""
        factor, measured_s = self.model.error_factor, [seconds for _, seconds in self.networks]
        left_out_s = (np.array(measured_s) * (1 + self.model.left_out)).tolist()
        told = [Estimate.within(s, factor, Source.PRIOR) for s in left_out_s]
        return NetworkModel(
            overhead_s=float(self.model.costs_s[TERMS.index("network")]),
            origin=f"{len(self.networks)} measured networks",
            errors=Errors.of(told, measured_s),
        )

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        """What each adds to its network; ``far`` where the measured networks have nothing like it.

        Raises:
            MissingEntry: another device no longer knows one.
        """
        if not kernels:
            return []
        work = np.array([work_of([kernel]) for kernel in kernels])
        told = [_medians_s(name, other, kernels) for name, other in self.others.items()]
        if self.calibrated is not None:
            told.append([self.calibrated.predict_s(kernel) for kernel in kernels])
        medians_s = self.model.predict_s(work, np.array(told).reshape(len(told), len(kernels)).T)
        medians_s = np.maximum(medians_s, _LEAST_S)
        near = self.model.error_factor
        found: list[Estimate | None] = []
        for kernel, median_s in zip(kernels, medians_s.tolist(), strict=True):
            far = kernel.is_foreign or not self._is_like_measured(kernel)
            factor = max(near, prior_factor(kernel)) if far else near
            found.append(Estimate.within(median_s, factor, Source.PRIOR, far=far))
        return found

    @property
    def seen_s(self) -> list[float]:
        """Latencies that it was fitted to."""
        return [seconds for _, seconds in self.networks]

    def digest(self) -> str:
        """Of the fit, and of what is known of the devices that it has shares of."""
        told = self._document("").model_dump_json()
        return hashlib.sha256(told.encode()).hexdigest()

    def _is_like_measured(self, kernel: Kernel) -> bool:
        least, most = self.sizes.get(kernel.kind, (math.inf, 0.0))
        return least / _ALIKE <= kernel.bytes_moved <= most * _ALIKE

    def save(self, path: Path, *, made_by: str) -> None:
        """Write the file.

        Args:
            made_by: the command that makes it again.

        Raises FailedWrite when there is no room, or the place cannot be written.
        """
        self._document(made_by).save(path)

    def _document(self, made_by: str) -> "FittedDocument":
        return FittedDocument(
            schema_version=FittedDocument.SCHEMA,
            made_by=made_by,
            target=self.target,
            dtype=self.dtype,
            origin=self.origin,
            costs_s=dict(zip(TERMS, self.model.costs_s.tolist(), strict=True)),
            shares=self.model.shares.tolist(),
            others={name: other.digest() for name, other in self.others.items()},
            calibrated=self.calibrated,
            weights=dict(self.model.weights),
            networks=[
                FittedNetwork(name=name, measured_s=seconds, left_out=error)
                for (name, seconds), error in zip(self.networks, self.model.left_out.tolist(), strict=True)
            ],
            sizes=dict(self.sizes),
        )

    @staticmethod
    def load(path: Path, find: Callable[[str, str], LatencySource | None], *, target: str) -> "FittedDevice":
        """Read a file that ``save`` wrote.

        Args:
            find: name of another device and dtype -> what costs kernels there, or None if there is nothing.
            target: name of the target it must be for.

        Raises:
            IncompatiblePrior: none there, damaged, another schema, of another target, or fitted with tables
                of others that are no longer what they were.
        """
        told = FittedDocument.load(path)
        if told.target != target:
            raise IncompatiblePrior(
                f"{path}: was fitted for {told.target}, not for {target}; fit that from networks of its own"
            )
        if not told.is_sound:
            raise IncompatiblePrior(f"{path}: not a fit, or damaged; {told.AGAIN}")
        found = {name: find(name, told.dtype) for name in told.others}
        known = {name: source for name, source in found.items() if source is not None}
        for name, expected in told.others.items():
            if name not in known or known[name].digest() != expected:
                raise IncompatiblePrior(
                    f"{path}: was fitted with what was known of {name}, which "
                    f"{'has changed since' if name in known else 'is gone'}; fit it again: {told.made_by}"
                )
        left_out = np.array([network.left_out for network in told.networks], dtype=float)
        costs_s = np.array([told.costs_s[term] for term in TERMS], dtype=float)
        return FittedDevice(
            target=told.target,
            dtype=told.dtype,
            origin=told.origin,
            model=DeviceModel(costs_s, np.array(told.shares, dtype=float), told.weights, left_out),
            networks=tuple((network.name, network.measured_s) for network in told.networks),
            sizes=told.sizes,
            others=known,
            calibrated=told.calibrated,
        )


class FittedNetwork(BaseModel):
    """A measured network in the file; ``left_out`` is the relative error of what the others say of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    measured_s: float
    left_out: float


class FittedDocument(Document):
    """``fitted.json``; see ``FittedDevice``."""

    WHAT: ClassVar[str] = "a fitted device"
    SUMMED: ClassVar[bool] = True
    SCHEMA: ClassVar[int] = 1
    REFUSAL = IncompatiblePrior
    AGAIN: ClassVar[str] = "fit it again: " + command_line(
        "profile", "--target", "TARGET", "--from-networks", "FILE.csv"
    )

    source: Literal["prior"] = "prior"
    target: str
    dtype: str
    origin: str
    costs_s: dict[str, float]
    shares: list[float]
    others: dict[str, str]
    calibrated: Prior | None
    weights: dict[str, float]
    networks: list[FittedNetwork]
    sizes: dict[str, tuple[float, float]]

    @property
    def is_sound(self) -> bool:
        """Whether the numbers belong together, and none is below 0."""
        numbers = [*self.costs_s.values(), *self.shares]
        numbers += [number for n in self.networks for number in (n.measured_s, n.left_out + 1)]
        whole = len(self.shares) == len(self.others) + (self.calibrated is not None)
        whole = whole and self.costs_s.keys() >= set(TERMS) and len(self.networks) >= LEAST_NETWORKS
        return whole and min(numbers) >= 0 and (self.calibrated is None or self.calibrated.is_sound)


def _columns(others: Mapping[str, LatencySource], networks: Sequence[MeasuredNetwork]) -> Vector:
    """Seconds of the networks on other devices: (networks, devices)."""
    columns = np.zeros((len(networks), len(others)))
    for column, (name, other) in enumerate(others.items()):
        for row, network in enumerate(networks):
            columns[row, column] = sum(_medians_s(name, other, network.kernels))
    return columns


def _medians_s(name: str, other: LatencySource, kernels: Sequence[Kernel]) -> list[float]:
    """Of each kernel on another device. Raises MissingEntry."""
    medians_s = []
    for kernel, told in zip(kernels, other.kernels(kernels), strict=True):
        if told is None:
            raise MissingEntry(kernel.key, name)
        medians_s.append(told.median_s)
    return medians_s


def _calibrated(start: Prior | None, networks: Sequence[MeasuredNetwork]) -> Prior | None:
    if start is None:
        return None
    kernels = {str(index): network.kernels for index, network in enumerate(networks)}
    seconds = {str(index): network.seconds for index, network in enumerate(networks)}
    origin = f"calibrated on {len(networks)} measured networks; before that: {start.origin}"
    return calibrate(start, kernels, seconds, origin=origin, conditions="as they were measured")


def _refit(prior: Prior, networks: Sequence[MeasuredNetwork]) -> Refit:
    seconds = np.array([sum(map(prior.predict_s, network.kernels)) for network in networks])
    return Refit(seconds, np.array([reported.left_out_s for reported in prior.networks]))


def _model_name(key: str, names: Sequence[str]) -> str:
    """Of a key of ``DeviceModel.weights``, for people."""
    kind, _, index = key.partition(" ")
    return names[-1] if kind == "refit" else names[int(index)] if kind == "device" else key


def _sizes(networks: Sequence[MeasuredNetwork]) -> dict[str, tuple[float, float]]:
    sizes: dict[str, tuple[float, float]] = {}
    for kernel in {kernel for network in networks for kernel in network.kernels}:
        least, most = sizes.get(kernel.kind, (math.inf, 0.0))
        moved = float(kernel.bytes_moved)
        sizes[kernel.kind] = min(least, moved), max(most, moved)
    return dict(sorted(sizes.items()))
