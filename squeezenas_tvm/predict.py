"""``predict``: latency of networks on a target without the device, and where each number comes from."""

import argparse
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.options import share_text
from squeezenas_tvm.predict_onnx import is_onnx, outside, outside_text, read
from squeezenas_tvm.profiling.energy import usual_power

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel
    from cost_models.ir.graph import Graph
    from cost_models.ir.kernel_graph import KernelGraph
    from cost_models.ir.ops import Shape
    from cost_models.onnx_io.importer import Imported
    from search.resolution import Resolution

EXAMPLE = (
    "squeezenas-tvm predict squeezenas-lat-small --target local-cpu --resolution 256x512\n"
    "squeezenas-tvm predict mine.yaml --target jetson-xavier\n"
    "squeezenas-tvm predict unet.onnx --target local-cpu"
)
_RESOLUTION = "1024x2048"
_NAMED = 5  # kernels of each network that are named when they are unsure

_log = logging.getLogger("squeezenas_tvm.predict")  # also when run with -m


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "architecture",
        nargs="+",
        help="names of shipped architectures, YAML files of others, or ONNX files of any networks",
    )
    parser.add_argument("--target", required=True, help="device: a name, or a YAML file")
    parser.add_argument(
        "--table",
        type=Path,
        metavar="DIR",
        help="folder of its table (default results/TARGET, else the shipped one, else the target's prior)",
    )
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        help=f"height and width of the image, pixels (default {_RESOLUTION}; of an ONNX file its own)",
    )


def execute(args: argparse.Namespace) -> Result:
    """Add up what the kernels of each network cost: measured, else predicted, else by the target's prior."""
    from cost_models.lookup import cost_model
    from search.resolution import Resolution
    from targets import load_target

    given = None if args.resolution is None else Resolution.parse(args.resolution)
    found = [_network(name, given, Resolution.parse(_RESOLUTION)) for name in args.architecture]
    model = cost_model(load_target(args.target), args.table)
    power_w = usual_power(model, args.table)
    networks = [_describe(network, model, power_w) for network in found]
    for network in networks:
        _warn_of_unsure(network, model)
    document = {"target": model.target, "power_w": power_w, "networks": networks}
    return Result(document=document, text=_text(networks, model, power_w))


@dataclass(frozen=True)
class _Network:
    """What is asked about: layers and kernels at a resolution; of an ONNX file, what they were read from."""

    name: str
    resolution: str
    graph: "Graph"
    inputs: "Mapping[str, Shape]"
    kernels: "KernelGraph"
    imported: "Imported | None" = None


def _network(name: str, given: "Resolution | None", usual: "Resolution") -> _Network:
    from cost_models.ir.kernel_graph import KernelGraph
    from search.architecture import load_architecture
    from search.costs.kernel_table import network_graph
    from search.spaces.camera import camera_network

    if not is_onnx(name):
        architecture, resolution = load_architecture(name), given or usual
        graph, inputs = camera_network(architecture.network()), {"frame": (1, *resolution, 3)}
        kernels = network_graph(architecture, resolution)
        return _Network(architecture.name, str(resolution), graph, inputs, kernels)
    imported = read(name, given)
    kernels = KernelGraph.of(imported.graph, imported.inputs)
    size = "x".join(map(str, imported.size))
    return _Network(Path(name).name, size, imported.graph, imported.inputs, kernels, imported)


def _describe(network: _Network, model: "CostModel", power_w: float | None) -> dict[str, Any]:
    kernels = network.kernels.kernels
    total = model.network(network.kernels)
    calls = Counter(kernel.key for kernel in kernels)
    by_kernel = dict(zip(kernels, model.estimates(kernels), strict=True))
    costs = {kernel.key: cost for kernel, cost in by_kernel.items()}
    return {
        "name": network.name,
        "resolution": network.resolution,
        "latency_ms": {
            "median": total.median_s * 1e3,
            "low": total.low_s * 1e3,
            "high": total.high_s * 1e3,
        },
        "sources": dict(total.shares),
        **_counts(network.graph, network.inputs),
        "energy_mj": None if power_w is None else total.median_s * power_w * 1e3,
        "calibrated": total.calibrated,
        "unsure": [kernel.key for kernel in total.unsure if not kernel.is_foreign],
        "outside": outside(network.imported, by_kernel) if network.imported else [],
        "kernels": [
            {
                "kernel": key,
                "calls": calls[key],
                "median_ms": cost.median_s * 1e3,
                "low_ms": cost.low_s * 1e3,
                "high_ms": cost.high_s * 1e3,
                "source": cost.source,
            }
            for key, cost in costs.items()
        ],
    }


def _counts(graph: "Graph", inputs: "Mapping[str, Shape]") -> dict[str, int]:
    """What follows from the layers alone."""
    from cost_models.ir.memory import planned_bytes
    from search.costs.objectives import count

    counted = count(graph, inputs)
    return {
        "macs": counted["macs"],
        "params": counted["params"],
        "bytes_moved": counted["bytes"],
        "peak_memory_bytes": counted["memory"],
        "planned_memory_bytes": planned_bytes(graph, inputs),
    }


def _counts_text(network: dict[str, Any]) -> str:
    from search.costs.objectives import shown

    costs = {name: network[name] for name in ("macs", "params")}
    costs |= {"bytes": network["bytes_moved"], "memory": network["peak_memory_bytes"]}
    said = [shown(name, value) for name, value in costs.items()]
    said[-1] += f" ({network['planned_memory_bytes'] / 2**20:.3g} in TVM's plan)"
    if network["energy_mj"] is not None:
        said.append(f"{network['energy_mj']:.3g} mJ")
    return f"{network['name']}: {', '.join(said)}."


def _text(networks: list[dict[str, Any]], model: "CostModel", power_w: float | None) -> str:
    rows = []
    for network in networks:
        latency = network["latency_ms"]
        shares = share_text(network["sources"])
        interval = f"{latency['low']:.2f} to {latency['high']:.2f}"
        rows.append([network["name"], network["resolution"], f"{latency['median']:.2f}", interval, shares])
    lines = [table(["network", "at", "ms", "low to high", "of its time"], rows), ""]
    files = ", ONNX files as they are" if any(is_onnx(network["name"]) for network in networks) else ""
    lines.append(f"On {model.target}, from camera frame to class indices{files}: {model.network_model}.")
    lines += [_counts_text(network) for network in networks]
    if power_w is not None:
        lines.append(f"mJ: at {power_w:.3g} W, which networks measured there draw (run --energy).")
    if any("prior" in network["sources"] for network in networks):
        lines.append(f"prior: a physical model, {_origin(model)}.")
    for network in networks:
        if network["outside"]:
            lines.append(f"{network['name']}: estimated by the prior: {outside_text(network['outside'])}.")
    return "\n".join(lines)


def _warn_of_unsure(network: dict[str, Any], model: "CostModel") -> None:
    """Names kernels far from all that was measured; where nothing was, the prior's origin says so."""
    from cost_models.device_models.prior import Prior

    unsure = network["unsure"]
    if not unsure or (model.table is None and isinstance(model.prior, Prior)):
        return
    more = f" and {len(unsure) - _NAMED} more" if len(unsure) > _NAMED else ""
    if is_onnx(network["name"]):
        remedy = "their intervals are guesses"
    elif model.table is None:
        remedy = "measure networks with such kernels too, and fit again: profile --from-networks"
    else:
        remedy = "measure them: profile its space at this resolution"
    _log.warning(
        "%s: far from all that was measured: %s%s; %s",
        network["name"],
        ", ".join(unsure[:_NAMED]),
        more,
        remedy,
    )


def _origin(model: "CostModel") -> str:
    if model.prior is None:
        return "work and traffic at the rates of those kernels that were measured"
    if model.table is None and model.predictor is None:
        return f"{model.prior.basis}: {model.prior.origin}"
    return model.prior.origin


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("predict", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
