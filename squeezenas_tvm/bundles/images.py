"""Images in and out of a network: reading, resizing, writing. Travels in the bundle, beside run.py."""

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from search.data.image_files import read_image
    from search.data.plain_images import PNG_SIGNATURE, ImageError, UInt8
else:  # in a bundle: they lie beside this file
    from image_files import read_image
    from plain_images import PNG_SIGNATURE, ImageError, UInt8

__all__ = [
    "ImageError",
    "UInt8",
    "check_places",
    "gray_png",
    "interpolated",
    "is_sealed_png",
    "read_image",
    "resize_bilinear",
    "resize_nearest",
    "squeezed",
    "write_whole",
]
LEAST_SQUEEZE = 1.2  # that is told: less hardly shows
_MOST_BYTES = 1 << 30  # of a picture of ours


def squeezed(image: UInt8, height: int, width: int) -> str:
    """What is said of an image (h, w, 3) that a network's shape (height, width) distorts; empty of others."""
    own = image.shape[1] / image.shape[0]
    factor = own * height / width
    if 1 / LEAST_SQUEEZE < factor < LEAST_SQUEEZE:
        return ""
    what, by = ("narrower", factor) if factor > 1 else ("wider", 1 / factor)
    return (
        f"squeezed: the network of {width}x{height} sees everything {by:.2g} times {what} than it is; "
        f"crop the image to {width}:{height}, or deploy a resolution of its shape"
    )


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
    resized: UInt8 = np.rint(interpolated(image, height, width)).astype(np.uint8)
    return resized


def interpolated(pixels: Any, height: int, width: int) -> Any:
    """(h, w, channels) to (height, width, channels), bilinear, pixel centres aligned; real numbers."""
    for axis, size in enumerate((height, width)):  # real once it is smaller, which saves most of the memory
        length = pixels.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = position.astype(int)
        share = (position - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        high = np.minimum(low + 1, length - 1)
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share
    return pixels


def gray_png(pixels: UInt8) -> bytes:
    """(H, W) uint8 as an 8-bit gray PNG, sealed."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # each line starts with its filter: 0, none
    return sealed_png(
        PNG_SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines, 6)) + _END
    )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, all of it or nothing. Raises OSError."""
    partial = path.with_name(f".{path.name}.squeezenas-tvm")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sealed_png(png: bytes) -> bytes:
    """A PNG with a comment at its end: that it was written here, and the sum of all before it."""
    body = png.removesuffix(_END)
    return body + _seal(body)


def is_sealed_png(path: Path) -> bool:
    """Whether a file is a picture that was written here, and that nobody has changed since."""
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return False
    png = path.read_bytes()
    body = png[: -len(_seal(b""))]
    return png == body + _seal(body)


def check_places(
    places: Iterable[Path], images: Iterable[Path], is_ours: Callable[[Path], bool] = is_sealed_png
) -> None:
    """Refuse to write over anything but what was written here before.

    Args:
        images: that are going to be read; none of them is overwritten, whoever wrote it.
        is_ours: whether a file was written here and left so.

    Raises ImageError.
    """
    read = {os.path.realpath(image) for image in images}
    written = set()
    for place in places:
        if place in written:
            raise ImageError(f"{place} would be written for two files; run them one by one")
        written.add(place)
        if os.path.realpath(place) in read:
            raise ImageError(
                f"{place} is one of the files to read and would be overwritten; name another --out"
            )
        if os.path.lexists(place) and not is_ours(place):
            raise ImageError(
                f"{place} is there already, and was not written here, or was changed since; "
                "move it away or name another --out"
            )


def _chunk(kind: bytes, body: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _seal(body: bytes) -> bytes:
    """The end of a sealed PNG with that beginning; as long for every one."""
    text = f"squeezenas-tvm, sha256 {hashlib.sha256(body).hexdigest()}"
    return _chunk(b"tEXt", b"Software\0" + text.encode()) + _END


_END = _chunk(b"IEND", b"")
