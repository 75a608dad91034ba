"""Images by numpy alone, and what bounds all images. Travels in every bundle: a board may have no Pillow.

PNG of 8 and 16 bits, PPM/PGM and .npy.
"""

import re
import struct
import zlib
from collections import defaultdict
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Size = tuple[int, int]  # height, width

MAX_BYTES = 1 << 29
MAX_PIXELS = 100_000_000
MAX_SIDE = 1 << 15  # undoing the filter of a line of 90 million pixels takes hours
MAX_CHUNKS = 100_000  # of a PNG
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NPY_SIGNATURE = b"\x93NUMPY"
PLAIN = (NPY_SIGNATURE, b"P5", b"P6")  # how files begin that are read here even where there is Pillow

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: gray, RGB, palette, gray + alpha, RGBA
_PNM = re.compile(rb"P([56])" + rb"(?:\s+|\s*#[^\n]*\n\s*)(\d{1,9})" * 3 + rb"\s")
_NPY = re.compile(
    rb"\{'descr': '[|<>]?u1', 'fortran_order': (True|False), 'shape': \((\d{1,9}), ?(\d{1,9}), ?3\),? ?\}\s*"
)
_ORIENTATION = 0x0112  # EXIF's tag
# Pixels of more than 8 bits that stay below a quarter of their range may be a camera's 10, 12 or 14 bits.
_LEAST_OF_16_BITS, _LEAST_OF_ONE = 1 << 14, 0.25
SEVERAL = "several pictures in one file; save the one that is meant"
_REMEDY = "which may be dark, or of another range than the file's; save it with 8 bits a channel"


class ImageError(Exception):
    """An image that cannot be used: one line that says which, why and what to do."""

    exit_code = 2


def decode_plain(data: bytes) -> UInt8 | None:
    """What this file decodes, upright, (H, W) or (H, W, channels); None for other formats.

    Raises:
        ImageError: too large, or of a range that is not known. It does not name the file.
        ValueError, IndexError, struct.error, zlib.error: damaged.
    """
    if data.startswith(PNG_SIGNATURE):
        return _decode_png(data)
    if data.startswith(NPY_SIGNATURE):
        return _decode_npy(data)
    return _decode_pnm(data) if data.startswith(PLAIN) else None


def checked_size(width: int, height: int) -> Size:
    """Height and width. Raises ImageError: no pixel, too many, or too long a side."""
    if 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS:
        return height, width
    raise ImageError(
        f"{width} x {height} pixels; allowed are sides of 1 to {MAX_SIDE} and {MAX_PIXELS} pixels in all"
    )


def from_16_bits(values: npt.NDArray[np.uint16]) -> UInt8:
    """The high bytes of pixels that use all of the 16 bits' range. Raises ImageError where they may not."""
    check_range(int(values.max()))
    pixels: UInt8 = (values >> 8).astype(np.uint8)
    return pixels


def check_range(most: int) -> None:
    """Refuse 16-bit pixels that may be of another range, by the largest of them. Raises ImageError."""
    if 0 < most < _LEAST_OF_16_BITS:
        raise ImageError(f"16-bit pixels of at most {most}, {_REMEDY}")


def from_floats(values: npt.NDArray[np.floating[Any]]) -> UInt8:
    """Pixels of 0 to 1. Raises ImageError for all that may be something else."""
    if not np.isfinite(values).all() or values.min() < 0 or not _LEAST_OF_ONE <= values.max() <= 1:
        least, most = values.min(), values.max()
        raise ImageError(f"floating-point pixels of {least:.3g} to {most:.3g}, {_REMEDY}")
    pixels: UInt8 = np.rint(255 * values).astype(np.uint8)
    return pixels


def upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """(H, W, ...) as stored, turned by an orientation of EXIF, 1 to 8."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def exif_orientation(exif: bytes) -> int:
    """1 to 8, by a block of EXIF; 1 where it does not say."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for place in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * place)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # damaged, as it often is; the pixels are not
        pass
    return 1


def png_exif(file: BinaryIO) -> bytes:
    """The block of EXIF in a PNG, before or after the pixels; empty for none. Raises ImageError."""
    file.seek(len(PNG_SIGNATURE))
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return b""
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            return file.read(length)
        file.seek(length + 4, 1)
    raise ImageError(f"more than {MAX_CHUNKS} chunks of PNG")


def _decode_npy(data: bytes) -> UInt8:
    """The header is compared, not evaluated: only one sort of array is an image."""
    wide = data[6:7] > b"\x01"  # versions 2 and 3
    (length,) = struct.unpack_from("<I" if wide else "<H", data, 8)
    start = 12 if wide else 10
    header = _NPY.fullmatch(data[start : start + min(length, 1000)])
    if header is None or length > 1000:
        shown = ascii(data[start : start + min(length, 80)].decode("latin-1").strip())
        raise ImageError(f"an array of header {shown}; an image is uint8 (H, W, 3)")
    height, width = checked_size(int(header[3]), int(header[2]))
    pixels = np.frombuffer(data, np.uint8, height * width * 3, start + length)
    return pixels.reshape((height, width, 3), order="F" if header[1] == b"True" else "C")


def _decode_pnm(data: bytes) -> UInt8:
    header = _PNM.match(data)
    most = int(header[4]) if header else 0
    if header is None or most not in (255, 65535):
        raise ValueError("PPM/PGM with a width, a height and 255 or 65535 as largest value is what is read")
    height, width = checked_size(int(header[2]), int(header[3]))
    channels = 3 if header[1] == b"6" else 1
    kind: Any = np.uint8 if most == 255 else ">u2"
    pixels = np.frombuffer(data, kind, height * width * channels, header.end())
    pixels = pixels.reshape(height, width, channels)
    return pixels if most == 255 else from_16_bits(pixels)


def _decode_png(data: bytes) -> UInt8 | None:
    chunks = _png_chunks(data)
    if not {b"IHDR", b"IDAT"} <= chunks.keys():
        raise ValueError("PNG without IHDR or IDAT")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    height, width = checked_size(width, height)
    if depth not in (8, 16) or interlaced or colour not in _PNG_CHANNELS:
        return None
    samples = _PNG_CHANNELS[colour] * depth // 8  # bytes a pixel
    size = height * (1 + width * samples)
    lines = zlib.decompressobj().decompress(bytes(chunks[b"IDAT"]), size)
    raw = np.frombuffer(lines, np.uint8, size).reshape(height, 1 + width * samples)
    pixels = _unfilter(raw[:, 0], raw[:, 1:].reshape(height, width, samples))
    if depth == 16:
        pixels = from_16_bits(np.ascontiguousarray(pixels).view(">u2"))
    if colour == 3:
        pixels = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)[pixels[:, :, 0]]
    turned: UInt8 = upright(pixels, exif_orientation(bytes(chunks[b"eXIf"])))
    return turned


def _png_chunks(data: bytes) -> defaultdict[bytes, bytearray]:
    """Contents by kind, check sums compared; those of one kind are joined."""
    chunks: defaultdict[bytes, bytearray] = defaultdict(bytearray)
    offset = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        (crc,) = struct.unpack_from(">I", data, offset + 8 + length)
        if crc != zlib.crc32(kind + body):
            raise ValueError(f"wrong check sum of PNG chunk {ascii(kind)[2:-1]}")
        if kind == b"acTL":
            raise ImageError(SEVERAL)
        chunks[kind] += body
        if kind == b"IEND":
            return chunks
        offset += 12 + length
    raise ImageError(f"more than {MAX_CHUNKS} chunks of PNG")


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
