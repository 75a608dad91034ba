"""A device on which somebody has measured a few networks, as a prior that costs every kernel.

What ``fewshot.fit_device`` says of whole networks is a sum over kernels, so a kernel costs what it adds to
its network: its physical work at the device's rates, shares of its latency on other devices, and a share of
what the target's data sheet says once its rates are calibrated on the networks. A single kernel is told worse
than a network, in which errors cancel; the interval is that of networks.

The file names the other devices and holds a sum of what they were, not their tables: a table that has been
measured anew since is another one, and the fit has to be made again.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

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
from cost_models.device_models.prior import OUTSIDE, Prior
from cost_models.errors import IncompatiblePrior
from cost_models.ir.fusion import Kernel
from cost_models.kernel_models.accuracy import Errors
from cost_models.kernel_models.intervals import Prediction
from cost_models.network_models.network_model import NetworkModel
from targets.support.files import write_whole

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel

SCHEMA_VERSION = 1
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


@dataclass(frozen=True, kw_only=True)
class FittedDevice:
    """A target, fitted to a few networks. Make it with ``fit``.

    Attributes:
        basis: what was measured there, for people.
        dtype: of weights and feature maps in the networks.
        origin: to what it was fitted, and how well the networks tell each other.
        model: the costs; its ``shares`` are of ``others``, in their order.
        networks: name and measured seconds of each, in the order of ``model.left_out``.
        sizes: the least and the most bytes that kernels of the networks move, by ``Kernel.kind``.
        others: the devices that it has shares of.
        calibrated: the data sheet's prior with rates fitted to the networks; the last share is of it.
    """

    source: ClassVar[str] = "prior"
    basis: ClassVar[str] = "whole networks measured there, no kernel"

    target: str
    dtype: str
    origin: str
    model: DeviceModel
    networks: tuple[tuple[str, float], ...]
    sizes: Mapping[str, tuple[float, float]]
    others: Mapping[str, "CostModel"]
    calibrated: Prior | None

    @staticmethod
    def fit(
        target: str,
        networks: Sequence[MeasuredNetwork],
        others: Mapping[str, "CostModel"],
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

    def network_model(self) -> NetworkModel:
        """What networks take besides their kernels; it holds where the fit tells all kernels."""
        factor, measured_s = self.model.error_factor, [seconds for _, seconds in self.networks]
        left_out_s = (np.array(measured_s) * (1 + self.model.left_out)).tolist()
        told = [Prediction(s, s / factor, s * factor, far=False) for s in left_out_s]
        return NetworkModel(
            overhead_s=float(self.model.costs_s[TERMS.index("network")]),
            origin=f"{len(self.networks)} measured networks",
            errors=Errors.of(told, measured_s),
        )

    def kernels(self, kernels: Sequence[Kernel]) -> list[Prediction]:
        """What each adds to its network; ``far`` where the measured networks have nothing like it."""
        if not kernels:
            return []
        work = np.array([work_of([kernel]) for kernel in kernels])
        told = [[cost.median_s for cost in other.kernels(kernels)] for other in self.others.values()]
        if self.calibrated is not None:
            told.append([self.calibrated.predict_s(kernel) for kernel in kernels])
        medians_s = self.model.predict_s(work, np.array(told).reshape(len(told), len(kernels)).T)
        medians_s = np.maximum(medians_s, _LEAST_S)
        near = self.model.error_factor
        found = []
        for kernel, median_s in zip(kernels, medians_s.tolist(), strict=True):
            far = not self._is_like_measured(kernel)
            factor = max(near, OUTSIDE) if far else near
            found.append(Prediction(median_s, median_s / factor, median_s * factor, far))
        return found

    def _is_like_measured(self, kernel: Kernel) -> bool:
        least, most = self.sizes.get(kernel.kind, (math.inf, 0.0))
        return least / _ALIKE <= kernel.bytes_moved <= most * _ALIKE

    def save(self, path: Path, *, made_by: str) -> None:
        """Write the file.

        Args:
            made_by: the command that makes it again.

        Raises CostModelError when there is no room, or the place cannot be written.
        """
        document = {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "made_by": made_by,
            "target": self.target,
            "dtype": self.dtype,
            "origin": self.origin,
            "costs_s": dict(zip(TERMS, self.model.costs_s.tolist(), strict=True)),
            "shares": self.model.shares.tolist(),
            "others": {name: sum_of(other) for name, other in self.others.items()},
            "calibrated": asdict(self.calibrated) if self.calibrated else None,
            "weights": dict(self.model.weights),
            "networks": [
                {"name": name, "measured_s": seconds, "left_out": error}
                for (name, seconds), error in zip(self.networks, self.model.left_out.tolist(), strict=True)
            ],
            "sizes": {kind: list(ends) for kind, ends in self.sizes.items()},
        }
        write_whole(path, json.dumps(document, indent=1) + "\n", "the fit")

    @staticmethod
    def load(path: Path, find: "Callable[[str, str], CostModel | None]", *, target: str) -> "FittedDevice":
        """Read a file that ``save`` wrote.

        Args:
            find: name of another device and dtype -> what costs kernels there, or None if there is nothing.
            target: name of the target it must be for.

        Raises:
            IncompatiblePrior: none there, damaged, another schema, of another target, or fitted with tables
                of others that are no longer what they were.
        """
        try:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            version, again = document["schema_version"], f"fit it again: {document['made_by']}"
            fitted = _read(document) if version == SCHEMA_VERSION else None
            sums = dict(document["others"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise IncompatiblePrior(
                f"{path}: not a fitted device, or damaged; fit it again: "
                f"squeezenas-tvm profile --target {target} --from-networks FILE.csv"
            ) from None
        if fitted is None:
            raise IncompatiblePrior(
                f"{path}: schema {version!r}, this program reads {SCHEMA_VERSION}; {again}"
            )
        if fitted.target != target:
            raise IncompatiblePrior(
                f"{path}: was fitted for {fitted.target}, not for {target}; fit that from networks of its own"
            )
        found = {name: find(name, fitted.dtype) for name in sums}
        known = {name: model for name, model in found.items() if model is not None}
        for name, expected in sums.items():
            if name not in known or sum_of(known[name]) != expected:
                raise IncompatiblePrior(
                    f"{path}: was fitted with what was known of {name}, which "
                    f"{'has changed since' if name in known else 'is gone'}; {again}"
                )
        return replace(fitted, others=known)


def sum_of(model: "CostModel") -> str:
    """Sum of what a cost model knows: equal where it says the same of every kernel."""
    rows = model.table.rows if model.table else {}
    told = [sorted((key, row.latency.median_s) for key, row in rows.items()), repr(model.prior)]
    if model.predictor:
        told.append(repr((dict(model.predictor.errors), model.predictor.intervals.reach)))
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _columns(others: Mapping[str, "CostModel"], networks: Sequence[MeasuredNetwork]) -> Vector:
    """Seconds of the networks on other devices: (networks, devices)."""
    columns = np.zeros((len(networks), len(others)))
    for column, other in enumerate(others.values()):
        for row, network in enumerate(networks):
            columns[row, column] = sum(cost.median_s for cost in other.kernels(network.kernels))
    return columns


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


def _read(document: Mapping[str, Any]) -> FittedDevice:
    """The device without its others. Raises KeyError, TypeError or ValueError where it makes no sense."""
    networks, calibrated = document["networks"], document["calibrated"]
    costs_s = np.array([document["costs_s"][term] for term in TERMS], dtype=float)
    shares = np.array(document["shares"], dtype=float)
    left_out = np.array([network["left_out"] for network in networks], dtype=float)
    measured = tuple((str(network["name"]), float(network["measured_s"])) for network in networks)
    numbers = np.concatenate([costs_s, shares, left_out + 1, [seconds for _, seconds in measured]])
    whole = len(shares) == len(document["others"]) + (calibrated is not None)
    if not (whole and np.isfinite(numbers).all() and numbers.min() >= 0 and len(networks) >= LEAST_NETWORKS):
        raise ValueError("not a fit")
    return FittedDevice(
        target=str(document["target"]),
        dtype=str(document["dtype"]),
        origin=str(document["origin"]),
        model=DeviceModel(
            costs_s, shares, {str(n): float(weight) for n, weight in document["weights"].items()}, left_out
        ),
        networks=measured,
        sizes={str(kind): (float(least), float(most)) for kind, (least, most) in document["sizes"].items()},
        others={},
        calibrated=Prior.from_document(calibrated) if calibrated is not None else None,
    )
