"""``networks``: the published architectures, with what they compute and what they cost."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import add_resolution, latency_table

EXAMPLE = (
    "squeezenas-tvm networks\nsqueezenas-tvm networks --space small --target local-cpu --resolution 256x512"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("architecture", nargs="*", help="names or YAML files; all shipped ones by default")
    parser.add_argument("--space", help="only those of this space")
    parser.add_argument("--target", help="also estimate the latency on this device, from its table")
    parser.add_argument(
        "--table",
        type=Path,
        metavar="DIR",
        help="folder of the table (default results/TARGET, else the shipped one)",
    )
    add_resolution(parser, "1024x2048")


def execute(args: argparse.Namespace) -> Result:
    """List architectures with MACs, parameters, published and estimated latency."""
    from search.architecture import list_architectures, load_architecture
    from search.resolution import Resolution
    from search.spaces import get_space

    if args.table and not args.target:
        raise UsageError("--table needs --target: the device that the table is of")
    resolution = Resolution.parse(args.resolution)
    found = [load_architecture(name) for name in args.architecture or list_architectures()]
    if args.space:
        space = get_space(args.space)
        found = [architecture for architecture in found if architecture.search_space is space]
    latencies = _latencies(args, resolution)
    networks = [_describe(architecture, resolution, latencies) for architecture in found]
    networks.sort(key=lambda network: (network["space"], network["gmacs"]))
    return Result(document=networks, text=_text(networks, resolution, args.target))


def _latencies(args: argparse.Namespace, resolution: Any) -> Any:
    """A function from architecture to its estimated latency, or None where the table has holes."""
    if not args.target:
        return lambda architecture: None
    from cost_models.errors import MissingEntry
    from search.costs import estimate
    from targets import load_target

    target = load_target(args.target)
    measured = latency_table(target, args.table)

    def latency(architecture: Any) -> Any:
        try:
            return estimate(architecture, measured, resolution)
        except MissingEntry:
            return None

    return latency


def _describe(architecture: Any, resolution: Any, latencies: Any) -> dict[str, Any]:
    graph = architecture.network()
    published = architecture.results[0] if architecture.results else None
    described = {
        "name": architecture.name,
        "space": architecture.space,
        "gmacs": round(graph.macs({"x": (1, 3, *resolution)}) / 1e9, 6),
        "params": graph.num_parameters,
        "resolution": str(resolution),
        "blocks": list(architecture.blocks),
        "published": published.model_dump(exclude_none=True) if published else None,
    }
    latency = latencies(architecture)
    if latency is not None:
        described["estimated_latency_ms"] = {
            "median": latency.median_s * 1e3,
            "low": latency.low_s * 1e3,
            "high": latency.high_s * 1e3,
            "kernels": latency.kernels,
            "tuned_kernels": latency.tuned,
        }
    return described


def _text(networks: list[dict[str, Any]], resolution: Any, target: str | None) -> str:
    header = ["name", "GMACs", "M params", "mIoU % (paper)", "ms on Xavier (paper)"]
    rows = []
    for network in networks:
        published = network["published"] or {}
        row = [network["name"], f"{network['gmacs']:.3f}", f"{network['params'] / 1e6:.3f}"]
        row += [_number(published.get("miou_percent")), _number(published.get("latency_ms"))]
        if target:
            latency = network.get("estimated_latency_ms")
            row.append(
                f"{latency['median']:.1f} ({latency['low']:.1f} to {latency['high']:.1f})" if latency else "-"
            )
        rows.append(row)
    if target:
        header.append(f"ms on {target}, estimated")
    notes = [f"MACs and estimates at {resolution}; the papers' numbers at 1024x2048."]
    if target and any("estimated_latency_ms" not in network for network in networks):
        notes.append(f"-: kernels of it are not measured at {resolution}; run profile for its space first.")
    return "\n".join([table(header, rows), "", *notes])


def _number(value: float | None) -> str:
    return f"{value:.2f}" if value is not None else "-"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("networks", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
