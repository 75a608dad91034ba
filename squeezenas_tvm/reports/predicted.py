"""The page of one network on a target that it need not have run on: what it costs, where its time goes."""

from collections.abc import Mapping
from pathlib import Path

from cost_models.cost_model import CostModel
from cost_models.ir.op import Shape
from cost_models.kernel_models.roofline import PhysicalModel
from search.costs.objectives import shown
from search.resolution import Resolution
from squeezenas_tvm.predicting.asked import asked_networks, asked_of_published
from squeezenas_tvm.predicting.models import Models
from squeezenas_tvm.predicting.predict import Network, PredictedNetwork, predict_network
from squeezenas_tvm.profiling.energy import usual_power
from squeezenas_tvm.profiling.time_of_kernels import network_document, network_time
from squeezenas_tvm.reports.page import PageSection, Report, facts
from squeezenas_tvm.reports.time_of_kernels import network_section
from squeezenas_tvm.terminal.shares import share_text
from targets import PublishedDevice, Target

_ALL = "any kind"  # of kernels: they have one roof


def predicted_report(
    name: str | Path,
    target: Target | PublishedDevice,
    resolution: Resolution | None = None,
    shapes: Mapping[str, Shape] | None = None,
    table: Path | None = None,
) -> Report:
    """Of an architecture, by name or YAML file, or of an ONNX file.

    Args:
        resolution: of the image; of an ONNX file its own when None.
        shapes: of inputs by name, where an ONNX file leaves them open.
        table: folder of the target's table; what there is when None.

    Raises:
        UsageError, InvalidGraph, SearchError: no such network, or one that latencies cannot be told for.
        CostModelError: nothing tells what kernels cost there.
    """
    network, model = _asked(str(name), target, resolution, shapes or {}, table)
    power_w = None if isinstance(target, PublishedDevice) else usual_power(model, table)
    predicted = predict_network(network, model, power_w)
    graph = model.networks.get(network.digest, network.kernels)
    time = network_time(
        network.name, network.resolution, graph, model, _roofs(model), of_a_space=not network.foreign
    )
    about = f"{predicted.median_s * 1e3:.2f} ms at {network.resolution}, {share_text(predicted.sources)}"
    sections = [PageSection("What it costs", facts(_facts(predicted, model))), network_section(time)]
    figures = [
        (f"{predicted.median_s * 1e3:.2f} ms", "latency"),
        (f"{predicted.low_s * 1e3:.2f} to {predicted.high_s * 1e3:.2f} ms", "nine of ten lie within"),
        (shown("macs", predicted.macs), "of work"),
    ]
    return Report(f"{network.name} on {model.target}", about, sections, network_document(time), figures)


def _asked(
    name: str,
    target: Target | PublishedDevice,
    resolution: Resolution | None,
    shapes: Mapping[str, Shape],
    table: Path | None,
) -> tuple[Network, CostModel]:
    """The network, and who tells what its kernels cost."""
    if isinstance(target, PublishedDevice):
        (network,), model = asked_of_published([name], target, resolution, table)
        return network, model
    target.require_timings("report")
    (network,) = asked_networks([name], resolution, shapes)
    return network, Models(target, table).of(network.dtype)


def _roofs(model: CostModel) -> PhysicalModel | None:
    """The best rates of all that was measured; None where only a prior, which has no others, tells."""
    if model.predictor is None:
        return None
    machine, scale = model.predictor.machine, model.processor.scale if model.processor else 1.0
    rates, bandwidth = {_ALL: machine.macs_per_s / scale}, machine.bytes_per_s / scale
    return PhysicalModel(costs_s={}, rates=rates, bandwidth=bandwidth, overhead_s=0.0)


def _facts(network: PredictedNetwork, model: CostModel) -> dict[str, str]:
    costs = {"macs": network.macs, "params": network.params}
    costs |= {"bytes": network.bytes_moved, "memory": network.peak_memory_bytes}
    energy = "" if network.energy_j is None else f", {network.energy_j * 1e3:.3g} mJ"
    ends = f"{network.low_s * 1e3:.2f} to {network.high_s * 1e3:.2f} ms"
    return {
        "Network": network.name,
        "Target": model.target,
        "At": network.resolution,
        "Latency": f"{network.median_s * 1e3:.2f} ms; nine of ten such networks lie within {ends}",
        "Latencies are": share_text(network.sources),
        "How": model.basis,
        "Takes": f"{', '.join(shown(name, value) for name, value in costs.items())}{energy}",
        "Type of values": network.dtype,
        "Notes": "; ".join(network.notes),
    }
