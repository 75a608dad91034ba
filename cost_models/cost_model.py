"""What a kernel or a network costs on a target, how sure that is, and who says so.

Three sources, best first: ``measured``, a row of the target's table; ``predicted``, learned from the rows
of that table; ``prior``, a physical model of a device from its data sheet and what others published. A
network is the sum of its kernels; what happens between them (cache contents, launches) is not in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cost_models.errors import CostModelError, MissingEntry
from cost_models.kernels import Kernel
from cost_models.predictor import Predictor
from cost_models.prior import OUTSIDE, Prior
from cost_models.table import LatencyTable

SOURCES = ("measured", "predicted", "prior")


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
        low_s, high_s: the sums of its kernels' ends: as wide as if all errors had one sign.
        kernels: how many calls of kernels were added up.
        shares: of the median by source; only those that occur.
        unsure: kernels whose cost is far from all that was measured, or a prior's, each once.
    """

    median_s: float
    low_s: float
    high_s: float
    kernels: int
    shares: Mapping[str, float]
    unsure: tuple[Kernel, ...]


@dataclass(frozen=True)
class CostModel:
    """The sources for one target; at least one of them.

    Attributes:
        target: its name.
    """

    target: str
    table: LatencyTable | None = None
    predictor: Predictor | None = None
    prior: Prior | None = None

    def __post_init__(self) -> None:
        if self.table is None and self.predictor is None and self.prior is None:
            raise CostModelError(
                f"target {self.target}: no table, no predictor and no prior; make a table: "
                f"python -m squeezenas_tvm.profile --target {self.target}"
            )

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
        if self.predictor is not None:
            for kernel, said in zip(missing, self.predictor.predict(missing), strict=True):
                found[kernel] = Cost(said.median_s, said.low_s, said.high_s, "predicted", said.far)
        elif self.prior is not None:
            for kernel in missing:
                seconds = self.prior.predict_s(kernel)
                found[kernel] = Cost(seconds, seconds / OUTSIDE, seconds * OUTSIDE, "prior", True)
        elif missing:
            raise MissingEntry(missing[0].key, self.target)
        return [found[kernel] for kernel in kernels]

    def network(self, kernels: Sequence[Kernel]) -> Total:
        """Of kernels that run one after another, one of them possibly often.

        Raises:
            MissingEntry: see ``kernels``.
        """
        costs = self.kernels(kernels)
        median_s = sum(cost.median_s for cost in costs)
        by_source = {
            source: sum(cost.median_s for cost in costs if cost.source == source) / median_s
            for source in SOURCES
            if any(cost.source == source for cost in costs)
        }
        unsure = dict.fromkeys(kernel for kernel, cost in zip(kernels, costs, strict=True) if cost.far)
        return Total(
            median_s=median_s,
            low_s=sum(cost.low_s for cost in costs),
            high_s=sum(cost.high_s for cost in costs),
            kernels=len(costs),
            shares=by_source,
            unsure=tuple(unsure),
        )
