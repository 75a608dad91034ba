#!/usr/bin/env python3
"""Run the network of the bundle that this script lies in. Needs numpy and the TVM runtime, nothing else.

    python run.py FILE [FILE ...] [--out FOLDER] [--repeats 20] [--warmup 3] [--profile]

A network that segments takes images, and gives NAME-labels.png of each (8-bit gray, ids of the data set);
one that finds key points gives NAME-key_points.json (x and y in pixels of the image, and scores).
Any other takes what manifest.json lists, images or .npy and .npz arrays, and gives NAME-OUTPUT.npy. Both say
how long the network takes; --profile tells of each kernel, too. Reads PNG, PPM/PGM and .npy by itself; JPEG,
BMP, TIFF and WebP where Pillow is installed. Exit codes: 0 done, 2 wrong input.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 10):  # noqa: UP036  # a board's own Python, instead of the one that has TVM
    sys.stderr.write(
        f"error: {sys.executable} is Python {platform.python_version()}, this needs 3.10 or newer; "
        "use the Python that has TVM\n"
    )
    sys.exit(2)
try:
    import numpy as np
except ImportError as missing:
    if __package__:
        raise
    sys.stderr.write(
        f"error: numpy cannot be imported by {sys.executable} ({' '.join(str(missing).split())[:200]}); "
        f"use the Python that has TVM, or install it: {sys.executable} -m pip install numpy\n"
    )
    sys.exit(2)

if TYPE_CHECKING or __package__:
    from squeezenas_tvm.bundles import key_points as found_points
    from squeezenas_tvm.bundles.images import (
        ImageError,
        UInt8,
        check_places,
        gray_png,
        is_sealed_png,
        read_image,
        resize_bilinear,
        resize_nearest,
        squeezed,
        write_whole,
    )
    from squeezenas_tvm.bundles.kernel_times import KernelTimes, Stopwatch, kernel_times, told
    from squeezenas_tvm.bundles.machine import (
        check_device,
        check_machine,
        explain_failure,
        import_tvm,
        plug_in_emulated,
    )
    from squeezenas_tvm.bundles.manifest import BundleError, read_key_points, read_labels, read_manifest
    from squeezenas_tvm.bundles.values import (
        CLASSES,
        KEY_POINTS,
        METRES,
        Array,
        Value,
        dataset_ids,
        is_frame,
        is_sealed_npy,
        picture_of,
        places,
        read_values,
        require_picture,
        required_picture,
        resize_metres,
        said,
        statistics_ms,
        summary,
        write_values,
    )
    from targets.support.text import one_line
else:  # in a bundle: they lie beside this file
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import key_points as found_points
    from images import (
        ImageError,
        UInt8,
        check_places,
        gray_png,
        is_sealed_png,
        read_image,
        resize_bilinear,
        resize_nearest,
        squeezed,
        write_whole,
    )
    from kernel_times import KernelTimes, Stopwatch, kernel_times, told
    from machine import check_device, check_machine, explain_failure, import_tvm, plug_in_emulated
    from manifest import BundleError, read_key_points, read_labels, read_manifest
    from text import one_line
    from values import (
        CLASSES,
        KEY_POINTS,
        METRES,
        Array,
        Value,
        dataset_ids,
        is_frame,
        is_sealed_npy,
        picture_of,
        places,
        read_values,
        require_picture,
        required_picture,
        resize_metres,
        said,
        statistics_ms,
        summary,
        write_values,
    )


class Bundle:
    """A verified bundle, loaded on a device of this machine.

    Attributes:
        manifest: manifest.json as it stands; ``folder`` is where it lies.
        classes: the entries of labels.json, class index order; none where nothing has classes.
        key_points: ``names``, ``skeleton`` and ``mirrored`` there; empty of networks that find none.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        classes: list[dict[str, Any]],
        vm: Any,
        device: Any,
        key_points: Mapping[str, Any] | None = None,
        *,
        folder: Path,
    ) -> None:
        self.manifest, self.folder = manifest, folder
        self.classes, self.key_points = classes, key_points or {}
        self._vm, self._device = vm, device

    @classmethod
    def load(cls, path: str | Path) -> "Bundle":
        """Verify and load the bundle in folder ``path``.

        Raises:
            BundleError: not a sound bundle, or made for another machine.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        target = manifest["target"]
        check_machine(folder, target)
        classes, key_points = read_labels(folder), read_key_points(folder, manifest)
        plug_in_emulated(folder, target)
        tvm = import_tvm(target)  # takes a second: only once the bundle is known to be sound
        device = tvm.device(target["device"], 0)
        check_device(folder, target, device)
        from tvm.runtime.vm import VirtualMachine  # tvm.relax has it only where the compiler is, too

        try:
            vm = VirtualMachine(tvm.runtime.load_module(str(folder / "model.so")), device)
        except Exception as error:  # TVM raises what it likes here
            raise BundleError(
                f"{folder / 'model.so'} does not load on this machine ({explain_failure(error, target)}); "
                f"it was made for {target['name']}"
            ) from error
        return cls(manifest, classes, vm, device, key_points, folder=folder)

    @property
    def inputs(self) -> Sequence[Value]:
        """What the module takes, in order: name, dtype, shape, meaning."""
        return self.manifest["inputs"]  # type: ignore[no-any-return]

    @property
    def outputs(self) -> Sequence[Value]:
        """What it gives back."""
        return self.manifest["outputs"]  # type: ignore[no-any-return]

    @property
    def height(self) -> int:
        """Of the frame that the module takes, pixels; others are resized."""
        return self._side(1)

    @property
    def width(self) -> int:
        """Likewise."""
        return self._side(2)

    def frame(self, image: UInt8) -> list[Array]:
        """Inputs of the module of an image (H, W, 3) uint8 RGB of any size."""
        return [resize_bilinear(image, self.height, self.width)[None]]

    def segment(self, image: UInt8) -> UInt8:
        """Class index of every pixel of ``image``, (H, W, 3) uint8 RGB of any size; returns (H, W) uint8.

        Raises:
            BundleError: the device cannot run the module, such as a GPU whose driver is too old for it; or it
                does not segment.
        """
        require_picture(self.manifest, CLASSES)
        (labels,) = self.run(self.frame(image))
        return resize_nearest(labels[0].astype(np.uint8), image.shape[0], image.shape[1])

    def depth(self, image: UInt8) -> Array:
        """Metres of every pixel of ``image``, (H, W, 3) uint8 RGB of any size; returns (H, W) float32.

        Raises BundleError as `segment`.
        """
        require_picture(self.manifest, METRES)
        (metres,) = self.run(self.frame(image))
        return resize_metres(metres[0], image.shape[0], image.shape[1])

    def pose(self, image: UInt8) -> Array:
        """Key points on ``image``, (H, W, 3) uint8 RGB of any size; returns (points, 3) float32: x and y in
        its pixels, the middle of the first being 0, and a score. Their names are ``key_points["names"]``.

        Raises BundleError as `segment`.
        """
        require_picture(self.manifest, KEY_POINTS)
        (points,) = self.run(self.frame(image))
        return found_points.to_size(points[0], (self.height, self.width), image.shape[:2])

    def picture(self, image: UInt8) -> Array:
        """`segment`, `depth` or `pose`, whichever the network does. Raises BundleError as these."""
        does = {CLASSES: self.segment, METRES: self.depth, KEY_POINTS: self.pose}
        return does[required_picture(self.manifest)](image)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """What the network makes of ``inputs``. Raises BundleError as `segment`."""
        with self._explained():
            return [tensor.numpy() for tensor in self._run(self._to_device(inputs))]

    def time_ms(self, inputs: Sequence[Array], repeats: int, warmup: int) -> list[float]:
        """Wall-clock milliseconds of ``repeats`` runs of the network alone, after ``warmup`` untimed ones:
        what goes in is on the device already, what comes out stays there.

        Raises:
            BundleError: as `segment`.
        """
        samples_ms = []
        with self._explained():
            tensors = self._to_device(inputs)
            for _ in range(warmup + repeats):
                started_s = time.perf_counter()
                self._run(tensors)
                samples_ms.append((time.perf_counter() - started_s) * 1e3)
        return samples_ms[warmup:]

    def kernel_times(self, inputs: Sequence[Array], repeats: int, warmup: int) -> KernelTimes:
        """Where a run's time goes: medians of ``repeats`` with a clock. Raises BundleError as `segment`."""
        whole_ms = statistics.median(self.time_ms(inputs, repeats, warmup))
        watched = [Stopwatch(self._device.sync) for _ in range(repeats)]
        with self._explained():
            tensors = self._to_device(inputs)
            try:
                for stopwatch in watched:
                    self._vm.set_instrument(stopwatch)
                    self._run(tensors)
            finally:
                self._vm.set_instrument(None)
        return kernel_times(self.folder, watched, whole_ms, self.manifest["target"]["device"])

    def _side(self, axis: int) -> int:
        if not is_frame(self.inputs[0]):
            raise BundleError(f"{self.manifest['name']} takes {said(self.inputs[0])}, no camera's frame")
        return int(self.inputs[0]["shape"][axis])

    def _to_device(self, inputs: Sequence[Array]) -> list[Any]:
        runtime = import_tvm(self.manifest["target"]).runtime
        return [runtime.tensor(array, self._device) for array in inputs]

    def _run(self, tensors: Sequence[Any]) -> list[Any]:
        result = self._vm["main"](*tensors)
        self._device.sync()
        return as_list(result)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What TVM raises at work as a BundleError: a GPU gets its code when a kernel is first called."""
        try:
            yield
        except Exception as error:
            reason = explain_failure(error, self.manifest["target"])
            raise BundleError(f"the network does not run: {reason}") from error


def as_list(result: Any) -> list[Any]:
    """Tensors that a network gave; one alone may come as a tuple of one."""
    return [result] if hasattr(result, "numpy") else list(result)


def _run_files(bundle: Bundle, args: argparse.Namespace) -> None:
    shown = picture_of(bundle.manifest)
    if shown in (CLASSES, KEY_POINTS):
        _see_files(bundle, args, found=shown == KEY_POINTS)
    else:
        _run_values(bundle, args)
    if args.profile:
        inputs = _inputs(bundle, args.image[0])
        times = bundle.kernel_times(inputs, args.repeats, args.warmup)
        sys.stdout.writelines(f"{line}\n" for line in told(times))
    if bundle.manifest["kernels"].get("untuned"):
        sys.stdout.write("the kernels are not tuned (default GPU schedules): a tuned bundle is faster\n")
    if not bundle.manifest["weights"]["trained"]:
        sys.stdout.write("the weights are not trained: what comes out means nothing yet, the latency does\n")


def _inputs(bundle: Bundle, path: Path) -> list[Array]:
    seen = picture_of(bundle.manifest) in (CLASSES, KEY_POINTS)
    return bundle.frame(read_image(path)) if seen else read_values(path, bundle.inputs)


def _see_files(bundle: Bundle, args: argparse.Namespace, *, found: bool) -> None:
    """Classes of images, or where key points are ``found`` these."""
    end, is_ours = "labels.png", is_sealed_png
    if found:
        end, is_ours = "key_points.json", found_points.is_sealed_json
    check_places((args.out / f"{path.stem}-{end}" for path in args.image), args.image, is_ours)
    for path in args.image:
        image = read_image(path)
        if image.shape[:2] != (bundle.height, bundle.width):
            height, width = image.shape[:2]
            sys.stdout.write(f"{path}: resized {width}x{height} to {bundle.width}x{bundle.height}\n")
        if note := squeezed(image, bundle.height, bundle.width):
            sys.stderr.write(f"{path}: {note}\n")
        out, given = args.out / f"{path.stem}-{end}", bundle.picture(image)
        if found:
            names = bundle.key_points["names"]
            content = found_points.points_json(path.name, image.shape[:2], given, names)
            sys.stdout.write(f"{path}: {found_points.points_summary(given, names)}\n")
        else:
            content = gray_png(dataset_ids(given, bundle.classes))
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            write_whole(out, content)
        except OSError as error:
            raise ImageError(f"{out} cannot be written: {error.strerror}; choose another --out") from None
        sys.stdout.write(f"{path}: {out}; {_timed(bundle, bundle.frame(image), args)}\n")


def _run_values(bundle: Bundle, args: argparse.Namespace) -> None:
    files = {path: places(args.out, path.stem, bundle.outputs) for path in args.image}
    check_places((file for own in files.values() for file in own), args.image, is_sealed_npy)
    for path, own in files.items():
        inputs = read_values(path, bundle.inputs)
        arrays = bundle.run(inputs)
        write_values(own, arrays)
        for value, array, file in zip(bundle.outputs, arrays, own, strict=True):
            sys.stdout.write(f"{path}: {file}: {summary(value, array, bundle.classes)}\n")
        sys.stdout.write(f"{path}: {_timed(bundle, inputs, args)}\n")


def _timed(bundle: Bundle, inputs: Sequence[Array], args: argparse.Namespace) -> str:
    stats = statistics_ms(bundle.time_ms(inputs, args.repeats, args.warmup))
    shown = ", ".join(f"{name} {stats[name]:.2f}" for name in ("min", "median", "p90", "p99", "mean"))
    return f"latency in ms over {stats['n']} runs: {shown}"


def count(text: str) -> int:
    """A command-line count of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script on command-line arguments. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("image", nargs="+", type=Path, help="images, or arrays where the network takes such")
    parser.add_argument("--out", type=Path, default=Path(), help="of what is written (default: this folder)")
    parser.add_argument("--repeats", type=count, default=20, help="timed runs of each file (default: 20)")
    parser.add_argument("--warmup", type=count, default=3, help="untimed runs before (default: 3)")
    parser.add_argument("--profile", action="store_true", help="also tell how long each kernel takes")
    args = parser.parse_args(argv)
    try:
        _run_files(Bundle.load(Path(__file__).resolve().parent), args)
    except (BundleError, ImageError) as error:
        sys.stderr.write(one_line(f"error: {error}") + "\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(one_line(f"error: {error.filename}: {error.strerror}; name another path") + "\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped: what was written so far is kept\n")
        exec("")  # else CPython ends by the signal where it came within an exec, as of an imported dataclass
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
