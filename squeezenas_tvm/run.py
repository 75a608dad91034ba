"""``run BUNDLE FILE...``: what the network of a bundle makes of images or arrays, and how long it takes."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, leave, positive_int, run_command, table
from squeezenas_tvm.options import add_board

if TYPE_CHECKING:
    from squeezenas_tvm.bundles.run_images import BundleRun, SeenImage
    from squeezenas_tvm.profiling.energy import FrameEnergy

EXAMPLE = """
squeezenas-tvm run bundles/lat-small street.png --out seen
squeezenas-tvm run bundles/lat-small frames/*.png --out seen --repeats 100 --json
squeezenas-tvm run bundles/lat-small street.png --out seen --profile
squeezenas-tvm run bundles/lat-small street.png --out seen --tracker 127.0.0.1:9190
"""
UNTUNED = "The kernels are not tuned (default GPU schedules): the latency is no measure of the network."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder made by `squeezenas-tvm deploy`")
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="PNG, JPEG, BMP, TIFF, WebP, PPM or .npy; of a network that takes other arrays .npy or .npz",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for NAME-overlay.png and NAME-labels.png of each image, or for NAME-OUTPUT.npy",
    )
    parser.add_argument(
        "--repeats", type=positive_int, default=20, metavar="N", help="timed runs a file (default: 20)"
    )
    parser.add_argument(
        "--warmup", type=positive_int, default=3, metavar="N", help="untimed runs before them (default: 3)"
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="also tell how long each kernel takes and how near that is to the roofline; keeps it in "
        "DIR/profile.json, for report",
    )
    add_board(parser)
    parser.add_argument(
        "--energy",
        action="store_true",
        help="also measure the energy of a frame by this machine's power sensor (RAPL, or a Jetson's), and "
        "keep it in results/TARGET, from where predict tells that of other networks",
    )


def execute(args: argparse.Namespace) -> Result:
    """Run and time the network on every file, one after the other."""
    from squeezenas_tvm.bundles.run_images import run_bundle

    done = run_bundle(
        args.bundle,
        args.images,
        args.out,
        repeats=args.repeats,
        warmup=args.warmup,
        tracker=args.tracker,
        target=args.target,
        energy=args.energy,
        profile=args.profile,
    )
    where = f"a board at {args.tracker}" if args.tracker else "this machine"
    return Result(document=_document(done), text=_text(done, args.out, where))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    kept = "what was written to {out} is kept; the same command does all images again"
    return run_command("run", add_arguments, execute, argv, example=EXAMPLE, kept=kept)


def _document(done: "BundleRun") -> dict[str, Any]:
    energy = done.energy
    return {
        "bundle": str(done.bundle),
        "name": done.name,
        "target": done.target,
        "resolution": list(done.resolution) if done.resolution else None,
        "inputs": list(done.inputs),
        "trained": done.trained,
        "untuned": done.untuned,
        "emulated": done.emulated,
        "images": [
            {
                "image": str(seen.image),
                **_written(seen),
                "latency_ms": seen.latency_ms,
                "samples_ms": list(seen.samples_ms),
            }
            for seen in done.images
        ],
        "energy": {**asdict(energy), "kept_in": str(energy.kept_in)} if energy else None,
        **({"profile": asdict(done.kernels)} if done.kernels else {}),
    }


def _text(done: "BundleRun", out: Path, where: str) -> str:
    from squeezenas_tvm.bundles.run_images import UNTRAINED

    columns = ("median", "p10", "p90", "min", "n")
    rows = [
        [seen.image.name]
        + [f"{seen.latency_ms[c]:.2f}" if c != "n" else str(seen.latency_ms[c]) for c in columns]
        for seen in done.images
    ]
    size = "x".join(map(str, done.resolution)) if done.resolution else ", ".join(done.inputs)
    lines = [
        f"{done.name} for {done.target} at {size}; latency in ms on {where}",
        "",
        table(["file", *columns], rows),
        "",
        *(f"{seen.image.name}: {line}" for seen in done.images for line in seen.summaries),
        f"written: {', '.join(_pattern(out, seen) for seen in done.images[:1])}",
    ]
    if done.energy:
        lines += ["", _energy_text(done.energy)]
    if done.kernels:
        from squeezenas_tvm.bundles.kernel_times import told
        from targets.support.commands import command_line

        lines += ["", *told(done.kernels), f"Page: {command_line('report', out)}"]
    if done.emulated:
        lines += ["", f"{done.target} is emulated: its timings mean nothing."]
    if done.untuned:
        lines += ["", UNTUNED]
    if not done.trained:
        lines += ["", UNTRAINED]
    return "\n".join(lines)


def _written(seen: "SeenImage") -> dict[str, Any]:
    files = {name: str(path) for name, path in seen.written.items()}
    return {"outputs": files, "summaries": list(seen.summaries)} if seen.summaries else files


def _pattern(out: Path, seen: "SeenImage") -> str:
    names = (path.name.replace(seen.image.stem, "NAME", 1) for path in seen.written.values())
    return ", ".join(f"{out}/{name}" for name in names)


def _energy_text(energy: "FrameEnergy") -> str:
    return (
        f"energy: {energy.joules_per_frame * 1e3:.3g} mJ a frame, at {energy.busy_w:.3g} W "
        f"(idle {energy.idle_w:.3g} W) by {energy.sensor}; kept in {energy.kept_in}"
    )


if __name__ == "__main__":
    leave(main())
