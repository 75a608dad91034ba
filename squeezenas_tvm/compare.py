"""``compare``: networks side by side on a target: latency, accuracy, what they compute and take."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.options import add_table

if TYPE_CHECKING:
    from squeezenas_tvm.comparing.compare import Compared

EXAMPLE = (
    "squeezenas-tvm compare squeezenas-lat-small squeezenas-mac-small bisenet.onnx --target local-cpu \\\n"
    "    --resolution 512x1024 --out compared\n"
    "squeezenas-tvm compare bundles/lat-small bundles/bisenet --target local-cpu --data camvid:data/camvid"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "network",
        nargs="+",
        help="names or YAML files of architectures, ONNX files, folders made by `squeezenas-tvm deploy`",
    )
    parser.add_argument("--target", required=True, help="device: a name, or a YAML file")
    add_table(parser)
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        help="of architectures (default 1024x2048), and of ONNX files that leave theirs open",
    )
    parser.add_argument(
        "--data",
        metavar="SPEC",
        help="measure the accuracy of bundles and of architectures with weights on it: camvid:PATH, ... "
        "(default: what architectures say of themselves)",
    )
    parser.add_argument(
        "--split", default="val", choices=("train", "val", "trainval", "test"), help="(default %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for compare.csv and compare.png (default: none)"
    )


def execute(args: argparse.Namespace) -> Result:
    """Tell what is known of each network; the fastest first."""
    from search.resolution import Resolution
    from squeezenas_tvm.comparing.compare import compare_networks, document
    from squeezenas_tvm.comparing.files import check_folder, write_comparison
    from targets import load_target

    target = load_target(args.target)
    if args.out:
        check_folder(args.out)
    found = compare_networks(
        args.network,
        target,
        data=args.data,
        split=args.split,
        resolution=Resolution.parse(args.resolution) if args.resolution else None,
        table=args.table,
    )
    files = write_comparison(args.out, found, target.name) if args.out else []
    lines = [_text(found, target.name), *(f"written: {path}" for path in files)]
    told = {"target": target.name, "networks": document(found), "files": [str(path) for path in files]}
    return Result(document=told, text="\n".join(lines))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("compare", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


def _text(networks: "Sequence[Compared]", target: str) -> str:
    from search.tasks.words import WORDS
    from squeezenas_tvm.comparing.compare import measure_of

    measure = measure_of(networks) or WORDS["segmentation"].primary
    score = f"{measure.title} {measure.unit}"
    header = ["network", "at", f"ms on {target}", "low to high", "of its time", score, "front"]
    header += ["GMACs", "M params", "MiB", "mJ"]
    rows = []
    for own in networks:
        accuracy = measure.number(own.score if own.measure == measure.name else None)
        front = {True: "*", False: "", None: "-"}[own.on_front]
        row = [own.name, own.resolution, f"{own.latency_ms:.2f}", f"{own.low_ms:.2f} to {own.high_ms:.2f}"]
        row += [own.latency_source, accuracy, front, f"{own.macs / 1e9:.3f}", f"{own.params / 1e6:.3f}"]
        row += [f"{own.memory_bytes / 2**20:.1f}", "-" if own.energy_mj is None else f"{own.energy_mj:.3g}"]
        rows.append(row)
    lines = [table(header, rows), ""]
    if any(own.on_front is not None for own in networks):
        lines.append("front: no other network here is both faster and more accurate.")
    lines += [f"{own.name}: accuracy: {own.accuracy_source}." for own in networks if own.accuracy_source]
    if any(own.kind == "onnx" for own in networks):
        lines.append("ONNX files: as they are; deploy one to measure its latency and accuracy.")
    return "\n".join(lines)


if __name__ == "__main__":
    leave(main())
