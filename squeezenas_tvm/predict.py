"""``predict``: latency of architectures on a target without the device, and where each number comes from."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.options import add_resolution, cost_model

EXAMPLE = (
    "squeezenas-tvm predict squeezenas-lat-small --target local-cpu --resolution 256x512\n"
    "squeezenas-tvm predict mine.yaml --target jetson-xavier"
)
_NAMED = 5  # kernels of each network that are named when they are unsure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("architecture", nargs="+", help="names of shipped architectures, or YAML files")
    parser.add_argument("--target", required=True, help="device: a name, or a YAML file")
    parser.add_argument(
        "--table",
        type=Path,
        metavar="DIR",
        help="folder of its table (default results/TARGET, else the shipped one, else the target's prior)",
    )
    add_resolution(parser, "1024x2048")


def execute(args: argparse.Namespace) -> Result:
    """Sum up what the kernels of each network cost: measured, else predicted, else by the target's prior."""
    from search.architecture import load_architecture
    from search.costs import network_kernels
    from search.resolution import Resolution
    from targets import load_target

    found = [load_architecture(name) for name in args.architecture]
    resolution = Resolution.parse(args.resolution).checked()
    model = cost_model(load_target(args.target), args.table)
    networks = []
    for architecture in found:
        kernels = network_kernels(architecture, resolution)
        networks.append(_describe(architecture.name, kernels, model))
    document = {"target": model.target, "resolution": str(resolution), "networks": networks}
    return Result(document=document, text=_text(networks, model, resolution))


def _describe(name: str, kernels: Sequence[Any], model: Any) -> dict[str, Any]:
    total = model.network(kernels)
    calls = Counter(kernel.key for kernel in kernels)
    costs = {kernel.key: cost for kernel, cost in zip(kernels, model.kernels(kernels), strict=True)}
    return {
        "name": name,
        "latency_ms": {
            "median": total.median_s * 1e3,
            "low": total.low_s * 1e3,
            "high": total.high_s * 1e3,
        },
        "sources": dict(total.shares),
        "unsure": [kernel.key for kernel in total.unsure],
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


def _text(networks: list[dict[str, Any]], model: Any, resolution: Any) -> str:
    rows = []
    for network in networks:
        latency = network["latency_ms"]
        shares = ", ".join(f"{share:.0%} {source}" for source, share in network["sources"].items())
        interval = f"{latency['low']:.2f} to {latency['high']:.2f}"
        rows.append([network["name"], f"{latency['median']:.2f}", interval, shares])
    lines = [table(["network", "ms", "low to high", "of its time"], rows), ""]
    lines.append(
        f"On {model.target} at {resolution}, from camera frame to class indices: sums of kernels, "
        "without what happens between them."
    )
    if any("prior" in network["sources"] for network in networks):
        lines.append(f"prior: a physical model, nothing measured there by us: {model.prior.origin}.")
    for network in networks:
        unsure = network["unsure"] if "predicted" in network["sources"] else []
        if unsure:
            more = f" and {len(unsure) - _NAMED} more" if len(unsure) > _NAMED else ""
            lines.append(
                f"{network['name']}: far from all that was measured: {', '.join(unsure[:_NAMED])}{more}; "
                "measure them: profile its space at this resolution."
            )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("predict", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
