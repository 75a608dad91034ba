"""What ``run`` does: the network of a bundle sees images, and its latency is measured."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from squeezenas_tvm.bundles.images import UInt8, check_places, gray_png, read_image, squeezed
from squeezenas_tvm.bundles.opened import opened_bundle
from squeezenas_tvm.bundles.overlay import draw_overlay, png
from squeezenas_tvm.bundles.runner import Bundle, dataset_ids, statistics_ms
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.energy import FrameEnergy, measure_frame, require_sensor
from squeezenas_tvm.terminal.progress import progress
from targets.support.files import put_whole

UNTRAINED = "The weights are not trained: the labels mean nothing yet, the latency does."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeenImage:
    """What the network saw in an image.

    Attributes:
        overlay, labels: the pictures that were written.
        samples_ms: of each timed run.
    """

    image: Path
    overlay: Path
    labels: Path
    samples_ms: tuple[float, ...]

    @property
    def latency_ms(self) -> dict[str, float]:
        """median, p10, p90, min and n of the samples."""
        return statistics_ms(self.samples_ms)


@dataclass(frozen=True)
class BundleRun:
    """A bundle that was run on images.

    Attributes:
        name: of the network.
        target: that it was deployed for.
        resolution: height and width, pixels.
        trained: False says that the labels mean nothing.
        emulated: True says that the latencies mean nothing.
        untuned: True for a GPU's module whose kernels all run on default schedules.
        energy: of a frame; None where it was not asked for.
    """

    bundle: Path
    name: str
    target: str
    resolution: tuple[int, int]
    trained: bool
    untuned: bool
    emulated: bool
    images: tuple[SeenImage, ...]
    energy: FrameEnergy | None


def run_bundle(
    folder: Path,
    images: Sequence[Path],
    out: Path,
    *,
    repeats: int = 20,
    warmup: int = 3,
    tracker: str | None = None,
    target: str | None = None,
    energy: bool = False,
    shown: bool = True,
) -> BundleRun:
    """Segment and time every image, one after the other; write an overlay and a label PNG of each.

    Args:
        folder: of the bundle.
        images: PNG, JPEG, BMP, TIFF, WebP, PPM or .npy.
        repeats, warmup: timed runs an image, and untimed ones before them.
        tracker, target: of a board that runs it, see ``opened_bundle``.
        energy: also measure a frame's, by this machine's power sensor, and keep it in ``results/TARGET``.
        shown: draw how far it is.

    Raises:
        UsageError, BundleError, ImageError: a bundle, an image or an output folder that cannot be used.
        TargetError, FailedWork: no board, or one that does not run the bundle; no power sensor.
    """
    _check_images(images)
    check_places((place for image in images for place in _places(image, out)), images)
    if energy:
        require_sensor(tracker)
    seen, frame_energy = [], None
    with (
        opened_bundle(folder, tracker=tracker, target=target) as bundle,
        progress("run", len(images), shown=shown) as step,
    ):
        _make_folder(out)
        for path in images:
            image = read_image(path)
            seen.append(_see(bundle, path, image, out, repeats, warmup))
            step(path.name)
        if energy:
            frame_energy = measure_frame(bundle, image, seen[-1].latency_ms["median"])
    manifest = bundle.manifest
    return BundleRun(
        bundle=folder,
        name=manifest["name"],
        target=manifest["target"]["name"],
        resolution=(bundle.height, bundle.width),
        trained=manifest["weights"]["trained"],
        untuned=bool(manifest["kernels"].get("untuned")),
        emulated=bool(manifest["target"].get("runs_on", {}).get("emulated")),
        images=tuple(seen),
        energy=frame_energy,
    )


def _see(bundle: Bundle, path: Path, image: UInt8, out: Path, repeats: int, warmup: int) -> SeenImage:
    """Run one image and write its two pictures."""
    height, width = image.shape[:2]
    if (height, width) != (bundle.height, bundle.width):
        log.info(
            "%s: resized from %dx%d to the module's %dx%d", path, width, height, bundle.width, bundle.height
        )
    if note := squeezed(image, bundle.height, bundle.width):
        log.warning("%s: %s", path, note)
    labels = bundle.segment(image)
    samples_ms = tuple(bundle.time_ms(image, repeats, warmup))
    seen = SeenImage(path, *_places(path, out), samples_ms)
    stats, manifest = seen.latency_ms, bundle.manifest
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
    try:
        put_whole(seen.overlay, png(overlay))
        put_whole(seen.labels, gray_png(dataset_ids(labels, bundle.classes)))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}; name another --out") from None
    return seen


def _places(image: Path, out: Path) -> tuple[Path, Path]:
    """Where its overlay and its labels are written."""
    return out / f"{image.stem}-overlay.png", out / f"{image.stem}-labels.png"


def _check_images(paths: Sequence[Path]) -> None:
    """Before any work: all are there, and no two of one name, which would overwrite each other's results."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        if not os.path.isfile(path):  # which no path makes raise
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
