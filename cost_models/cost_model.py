"""What a kernel or a network costs on a target: every source that there is, asked in turn.

The table first, which was measured there; then the predictor, learned from the rows of that table; then the
prior, a physical model or a fit to whole networks. A published device has a table of others alone. A network
takes the sum of its kernels and what ``network_model`` says of what happens between them (cache contents,
launches, overlap), where networks were timed whole on the device.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cost_models.database.environment import differences
from cost_models.database.published import PublishedTable
from cost_models.database.table import LatencyTable
from cost_models.device_models.fitted_device import FittedDevice
from cost_models.device_models.other_processor import FromOtherProcessor, OtherProcessor
from cost_models.device_models.prior import Prior
from cost_models.errors import CostModelError, IncompatiblePredictor, MissingEntry
from cost_models.estimate import Estimate, LatencySource, NetworkEstimate, Source
from cost_models.ir.fusion import Kernel
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.kernel_models.adjustments import Adjustment
from cost_models.kernel_models.predictor import PhysicalBase, Predictor
from cost_models.network_models.network_model import NetworkModel
from targets.target import profile_command

_ENDS = ("median_s", "low_s", "high_s")

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CostModel:
    """The sources for one target; at least one of them.

    Attributes:
        target: its name.
        calibration: what networks take besides kernels, where they were timed whole.
        processor: what table, predictor and calibration are of, where that is another one than here.
        adjustments: what is asked of kernels beside what was measured.
        published: the rows of others; then operations of theirs are asked for, not kernels of TVM.
        networks: those that were profiled from files: digest of layers -> what they run.
    """

    target: str
    table: LatencyTable | None = None
    predictor: Predictor | None = None
    prior: Prior | FittedDevice | None = None
    calibration: NetworkModel | None = None
    processor: OtherProcessor | None = None
    adjustments: tuple[Adjustment, ...] = ()
    published: PublishedTable | None = None
    networks: Mapping[str, KernelGraph] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if all(source is None for source in (self.table, self.predictor, self.prior, self.published)):
            raise CostModelError(
                f"target {self.target}: no table, no predictor and no prior; make a table: "
                f"{profile_command(self.target)}"
            )
        known = [source.fingerprint for source in (self.predictor, self.table) if source is not None]
        if len(known) == 2 and (other := differences(*known)):
            raise IncompatiblePredictor(
                f"target {self.target}: its predictor was fitted in another environment than its table: "
                f"{', '.join(other)}; use those of one profile"
            )

    @cached_property
    def network_model(self) -> NetworkModel:
        """The calibration; of a device that only its prior knows, the prior's; else the plain sum."""
        if self.calibration is not None:
            return self.calibration.scaled(self.processor.scale) if self.processor else self.calibration
        alone = self.prior if self.table is None and self.predictor is None else None
        return NetworkModel() if alone is None else alone.network_model()

    @cached_property
    def _sources(self) -> list[LatencySource]:
        """The best first. The predictor's base tells last what nobody else does."""
        base = None if self.predictor is None else PhysicalBase(self.predictor)
        measured = (self._here(one) for one in (self.table, self.predictor))
        found = (*measured, self.published, self.prior, self._here(base))
        return [one for one in found if one is not None]

    def _here(self, source: LatencySource | None) -> LatencySource | None:
        """What was measured on another processor, of this one."""
        return FromOtherProcessor(source, self.processor) if source and self.processor else source

    @property
    def basis(self) -> str:
        """How estimates of networks come about, in words."""
        if self.published:
            return str(self.published)
        return f"{self.network_model}; {self.processor}" if self.processor else str(self.network_model)

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        """Of each, from the best source that knows it; None where none does."""
        found: dict[Kernel, Estimate] = {}
        missing = list(dict.fromkeys(kernels))
        for source in self._sources:
            told = zip(missing, source.kernels(missing), strict=True) if missing else ()
            found |= {kernel: estimate for kernel, estimate in told if estimate is not None}
            missing = [kernel for kernel in missing if kernel not in found]
        for adjust in self.adjustments:
            found = {kernel: adjust(kernel, estimate) for kernel, estimate in found.items()}
        return [found.get(kernel) for kernel in kernels]

    def estimates(self, kernels: Sequence[Kernel]) -> list[Estimate]:
        """As ``kernels``, of all of them.

        Raises:
            MissingEntry: a kernel that was not measured, where there is neither predictor nor prior.
            CostModelError: one that no table can hold, where there is neither; one that others left out.
        """
        found = []
        for kernel, estimate in zip(kernels, self.kernels(kernels), strict=True):
            if estimate is None and self.published:
                raise self.published.missing(kernel)
            if estimate is None and kernel.is_foreign:
                raise CostModelError(
                    f"{kernel.label}: only a prior can tell it, and {self.target} has neither that nor a "
                    f"predictor; make one: {profile_command(self.target)}"
                )
            if estimate is None:
                raise MissingEntry(kernel.key, self.target)
            found.append(estimate)
        return found

    def digest(self) -> str:
        """Of what its sources say; files of fitted devices hold it, so what goes into it stays as it is."""
        rows = self.table.rows if self.table else {}
        told = [sorted((key, row.median_s) for key, row in rows.items()), repr(self.prior)]
        if self.predictor:
            told.append(repr((dict(self.predictor.errors), self.predictor.intervals.reach)))
        if self.published:
            told.append(self.published.digest())
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def network(self, kernels: Sequence[Kernel] | KernelGraph, *, of_a_space: bool = True) -> NetworkEstimate:
        """Of kernels that run one after another, one of them possibly often; or of their graph.

        Args:
            of_a_space: else from a file.

        Raises:
            MissingEntry: see ``estimates``.
        """
        graph = kernels if isinstance(kernels, KernelGraph) else KernelGraph.chain(kernels)
        costs, model = self.estimates(graph.kernels), self.network_model
        model = model if of_a_space else model.of_a_file(len(costs))
        inside_s, alone_s = _inside_s(model, graph.kernels, costs), [cost.median_s for cost in costs]
        whole_s = self._whole(model, *(np.array([model.sum_s(graph, end_s, alone_s)]) for end_s in inside_s))
        unsure = dict.fromkeys(kernel for kernel, cost in zip(graph.kernels, costs, strict=True) if cost.far)
        median_s, low_s, high_s = (float(end_s[0]) for end_s in whole_s)
        return NetworkEstimate(
            median_s=median_s,
            low_s=low_s,
            high_s=high_s,
            kernels=len(costs),
            shares=_shares(list(zip(costs, inside_s[0], strict=True))),
            unsure=tuple(unsure),
            calibrated=model.calibrated,
        )

    def pieces(self, parts: Sequence[Sequence[Kernel]]) -> list[tuple[float, float, float]]:
        """What each part of a network adds to it: median, low and high, in seconds; see ``whole``.

        Raises:
            MissingEntry: see ``estimates``.
        """
        kernels = list(dict.fromkeys(kernel for part in parts for kernel in part))
        inside_s = _inside_s(self.network_model, kernels, self.estimates(kernels))
        by_kernel = dict(zip(kernels, zip(*inside_s, strict=True), strict=True))
        sums_s = ([sum(by_kernel[kernel][end] for kernel in part) for end in range(3)] for part in parts)
        return [(median_s, low_s, high_s) for median_s, low_s, high_s in sums_s]

    def whole(self, median_s: Vector, low_s: Vector, high_s: Vector) -> tuple[Vector, Vector, Vector]:
        """Networks, one an entry, from the sums of their pieces: median and ends of the interval, seconds."""
        return self._whole(self.network_model, median_s, low_s, high_s)

    def _whole(
        self, model: NetworkModel, median_s: Vector, low_s: Vector, high_s: Vector
    ) -> tuple[Vector, Vector, Vector]:
        ends_s = model.network_s(median_s, low_s, high_s)
        return self.processor.widened(*ends_s) if self.processor else ends_s


def _inside_s(model: NetworkModel, kernels: Sequence[Kernel], costs: Sequence[Estimate]) -> list[list[float]]:
    """What each kernel adds to a network: medians, low ends, high ends."""
    return [
        [model.kernel_s(kernel, getattr(cost, end)) for kernel, cost in zip(kernels, costs, strict=True)]
        for end in _ENDS
    ]


def _shares(counted: Sequence[tuple[Estimate, float]]) -> dict[Source, float]:
    """Of all seconds, by source."""
    total_s = sum(seconds for _, seconds in counted)
    return {
        source: sum(seconds for cost, seconds in counted if cost.source == source) / total_s
        for source in Source
        if any(cost.source == source for cost, _ in counted)
    }
