"""``run BUNDLE IMAGE...``: what the network of a bundle sees, and how long it takes."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, leave, positive_int, run_command, table
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import add_board, opened_bundle
from squeezenas_tvm.profiling.energy import energy_text, measure_frame, require_sensor
from squeezenas_tvm.terminal.progress import progress

if TYPE_CHECKING:
    from squeezenas_tvm.bundles.runner import Bundle

log = logging.getLogger("squeezenas_tvm.run")  # also when run with -m

EXAMPLE = """
squeezenas-tvm run bundles/lat-small street.png --out seen
squeezenas-tvm run bundles/lat-small frames/*.png --out seen --repeats 100 --json
squeezenas-tvm run bundles/lat-small street.png --out seen --tracker 127.0.0.1:9190
"""
UNTUNED = "The kernels are not tuned (TVM's default GPU schedules): the latency is no measure of the network."
UNTRAINED = "The weights are not trained: the labels mean nothing yet, the latency does."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder made by `squeezenas-tvm deploy`")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="PNG, JPEG, PPM or .npy")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for NAME-overlay.png and NAME-labels.png of each image",
    )
    parser.add_argument(
        "--repeats", type=positive_int, default=20, metavar="N", help="timed runs an image (default: 20)"
    )
    parser.add_argument(
        "--warmup", type=positive_int, default=3, metavar="N", help="untimed runs before them (default: 3)"
    )
    add_board(parser)
    parser.add_argument(
        "--energy",
        action="store_true",
        help="also measure the energy of a frame by this machine's power sensor (RAPL, or a Jetson's), and "
        "keep it in results/TARGET, from where predict tells that of other networks",
    )


def execute(args: argparse.Namespace) -> Result:
    """Segment and time every image, one after the other.

    Raises:
        UsageError, BundleError, ImageError: a bundle, an image or an output folder that cannot be used.
        TargetError, FailedWork: no board, or one that does not run the bundle; no power sensor.
    """
    from squeezenas_tvm.bundles.images import read_image

    _check_images(args.images)
    if args.energy:
        require_sensor(args.tracker)
    results, energy = [], None
    with opened_bundle(args.bundle, args) as bundle, progress("run", len(args.images)) as step:
        _make_folder(args.out)
        for path in args.images:
            image = read_image(path)
            results.append(_segment(bundle, path, image, args))
            step(path.name)
        if args.energy:
            energy = measure_frame(bundle, image, results[-1]["latency_ms"]["median"])
    manifest = bundle.manifest
    document = {
        "bundle": str(args.bundle),
        "name": manifest["name"],
        "target": manifest["target"]["name"],
        "resolution": [bundle.height, bundle.width],
        "trained": manifest["weights"]["trained"],
        "untuned": bool(manifest["kernels"].get("untuned")),
        "images": results,
        "energy": energy,
    }
    where = f"a board at {args.tracker}" if args.tracker else "this machine"
    return Result(document=document, text=_text(document, args.out, where))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    kept = "what was written to {out} is kept; the same command does all images again"
    return run_command("run", add_arguments, execute, argv, example=EXAMPLE, kept=kept)


def _segment(bundle: "Bundle", path: Path, image: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Run one image, write its two pictures, return its part of the document."""
    from squeezenas_tvm.bundles.images import write_gray_png
    from squeezenas_tvm.bundles.overlay import draw_overlay
    from squeezenas_tvm.bundles.runner import dataset_ids, statistics_ms

    height, width = image.shape[:2]
    if (height, width) != (bundle.height, bundle.width):
        log.info(
            "%s: resized from %dx%d to the module's %dx%d", path, width, height, bundle.width, bundle.height
        )
    labels = bundle.segment(image)
    samples_ms = bundle.time_ms(image, args.repeats, args.warmup)
    stats = statistics_ms(samples_ms)
    manifest = bundle.manifest
    overlay = draw_overlay(
        image,
        labels,
        bundle.classes,
        title=manifest["name"],
        notes=(
            f"{manifest['target']['name']}, {bundle.height} x {bundle.width}",
            f"median {stats['median']:.3g} ms of {stats['n']} runs",
        ),
        warning="" if manifest["weights"]["trained"] else UNTRAINED,
    )
    overlay_path = args.out / f"{path.stem}-overlay.png"
    labels_path = args.out / f"{path.stem}-labels.png"
    try:
        overlay.save(overlay_path)
        write_gray_png(labels_path, dataset_ids(labels, bundle.classes))
    except OSError as error:
        raise UsageError(
            f"{args.out} cannot be written: {error.strerror or error}; name another --out"
        ) from None
    return {
        "image": str(path),
        "overlay": str(overlay_path),
        "labels": str(labels_path),
        "latency_ms": stats,
        "samples_ms": samples_ms,
    }


def _text(document: Mapping[str, Any], out: Path, where: str) -> str:
    columns = ("median", "p10", "p90", "min", "n")
    rows = [
        [Path(entry["image"]).name]
        + [f"{entry['latency_ms'][c]:.2f}" if c != "n" else str(entry["latency_ms"][c]) for c in columns]
        for entry in document["images"]
    ]
    height, width = document["resolution"]
    lines = [
        f"{document['name']} for {document['target']} at {height}x{width}; latency in ms on {where}",
        "",
        table(["image", *columns], rows),
        "",
        f"overlays and labels: {out}/NAME-overlay.png, {out}/NAME-labels.png",
    ]
    if document["energy"]:
        lines += ["", energy_text(document["energy"])]
    if document["untuned"]:
        lines += ["", UNTUNED]
    if not document["trained"]:
        lines += ["", UNTRAINED]
    return "\n".join(lines)


def _check_images(paths: Sequence[Path]) -> None:
    """Before any work: all are there, and no two of one name, which would overwrite each other's results."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        if not path.is_file():
            raise UsageError(f"no image at {path}; check the path")
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise UsageError(
                f"{other} and {path} would both write {path.stem}-overlay.png; run them one by one"
            )


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".squeezenas-tvm-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}; name another folder") from None


if __name__ == "__main__":
    leave(main())
