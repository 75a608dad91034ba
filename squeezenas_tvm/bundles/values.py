"""Arrays that go into a network and come out of it, as files. Travels in the bundle, beside run.py.

An array is a .npy file that ends in the sum of all before it, which numpy passes over: so that what was
written here is known again, and nothing else is written over.
"""

import hashlib
import io
import math
import os
import re
import statistics
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING or __package__:
    from search.data.plain_images import NPY_SIGNATURE
    from squeezenas_tvm.bundles.images import ImageError, UInt8, interpolated, read_image, resize_bilinear
    from squeezenas_tvm.bundles.manifest import BundleError
else:  # in a bundle: they lie beside this file
    from images import ImageError, UInt8, interpolated, read_image, resize_bilinear
    from manifest import BundleError
    from plain_images import NPY_SIGNATURE

Array = npt.NDArray[Any]
Value = Mapping[str, Any]  # an entry of a manifest's inputs or outputs: name, dtype, shape, meaning
CLASSES, METRES, TENSOR, FRAME = "class index", "metres", "tensor", "frame"
KEY_POINTS = "key points"
"""Meanings: indices into labels.json, distances, whatever the network has, a camera's RGB frame (NHWC); and x
and y in pixels of the frame, and a score, of each point that labels.json names."""
_DTYPES = {CLASSES: "uint8", METRES: "float32", KEY_POINTS: "float32"}
_ARRAYS = (".npy", ".npz")
_SEAL = b"squeezenas-tvm, sha256 %s\n"
_MOST_NAME = 64
LABELS = np.iinfo(np.uint8).max + 1  # that a pixel can have, whatever the classes
_MOST_HEADER = 1000
_HEADER = re.compile(
    rb"\{'descr': '([|<>=]?[biuf]\d{1,2})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,10}, ?)*(?:\d{1,10})?)\),? ?\}\s*"
)


def is_frame(value: Value) -> bool:
    """Whether an input is a camera's frame."""
    return bool(value["meaning"] == FRAME)


def picture_of(manifest: Mapping[str, Any]) -> str | None:
    """What a network gives for a camera's frame that it takes, and people are shown on it: of each pixel
    ``CLASSES``, as bytes, or ``METRES``, as float32; or ``KEY_POINTS`` (1, points, 3), float32. None where it
    takes or gives anything else."""
    inputs, outputs = manifest["inputs"], manifest["outputs"]
    if len(inputs) > 1 or len(outputs) > 1 or not is_frame(inputs[0]):
        return None
    batch, height, width, _ = inputs[0]["shape"]
    meaning: str = outputs[0]["meaning"]
    shape = outputs[0]["shape"]
    whole = shape == [1, height, width]
    if meaning == KEY_POINTS:
        whole = len(shape) == 3 and shape[::2] == [1, 3]
    return meaning if batch == 1 and whole and _DTYPES.get(meaning) == outputs[0]["dtype"] else None


_OF_PIXELS = "of each pixel of a camera's frame: deploy with --frame"
_WANTED = {
    CLASSES: f"the class {_OF_PIXELS} --end argmax",
    METRES: f"the metres {_OF_PIXELS} --end depth",
    KEY_POINTS: "the key points of a person in a camera's frame: deploy an architecture for pose",
}


def required_picture(manifest: Mapping[str, Any]) -> str:
    """What a network gives for a frame, see ``picture_of``. Raises BundleError for others."""
    found = picture_of(manifest)
    if found is None:
        raise _another_kind(manifest, f"the class or the metres {_OF_PIXELS} --end argmax or --end depth")
    return found


def require_picture(manifest: Mapping[str, Any], meaning: str) -> None:
    """Raises BundleError for networks of other kinds than of that meaning."""
    if picture_of(manifest) != meaning:
        raise _another_kind(manifest, _WANTED[meaning])


def _another_kind(manifest: Mapping[str, Any], what: str) -> BundleError:
    takes, gives = (", ".join(map(said, manifest[name])) for name in ("inputs", "outputs"))
    return BundleError(
        f"{manifest['name']} takes {takes} and gives {gives}; this is for networks that give {what}"
    )


def segments(manifest: Mapping[str, Any]) -> bool:
    """Whether a network takes a camera's frame and gives the class of each of its pixels, as a byte."""
    return picture_of(manifest) == CLASSES


def resize_metres(metres: Array, height: int, width: int) -> Array:
    """(h, w) to (height, width) float32, bilinear, pixel centres aligned."""
    if metres.shape == (height, width):
        return metres.astype(np.float32, copy=False)
    resized: Array = interpolated(metres[..., None], height, width)[..., 0].astype(np.float32)
    return resized


def said(value: Value) -> str:
    """``image 1x3x64x128 float32``."""
    return f"{value['name']} {'x'.join(map(str, value['shape']))} {value['dtype']}"


def read_values(path: Path, inputs: Sequence[Value]) -> list[Array]:
    """What a network takes, from a file: an image for a camera's frame, .npy for one input, .npz for several.

    Arrays may lack the batch where that is 1. Numbers of another kind are taken where nothing is lost.

    Raises:
        ImageError: it cannot be read, or is not what the network takes.
    """
    if path.suffix.lower() not in _ARRAYS:
        return [_frame_of(path, inputs)]
    try:
        if path.suffix.lower() == ".npy":
            value = _only(path, inputs)
            with path.open("rb") as file:
                return [_array(path, file, value)]
        with zipfile.ZipFile(path) as archive:
            return [_member(path, archive, value) for value in inputs]
    except ImageError:
        raise
    except Exception as error:  # of many types, from zipfile and zlib
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
        raise ImageError(f"{path} cannot be read: {reason}; give an array that numpy.save wrote") from None


def places(folder: Path, stem: str, outputs: Sequence[Value]) -> list[Path]:
    """Where each output of a network is written."""
    names: list[str] = []
    for index, value in enumerate(outputs):
        name = re.sub(r"[^\w.-]+", "_", value["name"]).strip(".")[:_MOST_NAME] or "output"
        names.append(f"{name}.{index}" if name in names else name)
    return [folder / f"{stem}-{name}.npy" for name in names]


def write_values(files: Iterable[Path], arrays: Iterable[Array]) -> None:
    """Write arrays as sealed .npy files, each whole or not at all. Raises ImageError."""
    for path, array in zip(files, arrays, strict=True):
        partial = path.with_name(f".{path.name}.squeezenas-tvm")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(sealed_npy(array))
            os.replace(partial, path)
        except OSError as error:
            raise ImageError(f"{path} cannot be written: {error.strerror}; choose another --out") from None
        finally:
            partial.unlink(missing_ok=True)


def sealed_npy(array: Array) -> bytes:
    """A .npy file, and behind it the sum of it."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    body = content.getvalue()
    return body + _seal(body)


def is_sealed_npy(path: Path) -> bool:
    """Whether a file is an array that was written here, and that nobody has changed since."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    body = content[: -len(_seal(b""))]
    return content == body + _seal(body)


def summary(value: Value, array: Array, labels: Sequence[Mapping[str, Any]]) -> str:
    """What came out, in a line for people: classes by name, of numbers their range."""
    if value["meaning"] == CLASSES and array.size <= 16:
        names = {entry["index"]: entry["name"] for entry in labels}
        told = ", ".join(str(names.get(int(index), int(index))) for index in array.reshape(-1))
        return f"{value['name']}: {told}"
    if not array.size:
        return f"{said(value)}: empty"
    if array.size <= 16:
        return f"{value['name']}: " + ", ".join(f"{number:.4g}" for number in array.reshape(-1))
    unit = " m" if value["meaning"] == METRES else ""
    numbers = array.astype(np.float64)
    low, mean, high = (f"{number:.4g}{unit}" for number in (numbers.min(), numbers.mean(), numbers.max()))
    return f"{said(value)}: {low} to {high}, mean {mean}"


def _seal(body: bytes) -> bytes:
    return _SEAL % hashlib.sha256(body).hexdigest().encode()


def _frame_of(path: Path, inputs: Sequence[Value]) -> Array:
    """An image as the one frame that a network takes."""
    if len(inputs) != 1 or not is_frame(inputs[0]) or inputs[0]["shape"][0] != 1:
        wanted = ", ".join(map(said, inputs))
        kind = ".npy" if len(inputs) == 1 else ".npz with these names"
        raise ImageError(f"{path}: the network takes {wanted}; give {kind}")
    _, height, width, _ = inputs[0]["shape"]
    return resize_bilinear(read_image(path), height, width)[None]


def _only(path: Path, inputs: Sequence[Value]) -> Value:
    if len(inputs) > 1:
        wanted = ", ".join(map(said, inputs))
        raise ImageError(f"{path} is one array, and the network takes {wanted}; give .npz with these names")
    return inputs[0]


def _member(path: Path, archive: zipfile.ZipFile, value: Value) -> Array:
    names = archive.namelist()
    if f"{value['name']}.npy" not in names:
        there = ", ".join(name.removesuffix(".npy") for name in names[:5]) or "nothing"
        raise ImageError(f"{path} has {there}; missing: {said(value)}")
    with archive.open(f"{value['name']}.npy") as file:
        return _array(path, file, value)


def _array(path: Path, file: IO[bytes], value: Value) -> Array:
    """An input, from a .npy file. The header is compared, not evaluated, before any of the rest is read.

    Raises ImageError.
    """
    start = file.read(8)
    wide = start[6:7] > b"\x01"  # versions 2 and 3
    length = int.from_bytes(file.read(4 if wide else 2), "little")
    header = _HEADER.fullmatch(file.read(min(length, _MOST_HEADER)))
    if not start.startswith(NPY_SIGNATURE) or header is None:
        raise ImageError(f"{path}: no array of numbers as numpy.save writes it; allowed: {said(value)}")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(side) for side in header[3].decode().replace(",", " ").split())
    wanted = np.dtype(value["dtype"])
    whole = tuple(value["shape"])
    if shape not in (whole, whole[1:] if whole[:1] == (1,) else whole):
        found = "x".join(map(str, shape)) or "a number"
        raise ImageError(f"{path}: found {found}; allowed: {said(value)}")
    if dtype != wanted and not np.can_cast(dtype, wanted, "same_kind"):
        raise ImageError(f"{path}: found {dtype}; allowed: {said(value)}")
    content = file.read(math.prod(whole) * dtype.itemsize)
    numbers = np.frombuffer(content, dtype, math.prod(whole))
    array = numbers.reshape(shape, order="F" if header[2] == b"True" else "C").reshape(whole)
    return np.ascontiguousarray(array, wanted)


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
        if max(entry["index"], entry["id"]) < LABELS:
            ids[entry["index"]] = entry["id"]
    return ids[labels]
