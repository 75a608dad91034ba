"""What a kernel or a network costs on a target, how sure that is, and who says so.

Three sources, best first: ``measured``, a row of the target's table; ``predicted``, learned from the rows
of that table; ``prior``, a physical model of a device from its data sheet and what others published. A
network takes the sum of its kernels and what ``network_model`` says of what happens between them (cache
contents, launches, overlap), where networks were timed whole on the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cost_models.database.environment import differences
from cost_models.database.table import LatencyTable
from cost_models.device_models.fitted_device import FittedDevice
from cost_models.device_models.prior import OUTSIDE, Prior
from cost_models.errors import CostModelError, IncompatiblePredictor, MissingEntry
from cost_models.ir.fusion import Kernel
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.kernel_models.predictor import Predictor
from cost_models.network_models.network_model import NetworkModel

SOURCES = ("measured", "predicted", "prior")
_ENDS = ("median_s", "low_s", "high_s")

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a kernel.

    Attributes:
        low_s, high_s: of samples, the 10th and 90th percentile; else an interval that holds nine of ten.
        source: one of `SOURCES`.
        far: nothing like it was measured; the interval is a guess, too.
    """

    median_s: float
    low_s: float
    high_s: float
    source: str
    far: bool = False


@dataclass(frozen=True, slots=True)
class Total:
    """Of a network.

    Attributes:
        low_s, high_s: the sums of its kernels' ends, as wide as if all errors had one sign; where networks
            were timed whole, together with the errors of their estimates.
        kernels: how many calls of kernels were added up.
        shares: of the median by source; only those that occur.
        unsure: kernels whose cost is far from all that was measured, or a prior's, each once.
        calibrated: on networks timed whole; otherwise the plain sum of its kernels.
    """

    median_s: float
    low_s: float
    high_s: float
    kernels: int
    shares: Mapping[str, float]
    unsure: tuple[Kernel, ...]
    calibrated: bool = False


@dataclass(frozen=True)
class CostModel:
    """The sources for one target; at least one of them.

    Attributes:
        target: its name.
        network_model: what networks take besides kernels; of a device fitted to whole networks, its own.
    """

    target: str
    table: LatencyTable | None = None
    predictor: Predictor | None = None
    prior: Prior | FittedDevice | None = None
    network_model: NetworkModel = field(default_factory=NetworkModel)

    def __post_init__(self) -> None:
        if self.table is None and self.predictor is None and self.prior is None:
            raise CostModelError(
                f"target {self.target}: no table, no predictor and no prior; make a table: "
                f"python -m squeezenas_tvm.profile --target {self.target}"
            )
        known = [source.fingerprint for source in (self.predictor, self.table) if source is not None]
        if len(known) == 2 and (other := differences(*known)):
            raise IncompatiblePredictor(
                f"target {self.target}: its predictor was fitted in another environment than its table: "
                f"{', '.join(other)}; use those of one profile"
            )
        if isinstance(self.prior, FittedDevice) and self.table is None and self.predictor is None:
            object.__setattr__(self, "network_model", self.prior.network_model())

    def kernels(self, kernels: Sequence[Kernel]) -> list[Cost]:
        """Of each, from the best source that knows it.

        Raises:
            MissingEntry: a kernel that was not measured, where there is neither predictor nor prior.
        """
        rows = self.table.rows if self.table else {}
        found: dict[Kernel, Cost] = {}
        for kernel in kernels:
            if kernel.key in rows and rows[kernel.key].samples_s:
                known = rows[kernel.key].latency
                found[kernel] = Cost(known.median_s, known.low_s, known.high_s, "measured")
        missing = list(dict.fromkeys(kernel for kernel in kernels if kernel not in found))
        found |= self._outside([kernel for kernel in missing if kernel.is_foreign])
        missing = [kernel for kernel in missing if not kernel.is_foreign]
        if self.predictor is not None:
            for kernel, said in zip(missing, self.predictor.predict(missing), strict=True):
                found[kernel] = Cost(said.median_s, said.low_s, said.high_s, "predicted", said.far)
        elif self.prior is not None:
            for kernel, said in zip(missing, self.prior.kernels(missing), strict=True):
                found[kernel] = Cost(said.median_s, said.low_s, said.high_s, "prior", said.far)
        elif missing:
            raise MissingEntry(missing[0].key, self.target)
        return [found[kernel] for kernel in kernels]

    def _outside(self, kernels: Sequence[Kernel]) -> dict[Kernel, Cost]:
        """Of kernels unlike all that tables hold: by the prior, else by the predictor's physical base."""
        if not kernels:
            return {}
        if self.prior is not None:
            medians_s = [said.median_s for said in self.prior.kernels(kernels)]
        elif self.predictor is not None:
            medians_s = self.predictor.base_s(kernels)
        else:
            raise CostModelError(
                f"{kernels[0].label}: only a prior can tell it, and {self.target} has neither that nor a "
                f"predictor; make one: python -m squeezenas_tvm.profile --target {self.target}"
            )
        costs = [Cost(s, s / OUTSIDE, s * OUTSIDE, "prior", True) for s in medians_s]
        return dict(zip(kernels, costs, strict=True))

    def network(self, kernels: Sequence[Kernel] | KernelGraph) -> Total:
        """Of kernels that run one after another, one of them possibly often; or of their graph.

        Raises:
            MissingEntry: see ``kernels``.
        """
        graph = kernels if isinstance(kernels, KernelGraph) else KernelGraph.chain(kernels)
        costs, model = self.kernels(graph.kernels), self.network_model
        inside_s, alone_s = self._inside_s(graph.kernels, costs), [cost.median_s for cost in costs]
        whole_s = self.whole(*(np.array([model.sum_s(graph, end_s, alone_s)]) for end_s in inside_s))
        unsure = dict.fromkeys(kernel for kernel, cost in zip(graph.kernels, costs, strict=True) if cost.far)
        median_s, low_s, high_s = (float(end_s[0]) for end_s in whole_s)
        return Total(
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
            MissingEntry: see ``kernels``.
        """
        kernels = list(dict.fromkeys(kernel for part in parts for kernel in part))
        inside_s = self._inside_s(kernels, self.kernels(kernels))
        by_kernel = dict(zip(kernels, zip(*inside_s, strict=True), strict=True))
        sums_s = ([sum(by_kernel[kernel][end] for kernel in part) for end in range(3)] for part in parts)
        return [(median_s, low_s, high_s) for median_s, low_s, high_s in sums_s]

    def whole(self, median_s: Vector, low_s: Vector, high_s: Vector) -> tuple[Vector, Vector, Vector]:
        """Networks, one an entry, from the sums of their pieces: median and ends of the interval, seconds."""
        return self.network_model.network_s(median_s, low_s, high_s)

    def _inside_s(self, kernels: Sequence[Kernel], costs: Sequence[Cost]) -> list[list[float]]:
        """What each kernel adds to a network: medians, low ends, high ends."""
        add = self.network_model.kernel_s
        return [
            [add(kernel, getattr(cost, end)) for kernel, cost in zip(kernels, costs, strict=True)]
            for end in _ENDS
        ]


def _shares(counted: Sequence[tuple[Cost, float]]) -> dict[str, float]:
    """Of all seconds, by source."""
    total_s = sum(seconds for _, seconds in counted)
    return {
        source: sum(seconds for cost, seconds in counted if cost.source == source) / total_s
        for source in SOURCES
        if any(cost.source == source for cost, _ in counted)
    }
