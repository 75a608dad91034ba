"""Writes one of the networks of ``benchmarks/networks`` as ONNX, with random weights; or tells their sizes.

    python benchmarks/export_network.py ddrnet-23-slim --resolution 512x1024 --out net.onnx
    python benchmarks/export_network.py

Input ``image``, float32 (1, 3, H, W); output ``logits`` (1, 19, H, W). Without a name: parameters and
multiply-accumulates of all, and how far they are from what is published, as a table in Markdown.
"""

import argparse
import warnings
from functools import partial
from pathlib import Path

import torch
from networks.blocks import randomise
from networks.counting import counts, is_met, off
from networks.published import PUBLISHED
from networks.registry import NETWORKS, build
from refusals import run_benchmark

from search.resolution import Resolution
from squeezenas_tvm.errors import UsageError
from targets.support.text import near_miss

OPSET = 18
STRIDE = 32  # of most; sides are multiples of it


def main() -> None:
    """Write one, or tell of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="?", help=f"one of {', '.join(NETWORKS)}")
    parser.add_argument("--resolution", default="512x1024", help="HxW (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default %(default)s)")
    parser.add_argument("--out", type=Path, help="ONNX file (default NETWORK.onnx)")
    args = parser.parse_args()
    resolution = Resolution.read(args.resolution)
    if args.network is None:
        print(sizes_text(resolution))
        return
    path = export(args.network, resolution, args.out or Path(f"{args.network}.onnx"), args.seed)
    print(f"{args.network} at {resolution}: {path}")


def export(name: str, size: tuple[int, int], path: Path, seed: int = 0) -> Path:
    """Write a network as PyTorch's exporter does. Raises UsageError for unknown names and odd sizes."""
    if name not in NETWORKS:
        raise UsageError(f"no network is {name}{near_miss(name, NETWORKS)}; allowed: {', '.join(NETWORKS)}")
    if any(side % STRIDE for side in size):
        raise UsageError(f"{size[0]}x{size[1]}: allowed: multiples of {STRIDE}")
    network = randomise(build(name), seed)
    with warnings.catch_warnings():  # of sizes that become constants, and of the exporter's age
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, *size),),
            path,
            input_names=["image"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=False,
        )
    return path


def sizes_text(size: tuple[int, int]) -> str:
    """Two tables: the networks at a size, and what is published."""
    lines = [f"| network | M parameters | GMACs at {size[0]}x{size[1]} |", "|---|---|---|"]
    for name in NETWORKS:
        params, macs = counts(partial(build, name), *size)
        lines.append(f"| {name} | {params / 1e6:.2f} | {macs / 1e9:.2f} |")
    lines += ["", "| network | published | at | source | ours |", "|---|---|---|---|---|"]
    for row in PUBLISHED:
        shares = off(row)
        units = ((row.params_m, "M"), (row.gmacs, "GMACs"))
        told = [f"{value:g} {unit}" for value, unit in units if value is not None]
        ours = ", ".join(f"{share:+.1%}" for share in shares if share is not None)
        missed = "" if is_met(shares) else f"; not met: {row.misses}"
        at = f"{row.height}x{row.width}"
        lines.append(f"| {row.network} | {', '.join(told)} | {at} | {row.source} | {ours}{missed} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_benchmark(main)
