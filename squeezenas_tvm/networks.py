"""``networks``: architectures, and networks of ONNX files, with what they compute and what they cost."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import add_resolution, add_table
from squeezenas_tvm.terminal.shares import share_text

if TYPE_CHECKING:
    from cost_models.cost_model import CostModel
    from cost_models.estimate import NetworkEstimate
    from search.architecture import Architecture
    from search.resolution import Resolution

EXAMPLE = (
    "squeezenas-tvm networks\nsqueezenas-tvm networks --space small --target local-cpu --resolution 256x512\n"
    "squeezenas-tvm networks squeezenas-lat-small models/ --target local-cpu --resolution 256x512"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "architecture",
        nargs="*",
        help="names, YAML files, ONNX files or folders of such; all shipped architectures by default",
    )
    parser.add_argument("--space", help="only those of this space")
    parser.add_argument("--target", help="also estimate the latency on this device")
    add_table(parser)
    add_resolution(parser, "1024x2048")


def execute(args: argparse.Namespace) -> Result:
    """List architectures with MACs, parameters, published and estimated latency."""
    from cost_models.lookup import cost_model
    from search.architecture import list_architectures, load_architecture
    from search.resolution import Resolution
    from search.spaces.registry import get_space
    from squeezenas_tvm.bundles.network_files import is_onnx, refuse_other_formats, with_folders
    from targets import load_device

    if args.table and not args.target:
        raise UsageError("--table needs --target: the device that the table is of")
    resolution = Resolution.parse(args.resolution)
    names = with_folders(args.architecture) or list_architectures()
    for name in names:
        refuse_other_formats(name)
    found = [load_architecture(name) for name in names if not is_onnx(name)]
    files = [Path(name) for name in names if is_onnx(name)]
    if args.space:
        space = get_space(args.space)
        found = [architecture for architecture in found if architecture.search_space is space]
    model = cost_model(load_device(args.target), args.table) if args.target else None
    if files and model is not None and model.published:
        raise UsageError(f"{files[0]}: {model.target} is a table of operations; allowed: architectures")
    networks = [_describe(architecture, resolution, model) for architecture in found]
    networks.sort(key=lambda network: (network["space"], network["gmacs"]))
    networks += sorted((_of_file(path, resolution, model) for path in files), key=lambda n: n["gmacs"])
    if not networks:
        return Result(document=[], text=f"no architecture of space {get_space(args.space).name} ships")
    return Result(document=networks, text=_text(networks, resolution, model, args.target))


def _describe(
    architecture: "Architecture", resolution: "Resolution", model: "CostModel | None"
) -> dict[str, Any]:
    graph = architecture.network()
    published = architecture.results[0] if architecture.results else None
    described = {
        "name": architecture.name,
        "space": architecture.space,
        "gmacs": round(graph.macs({"x": (1, 3, *resolution)}) / 1e9, 6),
        "params": graph.num_parameters,
        "resolution": str(resolution),
        "blocks": list(architecture.genotype.values()),
        "published": published.model_dump(exclude_none=True) if published else None,
    }
    if model is None:
        return described
    from cost_models.errors import CostModelError, MissingEntry

    try:
        return described | {"estimated_latency_ms": _estimate(architecture, resolution, model)}
    except MissingEntry:
        return described
    except CostModelError:
        if model.published is None:
            raise
        return described  # of others' networks it has no rows


def _of_file(path: Path, resolution: "Resolution", model: "CostModel | None") -> dict[str, Any]:
    """A network that no space has: at its own size, where its file tells one."""
    from cost_models.errors import CostModelError
    from squeezenas_tvm.predicting.predict import read_at_own_size

    network = read_at_own_size(path, resolution)
    described: dict[str, Any] = {
        "name": path.name,
        "file": str(path),
        "space": None,
        "gmacs": round(network.graph.macs(network.inputs) / 1e9, 6),
        "params": network.graph.num_parameters,
        "resolution": network.resolution,
        "blocks": [],
        "published": None,
    }
    if model is None:
        return described
    graph = model.networks.get(network.digest, network.kernels)
    try:
        return described | {"estimated_latency_ms": _ends(model.network(graph, of_a_space=False))}
    except CostModelError:
        return described


def _estimate(architecture: "Architecture", resolution: "Resolution", model: "CostModel") -> dict[str, Any]:
    from search.costs.kernel_table import priced_graph

    return _ends(model.network(priced_graph(model, architecture, resolution)))


def _ends(total: "NetworkEstimate") -> dict[str, Any]:
    return {
        "median": total.median_s * 1e3,
        "low": total.low_s * 1e3,
        "high": total.high_s * 1e3,
        "kernels": total.kernels,
        "sources": dict(total.shares),
        "calibrated": total.calibrated,
    }


def _text(
    networks: list[dict[str, Any]], resolution: "Resolution", model: "CostModel | None", target: str
) -> str:
    """``target``: as it was given."""
    from targets.support.commands import command_line

    if not networks:
        return "No architecture of that space comes with the package; search finds one."
    header = ["name", "GMACs", "M params", "mIoU %", "ms, reported"]
    origins = _origins(networks)
    others = {n["name"]: n["resolution"] for n in networks if n["resolution"] != str(resolution)}
    sizes = "".join(f", of {name} at {size}" for name, size in others.items())
    notes = [f"MACs and estimates at {resolution}{sizes}." + " The other numbers:" * bool(origins), *origins]
    if model is not None:
        header += [f"ms on {model.target}, estimated", "of its time"]
        notes.append(f"Estimates: {model.basis}.")
        unknown = [n for n in networks if "estimated_latency_ms" not in n]
        missing = sorted({n["space"] for n in unknown if n["space"]})
        if model.published and missing:
            notes.append(f"-: {model.target} has no rows of {', '.join(missing)} at {resolution}.")
        for space in () if model.published else missing:
            given = ("--target", target, "--space", space, "--resolution", resolution)
            notes.append(f"-: kernels of {space} are not measured: {command_line('profile', *given)}")
        for network in [n for n in unknown if not n["space"]]:
            told = command_line("profile", network["file"], "--target", target)
            notes.append(f"-: kernels of {network['name']} are not measured: {told}")
    rows = [_row(network, estimates=model is not None) for network in networks]
    return "\n".join([table(header, rows), "", *notes])


def _origins(networks: list[dict[str, Any]]) -> list[str]:
    """Where and how the reported numbers were found, a line for each way."""
    reported = [network["published"] for network in networks if network["published"]]
    return list(dict.fromkeys(f"- {entry['source']}: {entry['conditions']}." for entry in reported))


def _row(network: dict[str, Any], *, estimates: bool) -> list[str]:
    published = network["published"] or {}
    row = [network["name"], f"{network['gmacs']:.3f}", f"{network['params'] / 1e6:.3f}"]
    fps = published.get("fps")
    reported_ms = published.get("latency_ms", 1e3 / fps if fps else None)
    row += [_number(published.get("miou_percent")), _number(reported_ms)]
    latency = network.get("estimated_latency_ms")
    if not estimates:
        return row
    if latency is None:
        return [*row, "-", "-"]
    interval = f"{latency['median']:.1f} ({latency['low']:.1f} to {latency['high']:.1f})"
    return [*row, interval, share_text(latency["sources"])]


def _number(value: float | None) -> str:
    return f"{value:.2f}" if value is not None else "-"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("networks", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
