"""Images in and out of a network: reading, resizing, writing. Travels in the bundle, beside run.py."""

import struct
import zlib
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
    "read_image",
    "resize_bilinear",
    "resize_nearest",
    "squeezed",
    "write_gray_png",
]
LEAST_SQUEEZE = 1.2  # that is told: less hardly shows


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
    pixels: Any = image  # real numbers once it is smaller, which saves most of the memory
    for axis, size in enumerate((height, width)):
        length = image.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = position.astype(int)
        share = (position - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        high = np.minimum(low + 1, length - 1)
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share
    resized: UInt8 = np.rint(pixels).astype(np.uint8)
    return resized


def write_gray_png(path: Path, pixels: UInt8) -> None:
    """Write (H, W) uint8 as an 8-bit gray PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # each line starts with its filter: 0, none
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 6)) + chunk(b"IEND", b"")
    path.write_bytes(PNG_SIGNATURE + body)
