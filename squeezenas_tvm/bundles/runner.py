#!/usr/bin/env python3
"""Segment images with the bundle that this script lies in. Needs numpy and the TVM runtime, nothing else.

    python run.py IMAGE [IMAGE ...] [--out FOLDER] [--repeats 20] [--warmup 3]

For each image: NAME-labels.png (8-bit gray, the data set's class ids) and how long the network takes.
Reads PNG, PPM/PGM and .npy by itself; JPEG, BMP, TIFF and WebP where Pillow is installed.
Exit codes: 0 done, 2 wrong input.
"""

import argparse
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    from squeezenas_tvm.bundles.images import (
        ImageError,
        UInt8,
        check_places,
        read_image,
        resize_bilinear,
        resize_nearest,
        squeezed,
        write_gray_png,
    )
    from squeezenas_tvm.bundles.manifest import BundleError, read_labels, read_manifest
    from targets.support.text import one_line
else:  # in a bundle: they lie beside this file
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from images import (
        ImageError,
        UInt8,
        check_places,
        read_image,
        resize_bilinear,
        resize_nearest,
        squeezed,
        write_gray_png,
    )
    from manifest import BundleError, read_labels, read_manifest
    from text import one_line

LABELS = np.iinfo(np.uint8).max + 1  # that a pixel can have, whatever the classes

# What CUDA's driver and runtime call the failures that a user can do something about, and what that is.
CUDA_FAILURES = {
    "NO_BINARY_FOR_GPU|no kernel image": "its machine code is for another GPU; deploy for this device",
    "INVALID_IMAGE|UNSUPPORTED_PTX|kernel image is invalid|driver version is insufficient": (
        "the GPU's driver is too old for {cuda}; update the driver or JetPack"
    ),
    "OUT_OF_MEMORY|out of memory": (
        "the GPU has too little free memory; end other programs or deploy a smaller resolution"
    ),
}


def processor() -> str:
    """The kind of this machine's processor as a bundle's manifest names it: ``x86_64``, ``aarch64``."""
    here = platform.machine().lower()
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(here, here)


def check_machine(folder: Path, target: Mapping[str, Any]) -> None:
    """Refuse a processor that would not run the module.

    Args:
        target: that of the manifest; older bundles do not say what they need.

    Raises:
        BundleError: it is of another kind, or lacks instructions that the module may use.
    """
    needs, here = target.get("runs_on", {}), processor()
    if needs.get("machine", here) != here:
        raise BundleError(
            f"{folder} was made for {target['name']} ({needs['machine']}) and this machine is {here}; "
            "copy it to the device, or deploy for this machine"
        )
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return
    check_flags(folder, target, flags, "this machine")


def check_flags(folder: Path, target: Mapping[str, Any], flags: Collection[str], where: str) -> None:
    """Refuse a processor without instructions that the module may use.

    Args:
        target: that of the manifest.
        flags: as /proc/cpuinfo has them, other words among them do not matter. Those of another kind of
            processor, as an emulator shows its host's, are not judged.
        where: whose processor it is.

    Raises:
        BundleError: it lacks some.
    """
    needs = target.get("runs_on", {})
    wanted = needs.get("cpu_flags", ())
    if not flags or ("asimd" in wanted and "asimd" not in flags):
        return
    present = {flag.replace("_", "") for flag in flags}
    if absent := [flag for flag in wanted if flag.replace("_", "") not in present]:
        raise BundleError(
            f"{folder} was made for {target['name']} with {', '.join(absent)}, which {where} has not; "
            "deploy on that machine, or for a target whose mcpu is its processor"
        )


def check_device(folder: Path, target: Mapping[str, Any], device: Any) -> None:
    """Refuse to run without the kind of device that the module was made for.

    Args:
        device: TVM's; ``exist`` and ``compute_version`` are what is asked of it.

    Raises:
        BundleError: it is not there, or is a GPU of another architecture. NVIDIA lets newer GPUs of a family
            run an older one's code on desktops, and never between desktops and Jetsons: it must be the same.
    """
    if not device.exist:
        raise BundleError(
            f"{folder} needs a {target['device']} device and TVM finds none on this machine: no such device, "
            f"no driver or too old a one, or a TVM runtime built without {target['device']}; "
            f"it was made for {target['name']}"
        )
    wanted = target.get("runs_on", {}).get("cuda_arch")
    if not wanted:
        return
    emulated = str(device.device_name).endswith("(emulated)")
    if emulated != bool(target["runs_on"].get("emulated")):
        kinds = ("a real GPU", "an emulated one")
        raise BundleError(
            f"{folder} was made for {kinds[not emulated]} ({target['name']}) and this is {kinds[emulated]}; "
            "deploy for the target that this device is"
        )
    here = f"sm_{str(device.compute_version).replace('.', '')}"
    if here != wanted:
        raise BundleError(
            f"{folder} holds machine code for GPUs of architecture {wanted} ({target['name']}) and this one "
            f"is {here}; deploy for the target that this device is"
        )


def _plug_in_emulated(folder: Path, target: Mapping[str, Any]) -> None:
    """Give this process the emulated GPU that a bundle was made for, in the place of a real one.

    Raises:
        BundleError: TVM is loaded already, without it; or this is a bundle's own script, which has none.
    """
    needs = target.get("runs_on", {})
    if not (needs.get("emulated") and needs.get("cuda_arch")):
        return
    if not (TYPE_CHECKING or __package__):
        raise BundleError(
            f"{folder} was made for {target['name']}, a GPU that squeezenas-tvm emulates, which this script "
            "does not have; give the folder to the command run of squeezenas-tvm"
        )
    from targets.emulated_cuda.libraries import VARIABLE, plug_in

    if os.environ.get(VARIABLE) == needs["cuda_arch"]:
        return
    if "tvm" in sys.modules:
        raise BundleError(
            f"{folder} was made for {target['name']}, and this process has loaded TVM for other devices; "
            "run it in a process of its own"
        )
    plug_in(needs["cuda_arch"])
    os.environ[VARIABLE] = needs["cuda_arch"]


def explain_failure(error: BaseException, target: Mapping[str, Any]) -> str:
    """One line of what TVM raised; what CUDA says of drivers and machine code is put in words."""
    last = (str(error).strip() or type(error).__name__).splitlines()[-1]
    if kernel := re.search(
        r"CUDA_ERROR_\w+: kernel [^\n]*", str(error)
    ):  # an emulated GPU's, before TVM's own pages
        last = kernel[0]
    version = target.get("runs_on", {}).get("cuda")
    cuda = f"code of CUDA {version}" if version else "the CUDA that compiled this"
    for pattern, meaning in CUDA_FAILURES.items():
        if re.search(pattern, str(error)):
            return f"{meaning.format(cuda=cuda)} [{last}]"
    return last


class Bundle:
    """A verified bundle, loaded on a device of this machine.

    Attributes:
        manifest: manifest.json as it stands.
        classes: the entries of labels.json, class index order.
        height, width: what the module takes, in pixels; other sizes are resized.
    """

    def __init__(self, manifest: dict[str, Any], classes: list[dict[str, Any]], vm: Any, device: Any) -> None:
        self.manifest = manifest
        self.classes = classes
        self.height, self.width = (int(size) for size in manifest["input"]["shape"][1:3])
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
        classes = read_labels(folder)
        _plug_in_emulated(folder, target)
        tvm = _import_tvm(target)  # takes a second: only once the bundle is known to be sound
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
        return cls(manifest, classes, vm, device)

    def segment(self, image: UInt8) -> UInt8:
        """Class index of every pixel of ``image``, (H, W, 3) uint8 RGB of any size; returns (H, W) uint8.

        Raises:
            BundleError: the device cannot run the module, such as a GPU whose driver is too old for it.
        """
        with self._explained():
            labels = self._run(self._to_device(image)).numpy()[0].astype(np.uint8)
        return resize_nearest(labels, image.shape[0], image.shape[1])

    def time_ms(self, image: UInt8, repeats: int, warmup: int) -> list[float]:
        """Wall-clock milliseconds of ``repeats`` runs of the network alone, after ``warmup`` untimed ones:
        the image is on the device already and has the module's size, the labels stay there.

        Raises:
            BundleError: as `segment`.
        """
        samples_ms = []
        with self._explained():
            tensor = self._to_device(image)
            for _ in range(warmup + repeats):
                started_s = time.perf_counter()
                self._run(tensor)
                samples_ms.append((time.perf_counter() - started_s) * 1e3)
        return samples_ms[warmup:]

    def _to_device(self, image: UInt8) -> Any:
        frame = resize_bilinear(image, self.height, self.width)[None]
        return _import_tvm(self.manifest["target"]).runtime.tensor(frame, self._device)

    def _run(self, tensor: Any) -> Any:
        result = self._vm["main"](tensor)
        self._device.sync()
        # A graph with one output may still come as a tuple of one.
        return result if hasattr(result, "numpy") else result[0]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What TVM raises at work as a BundleError: a GPU gets its code when a kernel is first called."""
        try:
            yield
        except Exception as error:
            reason = explain_failure(error, self.manifest["target"])
            raise BundleError(f"the network does not run: {reason}") from error


def _import_tvm(target: Mapping[str, Any]) -> Any:
    """TVM with as many threads as the target has cores (its own choice is half), without loading PyTorch.

    Raises:
        BundleError: there is none.
    """
    fingerprint = target["fingerprint"]
    os.environ.setdefault("TVM_NUM_THREADS", str(fingerprint.get("cores") or 1))
    torch = sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # None: an import of it fails
    try:
        import tvm
    except ImportError as error:
        raise BundleError(
            f"TVM cannot be imported by {sys.executable} ({error}); "
            f"install it: pip install apache-tvm=={fingerprint.get('tvm_version', '0.27.0.post1')}"
        ) from error
    finally:
        if torch is None:
            del sys.modules["torch"]
    return tvm


def statistics_ms(samples_ms: Sequence[float]) -> dict[str, float]:
    """Count, minimum, median, mean and percentiles of latencies in milliseconds."""
    names = ("min", "p10", "median", "p90", "p99")
    at = np.percentile(samples_ms, [0, 10, 50, 90, 99])
    spread = dict(zip(names, map(float, at), strict=True))
    return {"n": len(samples_ms), "mean": statistics.fmean(samples_ms), **spread}


def dataset_ids(labels: UInt8, classes: Sequence[dict[str, Any]]) -> UInt8:
    """Class indices (H, W) as the ids of the data set's own tools; indices without a class become 0."""
    ids: UInt8 = np.zeros(LABELS, np.uint8)
    for entry in classes:
        ids[entry["index"]] = entry["id"]
    return ids[labels]


def _segment_files(args: argparse.Namespace) -> None:
    check_places((args.out / f"{path.stem}-labels.png" for path in args.image), args.image)
    bundle = Bundle.load(Path(__file__).resolve().parent)
    for path in args.image:
        image = read_image(path)
        if image.shape[:2] != (bundle.height, bundle.width):
            height, width = image.shape[:2]
            sys.stdout.write(f"{path}: resized {width}x{height} to {bundle.width}x{bundle.height}\n")
        if note := squeezed(image, bundle.height, bundle.width):
            sys.stderr.write(f"{path}: {note}\n")
        out = args.out / f"{path.stem}-labels.png"
        labels = dataset_ids(bundle.segment(image), bundle.classes)
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            write_gray_png(out, labels)
        except OSError as error:
            raise ImageError(f"{out} cannot be written: {error.strerror}; choose another --out") from None
        stats = statistics_ms(bundle.time_ms(image, args.repeats, args.warmup))
        shown = ", ".join(f"{name} {stats[name]:.2f}" for name in ("min", "median", "p90", "p99", "mean"))
        sys.stdout.write(f"{path}: {out}; latency in ms over {stats['n']} runs: {shown}\n")
    if bundle.manifest["kernels"].get("untuned"):
        sys.stdout.write("the kernels are not tuned (default GPU schedules): a tuned bundle is faster\n")
    if not bundle.manifest["weights"]["trained"]:
        sys.stdout.write("the weights are not trained: the labels mean nothing yet, the latency does\n")


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
    parser.add_argument("image", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the labels (default: this one)")
    parser.add_argument("--repeats", type=count, default=20, help="timed runs of each image (default: 20)")
    parser.add_argument("--warmup", type=count, default=3, help="untimed runs before them (default: 3)")
    args = parser.parse_args(argv)
    try:
        _segment_files(args)
    except (BundleError, ImageError) as error:
        sys.stderr.write(one_line(f"error: {error}") + "\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(one_line(f"error: {error.filename}: {error.strerror}; name another path") + "\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped: the label images written so far are kept\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
