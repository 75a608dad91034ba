"""A network on a target without the device: its latency, where each number comes from, what else it takes."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cost_models.cost_model import CostModel
from cost_models.errors import InvalidGraph, MissingEntry
from cost_models.estimate import Estimate
from cost_models.ir.fusion import Kernel, kernel_calls
from cost_models.ir.graph import Graph
from cost_models.ir.kernel_graph import KernelGraph
from cost_models.ir.memory import planned_bytes
from cost_models.ir.ops import Foreign, Shape
from cost_models.onnx_io.importer import read_onnx
from search.architecture import Architecture
from search.costs.kernel_table import network_graph, priced_graph
from search.costs.objectives import count
from search.resolution import Resolution
from squeezenas_tvm.bundles.network_files import refuse_other_formats

USUAL = Resolution(1024, 2048)  # of an architecture; an ONNX file has its own
_KEY_CHARS = 100
_NAMED = 5  # kernels of each network that are named when they are unsure

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """What is asked about: layers and kernels at a resolution.

    Attributes:
        foreign: read from an ONNX file, as it is; else of a space, from camera frame to class indices.
        dtype: element type of maps and weights; None: whatever was measured.
        notes: what is unusual about its file, a phrase each.
        space: its name; empty for a file.
        digest: of its layers, by which a profile knows it; empty for a network of a space.
        file: what `profile` takes to measure it: an ONNX file or a bundle; empty for a network of a space.
    """

    name: str
    resolution: str
    graph: Graph
    inputs: Mapping[str, Shape]
    kernels: KernelGraph
    foreign: bool
    dtype: str | None = None
    notes: tuple[str, ...] = ()
    space: str = ""
    digest: str = ""
    file: str = ""


@dataclass(frozen=True)
class PredictedKernel:
    """A kernel of a network: its own latency, and how often the network calls it."""

    kernel: str
    calls: int
    median_s: float
    low_s: float
    high_s: float
    source: str


@dataclass(frozen=True)
class Outside:
    """An operation that no table knows.

    Attributes:
        names: where it stands.
        kernels: of it.
        share: of the time of all kernels.
    """

    operation: str
    names: tuple[str, ...]
    kernels: int
    share: float


@dataclass(frozen=True)
class PredictedNetwork:
    """What is known of a network on a target that it never ran on.

    Attributes:
        median_s, low_s, high_s: latency; nine of ten networks are meant to lie between low and high.
        sources: share of the median by where it comes from: ``measured``, ``predicted``, ``prior``.
        calibrated: on whole networks timed on the target.
        energy_j: None where no power was ever measured there.
        unsure: kernels far from all that was measured.
        outside: operations that only a prior tells, the longest first.
        dtype: element type of maps and weights.
        notes: what is unusual about its file or the estimate, a phrase each.
    """

    name: str
    resolution: str
    median_s: float
    low_s: float
    high_s: float
    sources: Mapping[str, float]
    calibrated: bool
    macs: int
    params: int
    bytes_moved: int
    peak_memory_bytes: int
    planned_memory_bytes: int
    energy_j: float | None
    unsure: tuple[str, ...]
    outside: tuple[Outside, ...]
    kernels: tuple[PredictedKernel, ...]
    dtype: str = "float32"
    notes: tuple[str, ...] = ()


def network_of(
    architecture: Architecture, resolution: Resolution | None = None, model: CostModel | None = None
) -> Network:
    """A network of a space, from camera frame to class indices.

    Args:
        model: who will be asked, where that is a table of others: then the operations that it has rows of.
    """
    size = resolution or USUAL
    graph, inputs = architecture.camera_network(), {"frame": (1, *size, 3)}
    kernels = network_graph(architecture, size) if model is None else priced_graph(model, architecture, size)
    name, space = architecture.name, architecture.space
    return Network(name, str(size), graph, inputs, kernels, foreign=False, space=space)


def read_network(
    path: Path, resolution: Resolution | None = None, shapes: Mapping[str, Shape] | None = None
) -> Network:
    """The network in an ONNX file, at this resolution or at its own.

    Args:
        shapes: of inputs by name, where the file leaves them open.

    Raises:
        UsageError: a file of another format.
        InvalidGraph: latencies cannot be told for it; says why.
    """
    refuse_other_formats(path)
    imported = read_onnx(path, resolution, shapes)
    kernels = KernelGraph.of(imported.graph, imported.inputs)
    size = "x".join(map(str, imported.size))
    return Network(
        *(path.name, size, imported.graph, imported.inputs, kernels),
        foreign=True,
        dtype=imported.dtype,
        notes=imported.notes,
        digest=imported.digest,
        file=str(path),
    )


def read_at_own_size(path: Path, resolution: Resolution | None) -> Network:
    """The network in an ONNX file, at its own size if it has one. Raises as ``read_network``."""
    if resolution is None:
        return read_network(path)
    try:
        return read_network(path)
    except InvalidGraph:
        return read_network(path, resolution)


def predict_network(network: Network, model: CostModel, power_w: float | None = None) -> PredictedNetwork:
    """Add up what the kernels cost: measured, else predicted, else by the target's prior.

    Args:
        power_w: that networks draw on the target; None where that is not known.

    Raises:
        MissingEntry: a kernel was not measured, and nothing else tells it.
    """
    graph = model.networks.get(network.digest, network.kernels)  # as TVM cuts it, where that was profiled
    kernels, dtype = graph.kernels, network.dtype or "float32"
    try:
        total = model.network(graph, of_a_space=not network.foreign)
    except MissingEntry as missing:
        size = network.resolution
        raise (missing.of(network.space, size) if network.space else missing.of_file(network.file)) from None
    calls = Counter(kernel.key for kernel in kernels)
    costs = dict(zip(kernels, model.estimates(kernels), strict=True))
    outside: Sequence[Outside] = ()
    if network.foreign and graph is network.kernels:
        outside = _outside(network, costs, model.predictor.foreign if model.predictor else ())
    counted = count(network.graph, network.inputs, dtype)
    predicted = PredictedNetwork(
        name=network.name,
        resolution=network.resolution,
        median_s=total.median_s,
        low_s=total.low_s,
        high_s=total.high_s,
        sources={str(source): share for source, share in total.shares.items()},
        calibrated=total.calibrated,
        macs=counted["macs"],
        params=counted["params"],
        bytes_moved=counted["bytes"],
        peak_memory_bytes=counted["memory"],
        planned_memory_bytes=planned_bytes(network.graph, network.inputs, dtype),
        energy_j=None if power_w is None else total.median_s * power_w,
        unsure=tuple(kernel.key for kernel in total.unsure if not kernel.is_foreign),
        outside=tuple(outside),
        kernels=tuple(
            PredictedKernel(key, calls[key], cost.median_s, cost.low_s, cost.high_s, cost.source)
            for key, cost in {kernel.key: cost for kernel, cost in costs.items()}.items()
        ),
        dtype=dtype,
        notes=(*network.notes, *(adjustment.note for adjustment in model.adjustments)),
    )
    _warn_of_unsure(predicted, network, model)
    return predicted


def _outside(
    network: Network, costs: Mapping[Kernel, Estimate], known: Collection[str] = ()
) -> Sequence[Outside]:
    """Operations that no table knows, by kind.

    Args:
        costs: of every kernel of the network.
        known: families of such kernels that were measured in other networks.
    """
    operations = {node.name: node.op for node in network.graph.nodes}
    calls = kernel_calls(network.graph, network.inputs)
    total_s = sum(costs[call.kernel].median_s for call in calls)
    found: dict[str, list[tuple[str, float]]] = {}
    for call in calls:
        if not call.kernel.is_foreign or call.kernel.family in known:
            continue
        strange = [(name, operations[name]) for name in call.nodes]
        where, op = next((n, o) for n, o in strange if isinstance(o, Foreign) and o.fusion != "elementwise")
        share = costs[call.kernel].median_s / total_s
        found.setdefault(op.operation, []).append((where, share))
    outside = []
    for operation, places in found.items():
        names, shares = zip(*places, strict=True)
        outside.append(Outside(operation, names, len(names), sum(shares)))
    return sorted(outside, key=lambda entry: -entry.share)


def _short(key: str) -> str:
    """A kernel's key, of which other people's networks may have one of any length."""
    return key if len(key) <= _KEY_CHARS else f"{key[:_KEY_CHARS]}... {key.rpartition(' ')[2]}"


def _warn_of_unsure(predicted: PredictedNetwork, network: Network, model: CostModel) -> None:
    """Names kernels far from all that was measured; where nothing was, the prior's origin says so."""
    unsure = predicted.unsure
    by_prior_alone = model.prior if model.table is None else None
    if not unsure or (by_prior_alone and not by_prior_alone.remedy):
        return
    more = f" and {len(unsure) - _NAMED} more" if len(unsure) > _NAMED else ""
    if network.foreign:
        remedy = "their intervals are guesses"
    elif by_prior_alone:
        remedy = by_prior_alone.remedy
    else:
        remedy = "measure them: profile its space at this resolution"
    named = ", ".join(map(_short, unsure[:_NAMED]))
    log.warning("%s: far from all that was measured: %s%s; %s", network.name, named, more, remedy)
