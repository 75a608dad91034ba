"""Images that are read and written without a library, compared with Pillow."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenas_tvm.bundles.images import (
    ImageError,
    check_places,
    is_sealed_png,
    read_image,
    resize_bilinear,
    resize_nearest,
    write_gray_png,
)


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


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_png_as_pillow_reads_it(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(photo()).convert(mode).save(path)
    with Image.open(path) as picture:
        # Pillow would blend; we take the colours as they are stored.
        expected = np.asarray(picture.convert("RGBA").convert("RGB"))
    assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0]])
def test_png_line_filters(tmp_path: Path, filters: list[int]) -> None:
    pixels = photo(9, 14)
    write_png(tmp_path / "image.png", pixels, filters)
    assert np.array_equal(read_image(tmp_path / "image.png"), pixels)
    with Image.open(tmp_path / "image.png") as picture:  # the writer above is right, too
        assert np.array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize("name", ["image.ppm", "image.bmp", "image.npy"])
def test_other_lossless_formats(tmp_path: Path, name: str) -> None:
    if name.endswith("npy"):
        np.save(tmp_path / name, photo())
    else:
        Image.fromarray(photo()).save(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name), photo())


def test_pnm_with_comments_and_gray(tmp_path: Path) -> None:
    path = tmp_path / "image.pgm"
    path.write_bytes(b"P5\n# made by hand\n2 1\n255\n\x07\xff")
    assert read_image(path).tolist() == [[[7] * 3, [255] * 3]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "is broken: "),
        ("a.ppm", b"P6 4 4 255\n123", "is broken: buffer is smaller than requested size"),
        (
            "a.ppm",
            b"P6 100000 100000 255\n1",
            "is broken: 100000 x 100000 pixels, allowed are 1 to 100000000",
        ),
        ("a.jpg", b"hello", "is not an image that can be read"),
        ("a.png", b"", "is not an image that can be read"),
    ],
)
def test_broken_images_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=f"{name} {said}"):
        read_image(tmp_path / name)


def test_damaged_png_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo()).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png is broken: wrong check sum of PNG chunk IDAT"):
        read_image(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"a\.png is broken: "):
        read_image(path)


def test_arrays_that_are_no_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    with pytest.raises(ImageError, match=r"holds float64 \(4, 4\), an image is uint8 \(H, W, 3\)"):
        read_image(tmp_path / "a.npy")


def test_missing_image_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no\.png cannot be read: No such file"):
        read_image(tmp_path / "no.png")
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        read_image(tmp_path)


def test_gray_png_is_what_pillow_reads(tmp_path: Path) -> None:
    labels = photo()[:, :, 0]
    write_gray_png(tmp_path / "labels.png", labels)
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), labels)


def test_resizing() -> None:
    ramp = np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    wide = resize_bilinear(ramp, 2, 16)[0, :, 0]
    assert wide.tolist() == [0, 2, 8, 12, 18, 22, 28, 32, 38, 42, 48, 52, 58, 62, 68, 70]
    labels = np.array([[1, 2], [3, 4]], np.uint8)
    assert resize_nearest(labels, 4, 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert resize_nearest(resize_nearest(labels, 6, 4), 2, 2).tolist() == labels.tolist()


def test_a_changed_byte_breaks_the_seal_of_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    write_gray_png(path, np.zeros((2, 3), np.uint8))
    assert is_sealed_png(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.png"]
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        assert not is_sealed_png(path)


def test_pictures_go_where_nothing_else_is(tmp_path: Path) -> None:
    place, image = tmp_path / "x-labels.png", tmp_path / "x.png"
    check_places([place], [image])
    write_gray_png(place, np.zeros((2, 3), np.uint8))
    check_places([place], [image])
    with pytest.raises(
        ImageError, match=r"x-labels\.png would be written for two images; run them one by one"
    ):
        check_places([place, place], [image])
    with pytest.raises(ImageError, match=r"x-labels\.png is one of the images"):
        check_places([place], [image, tmp_path / "." / "x-labels.png"])
    Image.open(place).save(place)
    with pytest.raises(ImageError, match=r"x-labels\.png is there already, and is no picture"):
        check_places([place], [image])
    place.unlink()
    place.symlink_to("nowhere")
    with pytest.raises(ImageError, match="is there already"):
        check_places([place], [image])
