"""The public Python API, re-exported by ``squeezenas_tvm``; nothing here imports TVM or PyTorch by itself."""

from dataclasses import dataclass
from pathlib import Path

from cost_models.table import LatencyTable
from search.architecture import Architecture, list_architectures, load_architecture
from search.costs import estimate
from search.resolution import Resolution
from search.spaces import get_space
from squeezenas_tvm.options import latency_table
from targets import Target, list_targets, load_target

__all__ = [
    "Architecture",
    "Estimate",
    "LatencyTable",
    "Resolution",
    "Target",
    "estimate_latency",
    "get_space",
    "list_architectures",
    "list_targets",
    "load_architecture",
    "load_target",
]


@dataclass(frozen=True)
class Estimate:
    """Latency of a network on a target.

    Attributes:
        median, low, high: seconds; low and high are the 10th and 90th percentile of the samples, summed.
        sources: share of the median by where it comes from; in this release all of it is ``measured``.
    """

    median: float
    low: float
    high: float
    sources: dict[str, float]


def estimate_latency(
    architecture: Architecture,
    target: Target,
    resolution: tuple[int, int] = (1024, 2048),
    *,
    table: LatencyTable | str | Path | None = None,
) -> Estimate:
    """Latency of the deployed network (camera frame to class indices) from a table, without the device.

    Args:
        resolution: height and width, pixels.
        table: a table or its folder; when None ``results/TARGET`` in the current folder, or else the
            one shipped for the target.

    Raises:
        IncompatibleTable: no table there, or one of another target or machine.
        MissingEntry: a kernel of the network was not measured.
        InvalidResolution: a size that no network takes.
    """
    if isinstance(table, LatencyTable):
        measured = table
    else:
        measured = latency_table(target, Path(table) if table else None)
    latency = estimate(architecture, measured, Resolution(*resolution).checked())
    return Estimate(latency.median_s, latency.low_s, latency.high_s, {"measured": 1.0})
