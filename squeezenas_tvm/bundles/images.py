"""Images without any library but numpy: reading, resizing, writing. Travels in the bundle, beside run.py.

PNG, PPM/PGM and .npy are read here, other formats where Pillow is installed.
"""

import hashlib
import os
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: gray, RGB, palette, gray + alpha, RGBA
MAX_PIXELS = 100_000_000
_MOST_BYTES = 1 << 30  # of a picture of ours


class ImageError(Exception):
    """An image that cannot be used: one line that says which, why and what to do."""

    exit_code = 2


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
        ImageError: missing, unreadable, broken, too large or of a format that nothing here reads.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"image {path} cannot be read: {error.strerror}; check the path") from None
    try:
        pixels = _decode(data, path)
    except (ValueError, IndexError, struct.error, zlib.error) as error:
        raise ImageError(f"image {path} is broken: {error}") from None
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
        raise ImageError(
            f"{path} is not an 8-bit PNG, PPM/PGM or .npy image; for other formats: pip install pillow"
        ) from None
    try:
        with Image.open(path) as picture:
            _checked_size(*picture.size)
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} is not an image that can be read: {error}") from None


def gray_png(pixels: UInt8) -> bytes:
    """(H, W) uint8 as an 8-bit gray PNG, sealed."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # each line starts with its filter: 0, none
    return sealed_png(
        PNG_SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines, 6)) + _END
    )


def write_gray_png(path: Path, pixels: UInt8) -> None:
    """Write (H, W) uint8 as a sealed 8-bit gray PNG, whole or not at all. Raises OSError."""
    partial = path.with_name(f".{path.name}.squeezenas-tvm")
    try:
        partial.write_bytes(gray_png(pixels))
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


def check_places(places: Iterable[Path], images: Iterable[Path]) -> None:
    """Refuse to write pictures over anything but older pictures of ours.

    Args:
        images: that are going to be read; none of them is overwritten, whoever wrote it.

    Raises ImageError.
    """
    read = {os.path.realpath(image) for image in images}
    written = set()
    for place in places:
        if place in written:
            raise ImageError(f"{place} would be written for two images; run them one by one")
        written.add(place)
        if os.path.realpath(place) in read:
            raise ImageError(f"{place} is one of the images and would be overwritten; name another --out")
        if os.path.lexists(place) and not is_sealed_png(place):
            raise ImageError(
                f"{place} is there already, and is no picture that was written here, or was changed since; "
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
