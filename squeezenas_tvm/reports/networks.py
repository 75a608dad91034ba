"""Published networks on a device that was profiled: their latency, their accuracy, where their time goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cost_models.cost_model import CostModel
from cost_models.errors import MissingEntry
from cost_models.estimate import NetworkEstimate, Source
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.network_models.network_model import NetworkModel
from search.architecture import Architecture, list_architectures, load_architecture
from search.costs.kernel_table import network_graph
from search.data.classes import unnamed
from search.resolution import Resolution
from squeezenas_tvm.profiling.time_of_kernels import network_time
from squeezenas_tvm.reports.charts import row
from squeezenas_tvm.reports.costs import Covered
from squeezenas_tvm.reports.page import NONE, Markup, element, folded, join, paragraph, table
from squeezenas_tvm.reports.published import TrainedNetwork, conditions_of, trained_chart
from squeezenas_tvm.reports.strips import Part, divided_bars, styles_of


@dataclass(frozen=True)
class EstimatedNetwork:
    """A published architecture at a size that was profiled.

    Attributes:
        total: None where a kernel is not known.
        graph: of its kernels.
    """

    network: Architecture
    resolution: Resolution
    classes: int
    total: NetworkEstimate | None
    graph: KernelGraph

    @property
    def size(self) -> str:
        """For people."""
        return f"{self.resolution}, {self.classes} classes"

    def document(self) -> dict[str, Any]:
        """For JSON."""
        told = {"name": self.network.name, "resolution": str(self.resolution), "classes": self.classes}
        if self.total is None:
            return {**told, "median_ms": None}
        total = self.total
        ends = {"median_ms": total.median_s, "low_ms": total.low_s, "high_ms": total.high_s}
        return {**told, **{end: value * 1e3 for end, value in ends.items()}, "sources": dict(total.shares)}


def estimated(model: CostModel, found: Sequence[Covered]) -> list[EstimatedNetwork]:
    """The published architectures at every size, whatever space they are of."""
    sizes = dict.fromkeys((one.resolution, one.classes) for one in found)
    estimates = []
    for name in list_architectures():
        network = load_architecture(name)
        for resolution, classes in sizes:
            graph = network_graph(network.for_classes(unnamed(classes)), resolution)
            try:
                total: NetworkEstimate | None = model.network(graph)
            except MissingEntry:
                total = None
            estimates.append(EstimatedNetwork(network, resolution, classes, total, graph))
    return estimates


def networks(estimates: Sequence[EstimatedNetwork], model: CostModel, whole: NetworkModel) -> Markup:
    """The table, accuracy over latency at each size, and the kinds of kernels that take the time.

    Args:
        whole: how estimates come about.
    """
    if not estimates:
        return paragraph("No space is measured far enough to tell of networks.")
    sizes = list(dict.fromkeys(one.size for one in estimates))
    return join(
        [
            paragraph(
                f"From a camera's frame to class indices, as {whole}. In brackets the interval that is meant "
                "to hold nine of ten; beside it the share of the time that measured kernels have, the others "
                "are predicted."
            ),
            _table(estimates, sizes),
            *_accuracies(estimates, sizes),
            *_kinds([one for one in estimates if one.size == sizes[0]], model),
        ]
    )


def _table(estimates: Sequence[EstimatedNetwork], sizes: Sequence[str]) -> Markup:
    rows: dict[str, list[str]] = {}
    for one in estimates:
        cells = [NONE, NONE]
        if (total := one.total) is not None:
            ends = f"({total.low_s * 1e3:.2f} to {total.high_s * 1e3:.2f})"
            cells = [f"{total.median_s * 1e3:.2f} {ends}", f"{total.shares.get(Source.MEASURED, 0):.0%}"]
        rows.setdefault(one.network.name, [one.network.name]).extend(cells)
    header = ["published network"]
    for size in sizes:
        header += [f"ms at {size}", "measured"]
    return table(header, list(rows.values()))


def _accuracies(estimates: Sequence[EstimatedNetwork], sizes: Sequence[str]) -> list[Markup]:
    """A picture a size; those behind the first when they are asked for."""
    pictures = {}
    for size in sizes:
        title = f"Reported accuracy and estimated latency at {size}"
        shown = [_trained(one, one.total) for one in estimates if one.size == size and one.total is not None]
        if picture := trained_chart(title, shown, x=f"ms at {size}", logarithmic="x", wide=True):
            pictures[size] = row([picture])
    if not pictures:
        return []
    said = (
        "Accuracy as its authors reported it, at their size and on their data, over the latency estimated "
        "here: marks of one shape compare with each other."
    )
    first, *others = pictures.items()
    folds = [folded(f"At {size}", picture) for size, picture in others]
    return [element("h3", "Accuracy and latency"), paragraph(said), first[1], *folds]


def _trained(one: EstimatedNetwork, total: NetworkEstimate) -> TrainedNetwork:
    score, conditions = conditions_of(one.network)
    ends = (total.low_s * 1e3, total.high_s * 1e3)
    return TrainedNetwork(one.network.name, (), score, conditions, total.median_s * 1e3, *ends)


def _kinds(estimates: Sequence[EstimatedNetwork], model: CostModel) -> list[Markup]:
    """Where the time of each goes, by kind of kernel."""
    bars, amounts = {}, dict[str, float]()
    known = [(one, one.total.median_s) for one in estimates if one.total is not None]
    for one, total_s in sorted(known, key=lambda pair: pair[1]):
        time = network_time(one.network.name, one.size, one.graph, model, None)
        shares: dict[str, float] = {}
        for kernel in time.kernels:
            shares[kernel.kind] = shares.get(kernel.kind, 0.0) + kernel.share
        for kind, share in shares.items():
            amounts[kind] = amounts.get(kind, 0.0) + share
        bars[f"{one.network.name}: {total_s * 1e3:.3g} ms"] = [
            Part(kind, share * total_s * 1e3, f"{one.network.name}, {kind}: {share:.1%}")
            for kind, share in sorted(shares.items())
        ]
    if not bars:
        return []
    size = known[0][0].size
    picture = divided_bars(
        f"Latency of published networks by kind of kernel at {size}",
        bars,
        styles_of(amounts),
        x=f"ms at {size}",
    )
    said = "By kind of kernel, as kernels take it one by one; what happens between them is in proportion."
    return [element("h3", "Where their time goes"), paragraph(said), row([picture])]
