"""Files of images as people have them: which are opened, how bright, which way up, what bounds them."""

import ast
import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from search.data import image_files, plain_images
from search.data.image_files import ENDINGS, MAX_SCANS, opened, read_image
from search.data.plain_images import ImageError

from .test_plain_images import photo, png

ROOT = Path(__file__).parents[3]
PACKAGES = ("targets", "cost_models", "search", "squeezenas_tvm")
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_pillow", lambda: None)


def refusal(path: Path) -> str:
    """What is said of a file, which is one line that names it."""
    with pytest.raises(ImageError) as caught:
        read_image(path)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert said.isprintable()
    return said


def turned(path: Path, orientation: int, pixels: np.ndarray) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_images_are_opened_in_one_place() -> None:
    """Elsewhere nobody would name the formats, and a file that begins with %!PS starts Ghostscript."""
    openers = {("Image", "open"), ("np", "load"), ("numpy", "load"), ("plt", "imread")}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in openers, path  # image_files.py asks _pillow()
            assert not isinstance(node, ast.ImportFrom) or node.module != "PIL.Image", path


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.eps", "x.tif"])
def test_no_file_starts_a_program(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / name
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    assert "damaged, or no PNG, JPEG, BMP, TIFF or WEBP image" in refusal(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("ending", [*ENDINGS, ".JPG", ".Png", ".ppm", ".npy"])
def test_formats(tmp_path: Path, ending: str) -> None:
    path, pixels = tmp_path / f"image{ending}", photo()
    if ending == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path, **({"lossless": True} if ending == ".webp" else {}))
    found = read_image(path)
    assert found.shape == pixels.shape
    if "jp" not in ending.lower():
        assert np.array_equal(found, pixels)


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / "image.jpg", "BMP")
    assert np.array_equal(read_image(tmp_path / "image.jpg"), photo())
    Image.fromarray(photo()).save(tmp_path / "image.png", "GIF")
    assert "damaged, or no PNG" in refusal(tmp_path / "image.png")


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    path = turned(tmp_path / f"photo{ending}", orientation, photo(40, 64))
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    assert np.array_equal(read_image(path), expected)
    with opened(path) as image:
        assert image.size == expected.shape[:2]


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"MM\0*\0\0\0\x08\0\xff", b"II*\0\xff\xff\xff\xff"])
def test_damaged_exif_is_no_orientation(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(photo()).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == photo().shape


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_gray_of_16_bits(tmp_path: Path, ending: str) -> None:
    path, gray = tmp_path / f"gray{ending}", RAMP
    Image.fromarray(gray.astype(np.uint16) * 257).save(path)
    assert np.array_equal(read_image(path), np.repeat(gray[:, :, None], 3, axis=2))
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(path)
    assert not read_image(path).any()
    for scale in (1, 16):  # 8 bits and 12 in files of 16
        Image.fromarray(gray.astype(np.uint16) * scale).save(path)
        said = f"16-bit pixels of at most {255 * scale}, which may be dark, or of another range"
        assert said in refusal(path)


def test_colours_of_16_bits(tmp_path: Path) -> None:
    path, pixels = tmp_path / "deep.png", RAMP.reshape(2, 128)[:, :126].reshape(2, 42, 3)
    for scale in (257, 16):
        lines = [b"\0" + (row.astype(np.uint16) * scale).astype(">u2").tobytes() for row in pixels]
        path.write_bytes(png(42, 2, b"".join(lines), depth=16, colour=2))
        if scale == 257:
            assert np.array_equal(read_image(path), pixels)
        else:
            assert "16-bit pixels of at most" in refusal(path)


@pytest.mark.parametrize(
    ("scale", "said"),
    [(1 / 255, ""), (1.0, "floating-point pixels of 0 to 255"), (-1.0, "of -255"), (np.nan, "of nan to nan")],
)
def test_floating_point(tmp_path: Path, scale: float, said: str) -> None:
    path, gray = tmp_path / "float.tif", RAMP
    Image.fromarray((gray * scale).astype(np.float32)).save(path)
    if said:
        assert said in refusal(path)
    else:
        assert np.array_equal(read_image(path)[:, :, 1], gray)


def test_signed_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(photo()[:, :, 0].astype(np.int32)).save(tmp_path / "a.tif")
    assert "pixels of mode I; save it as gray or RGB of 8 bits a channel" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
def test_several_pictures_in_one_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"many{ending}"
    Image.fromarray(photo()).save(path, save_all=True, append_images=[Image.fromarray(photo()[::-1])])
    assert "several pictures in one file; save the one that is meant" in refusal(path)


def test_a_phones_jpeg_with_a_second_picture(tmp_path: Path) -> None:
    picture = Image.fromarray(photo())
    picture.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture.resize((8, 8))])
    assert read_image(tmp_path / "a.jpg").shape == photo().shape


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    line = zlib.compressobj(9)
    body = b"".join([line.compress(bytes(1 << 20)) for _ in range(8)])
    (tmp_path / "line.png").write_bytes(png(90_000_000, 1, body))
    assert "90000000 x 1 pixels; allowed are sides of 1 to 32768" in refusal(tmp_path / "line.png")
    (tmp_path / "large.png").write_bytes(png(30_000, 30_000, b"\0"))
    assert "too large: Image size (900000000 pixels)" in refusal(tmp_path / "large.png")
    (tmp_path / "large.png").write_bytes(png(12_000, 12_000, b"\0"))
    assert "12000 x 12000 pixels; allowed are" in refusal(tmp_path / "large.png")
    header = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 54, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(header)
    assert "too large: Image size" in refusal(tmp_path / "a.bmp")
    chunk = b"zTXt" + b"a\0\0" + zlib.compress(bytes(100 << 20))
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "text.png").write_bytes(png(2, 2, b"\0\0\0" * 2, extra=text))
    assert "damaged: Decompressed data too large" in refusal(tmp_path / "text.png")


def test_a_jpeg_of_endless_scans(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(photo()).save(file, "JPEG", progressive=True)
    (tmp_path / "a.jpg").write_bytes(file.getvalue())
    assert read_image(tmp_path / "a.jpg").shape == photo().shape
    content, end = file.getvalue()[:-2], file.getvalue()[-2:]
    last = content[content.rindex(b"\xff\xda") :]
    (tmp_path / "a.jpg").write_bytes(content + last * MAX_SCANS + end)
    assert f"scans, allowed are {MAX_SCANS}" in refusal(tmp_path / "a.jpg")


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_cut_off(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    Image.fromarray(photo(200, 300)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert ": damaged: " in refusal(path) or "damaged, or no PNG" in refusal(path)


def test_a_bit_in_a_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo()).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "a.png: damaged: broken PNG file" in refusal(path)


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(tmp_path / "no.png").endswith("no.png: no such file")
    assert refusal(tmp_path).endswith("cannot be read: Is a directory")
    assert refusal(tmp_path / ("n" * 300)).endswith("cannot be read: File name too long")
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(tmp_path / "pipe.png").endswith("a pipe or a device; name a file")
    Image.fromarray(photo()).save(tmp_path / "a.png")
    monkeypatch.setattr(plain_images, "MAX_BYTES", 1 << 10)
    assert "larger than 0 MiB, the most that is read" in refusal(tmp_path / "a.png")


@pytest.mark.usefixtures("without_pillow")
def test_without_pillow(tmp_path: Path) -> None:
    path = turned(tmp_path / "a.png", 6, photo(40, 64))
    assert read_image(path).shape == (64, 40, 3)
    for name in ("a.jpg", "a.bmp"):
        Image.fromarray(photo()).save(tmp_path / name)
        assert f"install Pillow: {sys.executable} -m pip install pillow" in refusal(tmp_path / name)
    (tmp_path / "line.png").write_bytes(png(90_000_000, 1, b"\1"))
    assert "90000000 x 1 pixels" in refusal(tmp_path / "line.png")


def test_it_stands_alone(tmp_path: Path) -> None:
    """As in a bundle: two files, nothing of ours to import."""
    for module in (image_files, plain_images):
        shutil.copy(module.__file__, tmp_path)
    turned(tmp_path / "a.png", 8, photo(40, 64))
    code = "import image_files, pathlib; print(image_files.read_image(pathlib.Path('a.png')).shape)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(64, 40, 3)\n", "")
