"""What ``run`` does: the network of a bundle sees images or arrays, and its latency is measured."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeezenas_tvm.bundles.images import (
    UInt8,
    check_places,
    is_sealed_png,
    read_image,
    squeezed,
)
from squeezenas_tvm.bundles.kept_run import PROFILE, write_profile
from squeezenas_tvm.bundles.kernel_times import KernelTimes
from squeezenas_tvm.bundles.key_points import is_sealed_json
from squeezenas_tvm.bundles.manifest import own_manifest
from squeezenas_tvm.bundles.opened import opened_bundle
from squeezenas_tvm.bundles.overlay import png
from squeezenas_tvm.bundles.pictures import PICTURES
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.bundles.values import (
    Array,
    is_frame,
    is_sealed_npy,
    picture_of,
    places,
    read_values,
    said,
    statistics_ms,
    summary,
    write_values,
)
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.energy import FrameEnergy, measure_frame, require_sensor
from squeezenas_tvm.terminal.progress import progress
from targets.support.document import is_document
from targets.support.files import InTheWay, put_whole

UNTRAINED = "The weights are not trained: what comes out means nothing yet, the latency does."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeenImage:
    """What the network made of a file.

    Attributes:
        image: the file: an image, or arrays.
        written: what came out, by what it is: ``overlay`` and ``labels`` of a segmentation, ``overlay`` and
            ``metres`` of depth, ``overlay`` and ``key_points`` of a pose, else a file for each output.
        summaries: what came out, a line each, where no picture shows it.
        samples_ms: of each timed run.
    """

    image: Path
    written: Mapping[str, Path]
    samples_ms: tuple[float, ...]
    summaries: tuple[str, ...] = ()

    @property
    def overlay(self) -> Path | None:
        """The picture of a segmentation, of depth or of a pose."""
        return self.written.get("overlay")

    @property
    def labels(self) -> Path | None:
        """Its classes, as ids of the data set."""
        return self.written.get("labels")

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
        inputs: of the module, such as ``image 1x3x64x128 float32``.
        resolution: height and width of the frame it takes, pixels; None where it takes none.
        trained: False says that the labels mean nothing.
        emulated: True says that the latencies mean nothing.
        untuned: True for a GPU's module whose kernels all run on default schedules.
        energy: of a frame; None where it was not asked for.
        kernels: how long each takes, on the last file; None where it was not asked for.
    """

    bundle: Path
    name: str
    target: str
    inputs: tuple[str, ...]
    resolution: tuple[int, int] | None
    trained: bool
    untuned: bool
    emulated: bool
    images: tuple[SeenImage, ...]
    energy: FrameEnergy | None
    kernels: KernelTimes | None = None


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
    profile: bool = False,
    shown: bool = True,
) -> BundleRun:
    """Run and time the network on every file, one after the other; write what comes out.

    Args:
        folder: of the bundle.
        images: PNG, JPEG, BMP, TIFF, WebP, PPM or .npy where the network takes a camera's frame; .npy or
            .npz where it takes other arrays.
        repeats, warmup: timed runs a file, and untimed ones before them.
        tracker, target: of a board that runs it, see ``opened_bundle``.
        energy: also measure a frame's, by this machine's power sensor, and keep it in ``results/TARGET``.
        profile: also time each kernel, and keep that in ``out`` for ``report``; of a bundle that runs here.
        shown: draw how far it is.

    Raises:
        InTheWay: another ``profile.json`` is there.
        UsageError, BundleError, ImageError: a bundle, an image or an output folder that cannot be used.
        TargetError, FailedWork: no board, or one that does not run the bundle; no power sensor.
    """
    _check_images(images)
    manifest = own_manifest(folder)
    see = _See(manifest, out, repeats, warmup)
    see.check_places(images)
    if energy:
        require_sensor(tracker)
    if profile:
        _check_profile(out, folder, tracker)
    seen, frame_energy, kernels = [], None, None
    with (
        opened_bundle(folder, tracker=tracker, target=target) as bundle,
        progress("run", len(images), shown=shown) as step,
    ):
        _make_folder(out)
        for path in images:
            inputs, found = see(bundle, path)
            seen.append(found)
            step(path.name)
        if energy:
            frame_energy = measure_frame(bundle, inputs, seen[-1].latency_ms["median"])
        if profile:
            kernels = bundle.kernel_times(inputs, repeats, warmup)
    done = _told(folder, manifest, seen, frame_energy, kernels)
    if kernels is not None:
        overlays = [own.overlay.name for own in seen if own.overlay]
        about = {"network": done.name, "target": done.target, "inputs": list(done.inputs)}
        write_profile(out, kernels, **about, runs=repeats, overlays=overlays)
    return done


def _told(
    folder: Path,
    manifest: Mapping[str, Any],
    seen: Sequence[SeenImage],
    energy: FrameEnergy | None,
    kernels: KernelTimes | None,
) -> BundleRun:
    return BundleRun(
        bundle=folder,
        name=manifest["name"],
        target=manifest["target"]["name"],
        inputs=tuple(map(said, manifest["inputs"])),
        resolution=_resolution(manifest),
        trained=manifest["weights"]["trained"],
        untuned=bool(manifest["kernels"].get("untuned")),
        emulated=bool(manifest["target"].get("runs_on", {}).get("emulated")),
        images=tuple(seen),
        energy=energy,
        kernels=kernels,
    )


class _See:
    """Runs a file and writes what comes out."""

    def __init__(self, manifest: Mapping[str, Any], out: Path, repeats: int, warmup: int) -> None:
        self._manifest, self._out, self._repeats, self._warmup = manifest, out, repeats, warmup
        self._shows = PICTURES.get(picture_of(manifest) or "")

    def check_places(self, files: Sequence[Path]) -> None:
        """Before any work. Raises ImageError where something else would be written over."""
        wanted = [place for path in files for place in self._places(path).values()]
        check_places(wanted, files, _is_sealed)

    def __call__(self, bundle: Bundle, path: Path) -> tuple[list[Array], SeenImage]:
        """What went in, and what came out."""
        return self._picture(bundle, path) if self._shows else self._arrays(bundle, path)

    def _places(self, path: Path) -> dict[str, Path]:
        if self._shows:
            files = self._shows.files.items()
            return {name: self._out / f"{path.stem}-{name}{ending}" for name, ending in files}
        outputs = self._manifest["outputs"]
        names = (value["name"] for value in outputs)
        return dict(zip(names, places(self._out, path.stem, outputs), strict=True))

    def _arrays(self, bundle: Bundle, path: Path) -> tuple[list[Array], SeenImage]:
        inputs = read_values(path, bundle.inputs)
        arrays = bundle.run(inputs)
        written = self._places(path)
        write_values(written.values(), arrays)
        pairs = zip(bundle.outputs, arrays, strict=True)
        summaries = tuple(summary(value, array, bundle.classes) for value, array in pairs)
        samples_ms = tuple(bundle.time_ms(inputs, self._repeats, self._warmup))
        return inputs, SeenImage(path, written, samples_ms, summaries)

    def _picture(self, bundle: Bundle, path: Path) -> tuple[list[Array], SeenImage]:
        image = read_image(path)
        height, width = image.shape[:2]
        wanted = bundle.height, bundle.width
        if (height, width) != wanted:
            log.info("%s: resized from %dx%d to the module's %dx%d", path, width, height, *wanted[::-1])
        if note := squeezed(image, *wanted):
            log.warning("%s: %s", path, note)
        assert self._shows is not None
        given, inputs = bundle.picture(image), bundle.frame(image)
        samples_ms = tuple(bundle.time_ms(inputs, self._repeats, self._warmup))
        told = self._shows.summary(bundle, given)
        seen = SeenImage(path, self._places(path), samples_ms, (told,) if told else ())
        self._draw(bundle, image, given, seen)
        return inputs, seen

    def _draw(self, bundle: Bundle, image: UInt8, given: Array, seen: SeenImage) -> None:
        """Write the picture, and what it shows. Raises UsageError where they cannot be."""
        stats, manifest, shows = seen.latency_ms, bundle.manifest, self._shows
        assert shows is not None
        overlay = shows.overlay(
            bundle,
            image,
            given,
            title=manifest["name"],
            notes=(
                f"{manifest['target']['name']}, {bundle.height} x {bundle.width}",
                f"median {stats['median']:.3g} ms of {stats['n']} runs",
            ),
            warning="" if manifest["weights"]["trained"] else UNTRAINED,
        )
        try:
            put_whole(seen.written["overlay"], png(overlay))
            put_whole(seen.written[shows.name], shows.file(bundle, seen.image, image, given))
        except OSError as error:
            raise UsageError(
                f"{self._out} cannot be written: {error.strerror or error}; name another --out"
            ) from None


def _check_profile(out: Path, folder: Path, tracker: str | None) -> None:
    """Before any work. Raises UsageError or InTheWay."""
    if tracker:
        raise UsageError(
            f"--profile and --tracker {tracker}: kernels are timed where the bundle lies; copy {folder} to "
            f"the board, and there: python {folder.name}/run.py FILE --profile"
        )
    if (out / PROFILE).exists() and not is_document(out / PROFILE):
        raise InTheWay(f"{out / PROFILE}: there already, and not written here; name another --out")


def _is_sealed(path: Path) -> bool:
    """Whether a file was written here, and left so."""
    return is_sealed_png(path) or is_sealed_npy(path) or is_sealed_json(path)


def _resolution(manifest: Mapping[str, Any]) -> tuple[int, int] | None:
    first = manifest["inputs"][0]
    return tuple(first["shape"][1:3]) if is_frame(first) else None


def _check_images(paths: Sequence[Path]) -> None:
    """Before any work: all are there, and no two of one name, which would overwrite each other's results."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        if not os.path.isfile(path):  # which no path makes raise
            raise UsageError(f"no image at {path}; check the path")
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise UsageError(
                f"{other} and {path} would both write {path.stem}-... into one folder; run them one by one"
            )


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".squeezenas-tvm-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}; name another folder") from None
