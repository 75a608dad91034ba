"""Images that are read and written without a library, compared with Pillow."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data import plain_images
from search.data.plain_images import ImageError, decode_plain, png_exif, upright


def photo(height: int = 37, width: int = 53) -> np.ndarray:
    """Smooth with some noise, so that PNG writers choose all of their line filters."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 30, (height, width))
    planes = (x * 4 + noise, 3 * y + x, (x * y) // 9 + noise)
    return (np.stack(planes, axis=-1) & 255).astype(np.uint8)


def write_png(path: Path, pixels: np.ndarray, filters: list[int]) -> None:
    """An RGB PNG whose line ``y`` is stored with filter ``filters[y % n]``, by the text of the standard."""
    height, width, channels = pixels.shape
    padded = np.zeros((height + 1, width + 1, channels), int)
    padded[1:, 1:] = pixels
    lines = b""
    for y in range(height):
        kind = filters[y % len(filters)]
        line = bytearray([kind])
        for x in range(width):
            for c in range(channels):
                a, b, corner = padded[y + 1, x, c], padded[y, x + 1, c], padded[y, x, c]
                paeth = min((a, b, corner), key=lambda v, p=a + b - corner: abs(p - v))
                predicted = (0, a, b, (a + b) // 2, paeth)[kind]
                line.append(int(padded[y + 1, x + 1, c] - predicted) & 255)
        lines += bytes(line)
    body = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind_name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        body += struct.pack(">I", len(data)) + kind_name + data
        body += struct.pack(">I", zlib.crc32(kind_name + data))
    path.write_bytes(body)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def png(
    width: int,
    height: int,
    lines: bytes,
    depth: int = 8,
    colour: int = 0,
    extra: bytes = b"",
    palette: Sequence[tuple[int, int, int]] = (),
) -> bytes:
    """A PNG of these bytes, whatever they are."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    colours = chunk(b"PLTE", b"".join(map(bytes, palette))) if palette else b""
    body = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + colours + body


def npy(header: str) -> bytes:
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + bytes(12)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_png_as_pillow_reads_it(mode: str) -> None:
    file = io.BytesIO()
    Image.fromarray(photo()).convert(mode).save(file, "PNG")
    with Image.open(file) as picture:
        # Pillow would blend; we take the colours as they are stored.
        expected = np.asarray(picture.convert("RGBA").convert("RGB"))
    found = decode_plain(file.getvalue())
    assert found is not None
    shown = found[:, :, :1] if mode.startswith("L") else found[:, :, :3]
    assert np.array_equal(np.broadcast_to(shown, expected.shape), expected)


@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0]])
def test_png_line_filters(tmp_path: Path, filters: list[int]) -> None:
    pixels = photo(9, 14)
    write_png(tmp_path / "image.png", pixels, filters)
    assert np.array_equal(decode_plain((tmp_path / "image.png").read_bytes()), pixels)
    with Image.open(tmp_path / "image.png") as picture:  # the writer above is right, too
        assert np.array_equal(np.asarray(picture), pixels)


def test_png_of_16_bits_is_its_high_bytes() -> None:
    values = photo()[:, :, 0].astype(np.uint16) * 257
    assert np.array_equal(decode_plain(encoded(values))[:, :, 0], photo()[:, :, 0])
    colours = photo(1, 53).astype(">u2") * 257
    found = decode_plain(png(53, 1, b"\0" + colours.tobytes(), depth=16, colour=2))
    assert np.array_equal(found, photo(1, 53))
    with pytest.raises(ImageError, match="16-bit pixels of at most 3792, which may be dark, or of another"):
        decode_plain(encoded(photo()[:, :, 0].astype(np.uint16) * 16))


def test_what_only_pillow_reads() -> None:
    assert decode_plain(encoded(photo(), "BMP")) is None
    assert decode_plain(png(8, 1, b"\0\x0f", depth=1)) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_png_stands_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO(encoded(photo(), exif=exif))
    with Image.open(file) as picture:
        transposed = np.asarray(Image.fromarray(upright(np.asarray(picture), orientation)))
    assert np.array_equal(decode_plain(file.getvalue()), transposed)
    assert exif.tobytes().endswith(png_exif(file))


def test_pnm_with_comments_gray_and_16_bits() -> None:
    assert decode_plain(b"P5\n# made by hand\n2 1\n255\n\x07\xff").tolist() == [[[7], [255]]]
    assert decode_plain(b"P5 2 1 65535\n\x07\xff\xff\x00").tolist() == [[[7], [255]]]
    assert decode_plain(b"P6 1 1 255\nabc").tolist() == [[[97, 98, 99]]]


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(order: str) -> None:
    file = io.BytesIO()
    np.save(file, np.asarray(photo(), order=order))
    assert np.array_equal(decode_plain(file.getvalue()), photo())


LINE = "{'descr': '|u1', 'fortran_order': False, 'shape': (%s, 2, 3), }"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "wrong check sum of PNG chunk"),
        (png(2, 2, b"\0\0"), "buffer is smaller than requested size"),
        (png(2, 2, b"\7\0\0" * 2), "PNG line filter 7"),
        (png(90_000_000, 1, b"\1"), "90000000 x 1 pixels; allowed are sides of 1 to 32768 and 100000000"),
        (png(30_000, 30_000, b"\1"), "30000 x 30000 pixels; allowed are"),
        (png(0, 4, b""), "0 x 4 pixels; allowed are"),
        (b"P6 4 4 255\n123", "buffer is smaller than requested size"),
        (b"P6 100000 100000 255\n1", "100000 x 100000 pixels; allowed are"),
        (b"P6 4 4 " + b"9" * 5000 + b"\n", "PPM/PGM with a width, a height and 255 or 65535"),
        (npy(LINE % "1000000"), "2 x 1000000 pixels; allowed are"),
        (npy(LINE % "True"), "an array of header .*; an image is uint8"),
        (npy(LINE % ("9" * 400)), "an array of header"),
        (npy("(" * 900), "an array of header .{80,90}; an image is uint8"),
        (npy("\n\033[2Jerror: it's fine"), r"header \"[^\n\033]*\";"),
        (npy(LINE % "4"), "buffer is smaller than requested size"),
        (b"\x93NUMPY\x02\0\xff\xff\xff\xff", "an array of header"),
        (b"\x93NUMPY", "unpack_from"),
    ],
)
def test_what_is_no_image_is_told_at_once(content: bytes, said: str) -> None:
    with pytest.raises((ImageError, ValueError, struct.error), match=said):
        decode_plain(content)


def test_arrays_that_are_no_images() -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((4, 4)))
    with pytest.raises(ImageError, match=r"header .*'<f8'.*\(4, 4\).*; an image is uint8 \(H, W, 3\)"):
        decode_plain(file.getvalue())


def test_chunks_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_images, "MAX_CHUNKS", 50)
    empty = struct.pack(">I4sI", 0, b"tEXt", zlib.crc32(b"tEXt"))
    content = png(2, 2, b"\0\0\0" * 2, extra=empty * 60)
    with pytest.raises(ImageError, match="more than 50 chunks of PNG"):
        decode_plain(content)
    with pytest.raises(ImageError, match="more than 50 chunks of PNG"):
        png_exif(io.BytesIO(content))
