#!/usr/bin/env python3
"""Segment images with the bundle that this script lies in. Needs numpy and the TVM runtime, nothing else.

    python run.py IMAGE [IMAGE ...] [--out FOLDER] [--repeats 20] [--warmup 3]

For each image: NAME-labels.png (8-bit gray, the data set's class ids) and how long the network takes.
Reads PNG, PPM/PGM and .npy by itself, other formats where Pillow is installed.
Exit codes: 0 done, 2 wrong input.
"""

import argparse
import hashlib
import json
import os
import re
import statistics
import struct
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]

SCHEMA_VERSION = 1
FILES = ("model.so", "network.onnx", "labels.json", "run.py")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: gray, RGB, palette, gray + alpha, RGBA
MAX_PIXELS = 100_000_000
WHAT_A_BUNDLE_IS = (
    "a bundle is a folder with manifest.json, " + ", ".join(FILES) + ", made by `squeezenas-tvm deploy`"
)


class BundleError(Exception):
    """A bundle or an image that cannot be used: one line that says which, why and what to do."""

    exit_code = 2


def manifest_sum(raw: bytes, stored: str) -> str:
    """SHA-256 of a manifest's bytes with its own sum blanked out, so that the file can carry it."""
    return hashlib.sha256(raw.replace(stored.encode(), b"0" * 64)).hexdigest()


def file_sum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest and check every file of the bundle against it.

    Raises:
        BundleError: no bundle, a newer schema, a file that is missing or is not what was deployed.
    """
    if not folder.exists():
        raise BundleError(f"no bundle at {folder}; {WHAT_A_BUNDLE_IS}")
    path = folder / "manifest.json"
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it has no manifest.json; {WHAT_A_BUNDLE_IS}")
    broken = "is not what was deployed; copy the bundle again, or deploy again"
    raw = path.read_bytes()
    try:
        manifest = json.loads(raw)
        schema_version = int(manifest["schema_version"])
        stored, sums = str(manifest["manifest_sha256"]), dict(manifest["files"])
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"{path} {broken}") from None
    if schema_version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema_version {schema_version}, this program reads up to {SCHEMA_VERSION}; "
            "use a newer squeezenas-tvm, or deploy again with this one"
        )
    if manifest_sum(raw, stored) != stored:
        raise BundleError(f"{path} {broken}")
    for name in FILES:
        if not (folder / name).is_file():
            raise BundleError(f"{folder / name} is missing; copy the bundle again, or deploy again")
        if file_sum(folder / name) != sums.get(name):
            raise BundleError(f"{folder / name} {broken}")
    return dict(manifest)


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
        classes = json.loads((folder / "labels.json").read_bytes())["classes"]
        tvm = _import_tvm(manifest)  # takes a second: only once the bundle is known to be sound
        kind, made_for = manifest["target"]["device"], manifest["target"]["name"]
        device = tvm.device(kind, 0)
        if not device.exist:
            raise BundleError(
                f"{folder} needs a {kind} device and this machine has none; run it on {made_for}"
            )
        try:
            vm = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(folder / "model.so")), device)
        except Exception as error:  # TVM raises what it likes here
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise BundleError(
                f"{folder / 'model.so'} does not load on this machine ({reason}); it was made for {made_for}"
            ) from error
        return cls(manifest, classes, vm, device)

    def segment(self, image: UInt8) -> UInt8:
        """Class index of every pixel of ``image``, (H, W, 3) uint8 RGB of any size; returns (H, W) uint8."""
        labels = self._run(self._to_device(image)).numpy()[0].astype(np.uint8)
        return resize_nearest(labels, image.shape[0], image.shape[1])

    def time_ms(self, image: UInt8, repeats: int, warmup: int) -> list[float]:
        """Wall-clock milliseconds of ``repeats`` runs of the network alone, after ``warmup`` untimed ones:
        the image is on the device already and has the module's size, the labels stay there."""
        tensor = self._to_device(image)
        samples_ms = []
        for _ in range(warmup + repeats):
            started_s = time.perf_counter()
            self._run(tensor)
            samples_ms.append((time.perf_counter() - started_s) * 1e3)
        return samples_ms[warmup:]

    def _to_device(self, image: UInt8) -> Any:
        frame = resize_bilinear(image, self.height, self.width)[None]
        return _import_tvm(self.manifest).runtime.tensor(frame, self._device)

    def _run(self, tensor: Any) -> Any:
        result = self._vm["main"](tensor)
        self._device.sync()
        # A graph with one output may still come as a tuple of one.
        return result if hasattr(result, "numpy") else result[0]


def _import_tvm(manifest: dict[str, Any]) -> Any:
    """TVM with as many threads as the target has cores (its own choice is half), without loading PyTorch."""
    os.environ.setdefault("TVM_NUM_THREADS", str(manifest["target"]["fingerprint"].get("cores") or 1))
    torch = sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # None: an import of it fails
    try:
        import tvm
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
    ids: UInt8 = np.zeros(256, np.uint8)
    for entry in classes:
        ids[entry["index"]] = entry["id"]
    return ids[labels]


def resize_nearest(labels: UInt8, height: int, width: int) -> UInt8:
    """(h, w) to (height, width), each pixel from the nearest one."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    resized: UInt8 = labels[rows[:, None], columns]
    return resized


def resize_bilinear(image: UInt8, height: int, width: int) -> UInt8:
    """(h, w, 3) to (height, width, 3), pixel centres aligned; the image itself when the size is right."""
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    pixels = image.astype(np.float32)
    for axis, size in enumerate((height, width)):
        length = image.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = position.astype(int)
        share = (position - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        high = np.minimum(low + 1, length - 1)
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share
    return np.rint(pixels).astype(np.uint8)


def read_image(path: Path) -> UInt8:
    """Read an image as (H, W, 3) uint8 RGB; gray is spread over the channels and transparency dropped.

    Raises:
        BundleError: missing, unreadable, broken, too large or of a format that nothing here reads.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"image {path} cannot be read: {error.strerror}; check the path") from None
    try:
        pixels = _decode(data, path)
    except (ValueError, IndexError, struct.error, zlib.error) as error:
        raise BundleError(f"image {path} is broken: {error}") from None
    if pixels is None:
        pixels = _read_with_pillow(path)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] < 3:
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])


def _decode(data: bytes, path: Path) -> UInt8 | None:
    """What this file decodes by itself, as (H, W) or (H, W, channels); None for other formats."""
    if data.startswith(PNG_SIGNATURE):
        return _decode_png(data)
    if re.match(rb"P[56]\s", data):
        return _decode_pnm(data)
    if data.startswith(b"\x93NUMPY"):
        pixels = np.load(path, allow_pickle=False)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise ValueError(f"it holds {pixels.dtype} {pixels.shape}, an image is uint8 (H, W, 3)")
        return np.asarray(pixels)
    return None


def _checked_size(width: int, height: int) -> tuple[int, int]:
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels, allowed are 1 to {MAX_PIXELS}")
    return height, width


def _decode_pnm(data: bytes) -> UInt8:
    header = re.match(rb"P([56])" + rb"(?:\s+|\s*#[^\n]*\n\s*)(\d+)" * 3 + rb"\s", data)
    if header is None or int(header[4]) != 255:
        raise ValueError("PPM/PGM with a width, a height and 255 as largest value is what is read")
    height, width = _checked_size(int(header[2]), int(header[3]))
    channels = 3 if header[1] == b"6" else 1
    size = height * width * channels
    return np.frombuffer(data, np.uint8, size, header.end()).reshape(height, width, channels)


def _decode_png(data: bytes) -> UInt8 | None:
    chunks: defaultdict[bytes, bytearray] = defaultdict(bytearray)
    offset = len(PNG_SIGNATURE)
    while b"IEND" not in chunks:
        length, kind = struct.unpack_from(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        (crc,) = struct.unpack_from(">I", data, offset + 8 + length)
        if crc != zlib.crc32(kind + body):
            raise ValueError(f"wrong check sum of PNG chunk {kind.decode('latin-1')}")
        chunks[kind] += body
        offset += 12 + length
    if not {b"IHDR", b"IDAT"} <= chunks.keys():
        raise ValueError("PNG without IHDR or IDAT")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if depth != 8 or interlaced or colour not in PNG_CHANNELS:
        return None
    height, width = _checked_size(width, height)
    channels = PNG_CHANNELS[colour]
    size = height * (1 + width * channels)
    lines = zlib.decompressobj().decompress(chunks[b"IDAT"], size)
    raw = np.frombuffer(lines, np.uint8, size).reshape(height, 1 + width * channels)
    pixels = _unfilter(raw[:, 0], raw[:, 1:].reshape(height, width, channels))
    if colour != 3:
        return pixels
    return np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)[pixels[:, :, 0]]


def _unfilter(filters: UInt8, raw: UInt8) -> UInt8:
    """Undo PNG's line filters, (H, W, C). A pixel needs its left, upper and upper-left neighbours, so all
    pixels of one anti-diagonal are independent: vector operations a diagonal, not Python a pixel."""
    if filters.max() > 4:
        raise ValueError(f"PNG line filter {filters.max()}, allowed are 0 to 4")
    height, width, channels = raw.shape
    if not filters.any():
        return raw
    pixels = np.empty_like(raw)
    # Diagonals t, t-1 and t-2 by row, after one row of zeros above the image.
    now, one, two = (np.zeros((height + 1, channels), np.int16) for _ in range(3))
    for t in range(height + width - 1):
        rows = np.arange(max(0, t - width + 1), min(height - 1, t) + 1)
        kind = filters[rows][:, None]
        left, up, corner = one[rows + 1], one[rows], two[rows]
        to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
        nearest = np.where(to_up <= to_corner, up, corner)
        paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
        predicted = np.select(
            [kind == 1, kind == 2, kind == 3, kind == 4], [left, up, (left + up) >> 1, paeth]
        )
        now[rows + 1] = (raw[rows, t - rows] + predicted) & 255
        pixels[rows, t - rows] = now[rows + 1]
        now, one, two = two, now, one
    return pixels


def _read_with_pillow(path: Path) -> UInt8:
    try:
        from PIL import Image
    except ImportError:
        raise BundleError(
            f"{path} is not an 8-bit PNG, PPM/PGM or .npy image; for other formats: pip install pillow"
        ) from None
    try:
        with Image.open(path) as picture:
            _checked_size(*picture.size)
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BundleError(f"{path} is not an image that can be read: {error}") from None


def write_gray_png(path: Path, pixels: UInt8) -> None:
    """Write (H, W) uint8 as an 8-bit gray PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # each line starts with its filter: 0, none
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 6)) + chunk(b"IEND", b"")
    path.write_bytes(PNG_SIGNATURE + body)


def _segment_files(args: argparse.Namespace) -> None:
    bundle = Bundle.load(Path(__file__).resolve().parent)
    for path in args.image:
        image = read_image(path)
        if image.shape[:2] != (bundle.height, bundle.width):
            height, width = image.shape[:2]
            sys.stdout.write(f"{path}: resized {width}x{height} to {bundle.width}x{bundle.height}\n")
        out = args.out / f"{path.stem}-labels.png"
        labels = dataset_ids(bundle.segment(image), bundle.classes)
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            write_gray_png(out, labels)
        except OSError as error:
            raise BundleError(f"{out} cannot be written: {error.strerror}; choose another --out") from None
        stats = statistics_ms(bundle.time_ms(image, args.repeats, args.warmup))
        shown = ", ".join(f"{name} {stats[name]:.2f}" for name in ("min", "median", "p90", "p99", "mean"))
        sys.stdout.write(f"{path}: {out}; latency in ms over {stats['n']} runs: {shown}\n")
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
    except BundleError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("stopped: the label images written so far are kept\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
