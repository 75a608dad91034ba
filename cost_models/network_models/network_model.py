"""What a network takes beyond the sum of its kernels, told by networks that were timed whole.

A kernel timed alone finds its data where its last run left them, and nothing between two runs. Inside a
network others have run since, and each call costs its way through the run-time::

    seconds = overhead + sum over kernels of (scale[kind] * alone + gap + cold * bytes that others moved out)

All of it is a sum over kernels, so that a search can tabulate it by blocks, except where kernels of parallel
branches overlap: then ``(1 - overlap)`` of the sum and ``overlap`` of its critical path, the chain of kernels
that the end waits for longest. ``network_fit`` finds the numbers; without networks, the sum is all there is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from cost_models.database.environment import differences
from cost_models.database.network_records import WholeNetwork, networks_from_csv, networks_to_csv
from cost_models.errors import IncompatibleNetworkModel, InvalidMeasurement
from cost_models.ir.fusion import Kernel
from cost_models.ir.graph import BYTES_PER_ELEMENT
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.kernel_models.accuracy import Errors
from targets.support.document import DocumentWithFiles
from targets.support.reading import read_text

_USUAL_KERNELS = 40  # of the networks that are calibrated on
MODEL, NETWORKS = "network.json", "networks.csv"
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NetworkModel:
    """A calibration of one environment; as it is made without arguments, the plain sum of kernels.

    Attributes:
        fingerprint: of the environment in which the networks were timed.
        scale: of a kernel's time alone, by ``Kernel.kind``; for other kinds what is usual of these.
        gap_s: of every call of a kernel.
        cold_s_per_byte: of what a kernel timed alone finds in a cache, and inside a network does not.
        overhead_s: of every run of a network.
        overlap: 0 where kernels run one after the other, 1 where the critical path is all that counts.
        width: half of the 90 % interval, as the logarithm of a factor.
        range_s: shortest and longest network calibrated on; beyond them the interval widens.
        origin: where the networks were timed, how many and when.
        errors: of each network estimated by a fit to the others; None for a plain sum.
        plain_errors: of the plain sum of the same networks.
        left_out: of each network, ``log(estimated / measured)`` by a fit to the others.
        files: the same for networks from ONNX files, fitted to all networks, its errors and its width being
            of those from files; None where too few of these or of the others were timed.
    """

    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    gap_s: float = 0.0
    cold_s_per_byte: float = 0.0
    overhead_s: float = 0.0
    overlap: float = 0.0
    width: float = 0.0
    range_s: tuple[float, float] = (0.0, math.inf)
    origin: str = ""
    errors: Errors | None = None
    plain_errors: Errors | None = None
    left_out: tuple[float, ...] = ()
    files: "NetworkModel | None" = None

    @property
    def calibrated(self) -> bool:
        return self.errors is not None

    def by_others(self) -> list[tuple[float, float]]:
        """Of each network in ``networks.csv``: ``left_out``, and the ``width`` that holds for its sort."""
        return [(log, model.width) for model in (self, self.files) if model for log in model.left_out]

    def __str__(self) -> str:
        """How an estimate comes about, one phrase."""
        if self.errors is None:
            return "sums of kernels, without what happens between them"
        return (
            f"sums of kernels and what happens between them, calibrated on {self.origin} "
            f"(median error of those left out {self.errors.median:.1%})"
        )

    def scaled(self, factor: float) -> "NetworkModel":
        """Of a device on which everything takes so many times as long."""
        least_s, most_s = self.range_s
        return replace(
            self,
            gap_s=self.gap_s * factor,
            cold_s_per_byte=self.cold_s_per_byte * factor,
            overhead_s=self.overhead_s * factor,
            range_s=(least_s * factor, most_s * factor),
            files=self.files.scaled(factor) if self.files else None,
        )

    def of_a_file(self, count: int) -> "NetworkModel":
        """For a network from a file: other kernels than those of spaces, and maybe a few.

        Nobody has seen the overhead on its own, nor that kernels are faster than alone: of fewer kernels than
        usual, both are in proportion. Where files were timed, their own numbers are taken.

        Args:
            count: of its kernels.
        """
        model, share = self.files or self, min(1.0, count / _USUAL_KERNELS)
        scale = model.scale
        if self.files is None:
            scale = {kind: own if own >= 1 else 1 - share * (1 - own) for kind, own in scale.items()}
        return replace(model, scale=scale, overhead_s=model.overhead_s * share)

    def kernel_s(self, kernel: Kernel, alone_s: float) -> float:
        """Seconds that a kernel adds to a network in which none overlaps.

        Args:
            alone_s: what it takes on its own.
        """
        usual = median(self.scale.values()) if self.scale else 1.0
        scaled_s = self.scale.get(kernel.kind, usual) * alone_s
        return scaled_s + self.gap_s + self.cold_s_per_byte * cold_bytes(kernel)

    def sum_s(self, graph: KernelGraph, inside_s: Sequence[float], alone_s: Sequence[float]) -> float:
        """What the kernels of a network take together.

        Args:
            inside_s: what each adds, by ``kernel_s``.
            alone_s: what each takes on its own, from which the critical path is found.
        """
        total_s = sum(inside_s)
        if self.overlap == 0:
            return total_s
        path_s = sum(inside_s[index] for index in graph.critical_path(alone_s))
        return (1 - self.overlap) * total_s + self.overlap * path_s

    def network_s(self, median_s: Vector, low_s: Vector, high_s: Vector) -> tuple[Vector, Vector, Vector]:
        """Whole networks from what their kernels add up to: median and ends of the 90 % interval, in seconds.

        Args:
            median_s, low_s, high_s: of each network, ``sum_s`` or sums of ``CostModel.pieces``.
        """
        whole_s = median_s + self.overhead_s
        nearest_s = np.clip(whole_s, *self.range_s)
        width = self.width * (1 + np.abs(np.log2(whole_s / nearest_s)))
        below, above = np.log(median_s / low_s), np.log(high_s / median_s)
        return whole_s, whole_s * np.exp(-np.hypot(below, width)), whole_s * np.exp(np.hypot(above, width))

    def save(self, folder: Path, networks: Sequence[WholeNetwork], *, made_by: str) -> None:
        """Write ``network.json`` and ``networks.csv``.

        Args:
            networks: that it was calibrated on.

        Raises FailedWrite when there is no room, or the place cannot be written.
        """
        files = {NETWORKS: networks_to_csv(networks)}
        document = NetworkModelDocument(
            schema_version=NetworkModelDocument.SCHEMA,
            made_by=made_by,
            sha256=NetworkModelDocument.sums(files),
            fingerprint=dict(self.fingerprint),
            files=_Numbers(**self.files._told) if self.files else None,
            **self._told,
        )
        document.save_with(folder, files)

    @staticmethod
    def load(folder: Path, *, fingerprint: Mapping[str, Any]) -> "NetworkModel":
        """Read what ``save`` wrote.

        Args:
            fingerprint: of the environment that it must be for.

        Raises:
            IncompatibleNetworkModel: not one, damaged, another schema, or of another environment.
        """
        path = folder / MODEL
        told = NetworkModelDocument.load(path)
        told.content(folder, NETWORKS)
        model = NetworkModel._of(told, told.fingerprint)
        if told.files:
            model = replace(model, files=NetworkModel._of(told.files, told.fingerprint))
        if not all(one._is_sound() for one in (model, model.files) if one):
            raise IncompatibleNetworkModel(f"{path}: numbers below 0, or no range; {told.AGAIN}")
        if other := differences(model.fingerprint, fingerprint):
            raise IncompatibleNetworkModel(
                f"{path}: calibrated in another environment: {', '.join(other)}; {told.AGAIN}"
            )
        return model

    @property
    def _told(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _Numbers.model_fields}

    @staticmethod
    def _of(told: "_Numbers", fingerprint: Mapping[str, Any]) -> "NetworkModel":
        numbers = {name: getattr(told, name) for name in _Numbers.model_fields}
        return NetworkModel(fingerprint=fingerprint, **numbers)

    def _is_sound(self) -> bool:
        numbers = [*self.scale.values(), self.gap_s, self.cold_s_per_byte, self.overhead_s, self.width]
        sound = all(math.isfinite(number) and number >= 0 for number in numbers)
        return sound and 0 <= self.overlap <= 1 and 0 < self.range_s[0] <= self.range_s[1] < math.inf


class _Numbers(BaseModel):
    """Of one calibration, as ``NetworkModel`` has them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scale: dict[str, float]
    gap_s: float
    cold_s_per_byte: float
    overhead_s: float
    overlap: float
    width: Annotated[float, Field(ge=0, le=20)]  # up to a factor of 500 million
    range_s: tuple[float, float]
    origin: str
    errors: Errors
    plain_errors: Errors
    left_out: tuple[float, ...]


class NetworkModelDocument(_Numbers, DocumentWithFiles):
    """``network.json``: the fields of ``NetworkModel``. Schema 1 has no ``files``."""

    WHAT: ClassVar[str] = "a calibration of networks"
    SUMMED: ClassVar[bool] = True
    SCHEMA: ClassVar[int] = 2
    REFUSAL = IncompatibleNetworkModel
    AGAIN: ClassVar[str] = (
        "profile again into the same folder with --networks: what was measured is kept there and not repeated"
    )
    FILE: ClassVar[str] = MODEL

    fingerprint: dict[str, Any]
    files: _Numbers | None = None


def load_networks(folder: Path) -> list[WholeNetwork]:
    """The networks that the calibration in ``folder`` was made from.

    Raises:
        IncompatibleNetworkModel: none there, or not a table of them.
    """
    try:
        return networks_from_csv(read_text(folder / NETWORKS, ValueError))
    except (ValueError, InvalidMeasurement):
        raise IncompatibleNetworkModel(
            f"{folder / NETWORKS}: no table of measured networks; {NetworkModelDocument.AGAIN}"
        ) from None


def cold_bytes(kernel: Kernel) -> float:
    """Bytes that a kernel run after run finds in a cache, and in a network may not: weights and inputs.

    In float32; where networks run in float16, the fitted cost of a byte is that of half as many.
    """
    graph = kernel.graph
    made = math.prod(kernel.output_shape) * BYTES_PER_ELEMENT[graph.dtype(graph.outputs[0])]
    return kernel.bytes_moved - made
