"""Where a network's time goes: its kernels, the longest first, each beside what the device allows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cost_models.cost_model import CostModel
from cost_models.database.table import LatencyTable
from cost_models.estimate import NetworkEstimate
from cost_models.ir.fusion import Kernel
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.kernel_models.roofline import PhysicalModel
from squeezenas_tvm.terminal.table import table

FAR = 2.0  # times the roofline
WORTH = 0.01  # of the network's time: what is shorter is not named as far
LISTED = 12
_NAMED = 3
_LABEL_CHARS = 60
HEADER = ("kernel", "calls", "ms each", "% of time", "fastest schedule", "times roofline")


@dataclass(frozen=True)
class KernelTime:
    """A kernel of a network.

    Attributes:
        kernel: its key.
        calls: how often a run of the network calls it.
        median_s: of a call.
        share: of the time of all kernels, its calls together.
        how: where the fastest schedule is from, or who estimates it.
        roofline_s: least time of a call at the best rates that kernels of its kind reached; None where none
            was measured.
        kind: class of its work, as ``Kernel.kind``.
        macs, bytes_moved: of a call.
    """

    kernel: str
    calls: int
    median_s: float
    share: float
    how: str
    roofline_s: float | None
    kind: str
    macs: int
    bytes_moved: int

    @property
    def times_roofline(self) -> float | None:
        """How many times as long as the roofline it takes."""
        return self.median_s / self.roofline_s if self.roofline_s else None

    @property
    def is_far(self) -> bool:
        """Whether a faster schedule of it would be worth looking for."""
        return (self.times_roofline or 0.0) > FAR and self.share >= WORTH


@dataclass(frozen=True)
class NetworkTime:
    """A network that was profiled.

    Attributes:
        sizes: of its inputs, for people.
        total: its latency.
        kernels: distinct ones, those that take most first.
        roofline: the best rates, None where nothing was measured.
    """

    name: str
    sizes: str
    total: NetworkEstimate
    kernels: tuple[KernelTime, ...]
    roofline: PhysicalModel | None = None

    @property
    def far(self) -> list[KernelTime]:
        """Kernels far from the roofline, those that take most first."""
        return [kernel for kernel in self.kernels if kernel.is_far]


def network_time(
    name: str,
    sizes: str,
    graph: KernelGraph,
    model: CostModel,
    roofline: PhysicalModel | None,
    *,
    of_a_space: bool = False,
) -> NetworkTime:
    """Of a network that a cost model knows.

    Args:
        roofline: as ``measured_roofline`` gives it.
        of_a_space: which whole networks it is calibrated by.

    Raises:
        MissingEntry: a kernel that nobody tells.
    """
    calls, rows = Counter(graph.kernels), model.table.rows if model.table else {}
    told = dict(zip(calls, model.estimates(list(calls)), strict=True))
    total_s = sum(calls[kernel] * estimate.median_s for kernel, estimate in told.items())
    kernels = [
        KernelTime(
            kernel=kernel.key,
            calls=calls[kernel],
            median_s=estimate.median_s,
            share=calls[kernel] * estimate.median_s / total_s,
            how=str(rows[kernel.key].how if kernel.key in rows else estimate.source),
            roofline_s=roofline.bound_s(kernel) if roofline else None,
            kind=kernel.kind,
            macs=kernel.macs,
            bytes_moved=kernel.bytes_moved,
        )
        for kernel, estimate in told.items()
    ]
    total = model.network(graph, of_a_space=of_a_space)
    longest_first = tuple(sorted(kernels, key=lambda kernel: -kernel.share))
    return NetworkTime(name, sizes, total, longest_first, roofline)


def measured_roofline(latencies: LatencyTable, kernels: Iterable[Kernel]) -> PhysicalModel | None:
    """The best rates that kernels of each kind reached; None where none was measured."""
    rows = latencies.rows
    known = [k for k in dict.fromkeys(kernels) if k.key in rows and rows[k.key].samples_s]
    return PhysicalModel.fit(known, [rows[k.key].median_s for k in known]) if known else None


def cells(kernel: KernelTime) -> list[str]:
    """A row, as ``HEADER`` has columns."""
    times = kernel.times_roofline
    label = kernel.kernel if len(kernel.kernel) <= _LABEL_CHARS else f"{kernel.kernel[:_LABEL_CHARS]}..."
    return [
        label,
        str(kernel.calls),
        f"{kernel.median_s * 1e3:.3f}",
        f"{100 * kernel.share:.1f}",
        kernel.how,
        "-" if times is None else f"{times:.1f}",
    ]


def far_text(network: NetworkTime) -> str:
    """One line on kernels far from the roofline; empty where there is none."""
    if network.roofline is None:
        return ""
    far = network.far
    if not far:
        return f"No kernel of {WORTH:.0%} of the time or more is {FAR:g} times the roofline or longer."
    named = ", ".join(cells(kernel)[0] for kernel in far[:_NAMED])
    more = f" and {len(far) - _NAMED} more" if len(far) > _NAMED else ""
    share = sum(kernel.share for kernel in far)
    return f"Over {FAR:g} times the roofline, {share:.0%} of the time: {named}{more}."


def network_lines(network: NetworkTime) -> Sequence[str]:
    """For people."""
    total, distinct = network.total, len(network.kernels)
    ends = f"{total.median_s * 1e3:.2f} ms ({total.low_s * 1e3:.2f} to {total.high_s * 1e3:.2f})"
    lines = [f"{network.name} at {network.sizes}: {ends}; {distinct} distinct kernels, {total.kernels} calls"]
    lines += [table(list(HEADER), [cells(kernel) for kernel in network.kernels[:LISTED]])]
    if distinct > LISTED:
        share = sum(kernel.share for kernel in network.kernels[LISTED:])
        lines.append(f"{distinct - LISTED} others take {share:.0%} of the time.")
    return [*lines, *filter(None, [far_text(network)])]


def network_document(network: NetworkTime) -> dict[str, Any]:
    """Of one network: its latency, and its kernels, those that take most first."""
    total = network.total
    ends = {"median": total.median_s, "low": total.low_s, "high": total.high_s}
    return {
        "name": network.name,
        "inputs": network.sizes,
        "latency_ms": {end: seconds * 1e3 for end, seconds in ends.items()},
        "sources": dict(total.shares),
        "calls": total.kernels,
        "kernels": [
            {**asdict(kernel), "times_roofline": kernel.times_roofline, "far": kernel.is_far}
            for kernel in network.kernels
        ],
    }
