"""Label files in every way that tools store them: decided by what is in the file, or refused."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data import open_data
from search.data.camvid import COLOURS
from search.data.classes import IGNORE
from search.errors import InvalidData

from .packagings import THREE, describe, noise, write
from .test_plain_images import png

Labels = np.ndarray
SIZE = (8, 12)
INDICES = np.random.default_rng(3).integers(0, 12, SIZE, dtype=np.uint8)
# A colour of each of CamVid's classes, and of void.
ONE_EACH = [next(colour for colour, own in COLOURS.items() if own == index) for index in (*range(11), IGNORE)]
EXPECTED = np.where(INDICES == 11, IGNORE, INDICES)
MARKS = INDICES % 3


def camvid(folder: Path, save: Callable[[Path], object]) -> Labels:
    """What is read of one label file in CamVid."""
    write(folder / "train" / "a.png", noise(0, SIZE))
    (folder / "trainannot").mkdir()
    save(folder / "trainannot" / "a.png")
    data = open_data(f"camvid:{folder}")
    data.check()
    return data.frames("train")[0][1]


def own(folder: Path, save: Callable[[Path], object], labels: str = "index") -> Labels:
    """What is read of one label file in a set of three classes."""
    write(folder / "images" / "a.png", noise(0, SIZE))
    (folder / "labels").mkdir()
    save(folder / "labels" / "a.png")
    splits = {"train": {"images": "images", "labels": "labels"}}
    ignore = [255] if labels == "index" else [[255, 255, 255]]
    describe(folder, splits=splits, labels=labels, ignore=ignore)
    data = open_data(f"folder:{folder}")
    data.check()
    return data.frames("train")[0][1]


def in_palette(marks: Labels, colours: list[tuple[int, int, int]]) -> Image.Image:
    picture = Image.fromarray(marks)
    picture.putpalette([channel for colour in colours for channel in colour])
    return picture


def refused(read: Callable[[], object]) -> str:
    with pytest.raises(InvalidData) as caught:
        read()
    return str(caught.value)


def test_a_palette_of_the_data_sets_colours_is_one_of_colours(tmp_path: Path) -> None:
    painted = Image.fromarray(np.array(ONE_EACH, np.uint8)[INDICES])
    for place, picture in enumerate((painted, painted.quantize(12), painted.quantize(64))):
        assert np.array_equal(camvid(tmp_path / str(place), picture.save), EXPECTED)


@pytest.mark.parametrize(
    "colours", [[(i, i, i) for i in range(256)], [(7 * i % 256, i, 3) for i in range(256)]]
)
def test_a_palette_of_other_colours_is_one_of_indices(
    tmp_path: Path, colours: list[tuple[int, int, int]]
) -> None:
    assert np.array_equal(camvid(tmp_path, in_palette(INDICES, colours).save), EXPECTED)


def test_a_palette_that_agrees_with_its_indices(tmp_path: Path) -> None:
    assert np.array_equal(camvid(tmp_path, in_palette(INDICES, ONE_EACH).save), EXPECTED)


def test_pascal_vocs_palette_is_one_of_indices(tmp_path: Path) -> None:
    voc = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    voc += [(128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0)]
    assert np.array_equal(camvid(tmp_path / "all", in_palette(INDICES, voc).save), EXPECTED)
    sky_alone = np.zeros(SIZE, np.uint8)  # black is CamVid's void
    assert not camvid(tmp_path / "sky", in_palette(sky_alone, voc).save).any()


@pytest.mark.parametrize(
    "colours",
    [
        [(0, 0, 0), (128, 0, 0)],  # sky and building by index, void and building by colour
        [(64, 0, 128), (64, 64, 0), (1, 2, 3)],  # car and pedestrian by colour, but not a palette of such
    ],
)
def test_two_readings_are_refused(tmp_path: Path, colours: list[tuple[int, int, int]]) -> None:
    said = refused(lambda: camvid(tmp_path, in_palette(INDICES % 2, colours).save))
    assert "trainannot/a.png: labels by the indices of its palette, and other labels by the colours" in said
    assert said.endswith("save it as 8-bit gray if values are meant, as RGB if colours are")


def test_gray_that_a_tool_made_a_palette_of(tmp_path: Path) -> None:
    """Optimisers reorder: the shown gray is the value."""
    order = np.random.default_rng(1).permutation(12)
    picture = in_palette(np.argsort(order).astype(np.uint8)[INDICES], [(i, i, i) for i in order.tolist()])
    assert np.array_equal(camvid(tmp_path / "camvid", picture.save), EXPECTED)
    picture = in_palette(np.array([1, 2, 0], np.uint8)[MARKS], [(2, 2, 2), (0, 0, 0), (1, 1, 1)])
    assert np.array_equal(own(tmp_path / "own", picture.save), MARKS)


@pytest.mark.parametrize("bits", [2, 4])
def test_gray_of_few_bits_holds_values(tmp_path: Path, bits: int) -> None:
    """Pillow shows 1 of 2 bits as 85, of 4 bits as 17."""
    lines = []
    for row in MARKS:
        digits = "".join(f"{value:0{bits}b}" for value in row)
        lines.append(b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big"))
    content = png(SIZE[1], SIZE[0], b"".join(lines), depth=bits)
    assert np.array_equal(own(tmp_path, lambda path: path.write_bytes(content)), MARKS)


def test_declared_values_stand_in_gray_colours_too(tmp_path: Path) -> None:
    gray = Image.fromarray(MARKS).convert("RGB")
    assert np.array_equal(own(tmp_path / "a", gray.save), MARKS)
    assert "pixels of mode RGB; labels are 8-bit values" in refused(
        lambda: own(tmp_path / "b", Image.fromarray(noise(0, SIZE)).save)
    )


def test_declared_values_whose_palette_shows_other_classes(tmp_path: Path) -> None:
    ground, tree, fruit = THREE.values()
    assert np.array_equal(own(tmp_path / "a", in_palette(MARKS, [ground, tree, fruit]).save), MARKS)
    assert "other labels by the colours of it" in refused(
        lambda: own(tmp_path / "b", in_palette(MARKS, [tree, fruit, ground]).save)
    )
    black_and_white = in_palette(MARKS % 2, [(0, 0, 0), (255, 255, 255)])
    assert np.array_equal(own(tmp_path / "c", black_and_white.save), MARKS % 2)


def test_declared_colours_in_a_palette_of_any_order(tmp_path: Path) -> None:
    ground, tree, fruit = THREE.values()
    picture = in_palette(np.array([1, 2, 0], np.uint8)[MARKS], [fruit, ground, tree])
    assert np.array_equal(own(tmp_path / "a", picture.save, "color"), MARKS)
    content = png(12, 8, b"".join(b"\0" + row.tobytes() for row in MARKS), colour=3, palette=[fruit, ground])
    assert "labels out of range: colour (0, 0, 0)" in refused(  # an index beyond the palette's end
        lambda: own(tmp_path / "b", lambda path: path.write_bytes(content), "color")
    )


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
@pytest.mark.parametrize("picture", [Image.fromarray(MARKS), in_palette(MARKS, [*THREE.values()])])
def test_other_formats_that_keep_values(tmp_path: Path, kind: str, picture: Image.Image) -> None:
    assert np.array_equal(own(tmp_path, lambda path: picture.save(path, kind)), MARKS)


def test_formats_that_change_values(tmp_path: Path) -> None:
    picture = Image.fromarray(MARKS)
    for kind in ("JPEG", "WEBP", "GIF"):
        said = refused(lambda kind=kind: own(tmp_path / kind, lambda path: picture.save(path, kind)))
        assert "labels/a.png: damaged, or no PNG, BMP or TIFF image" in said
    said = refused(lambda: own(tmp_path / "a", lambda p: picture.save(p, "TIFF", compression="jpeg")))
    assert "compressed with loss, which changes labels; save it as PNG" in said


def test_colours_of_16_bits_are_refused(tmp_path: Path) -> None:
    """Pillow keeps their high bytes: black, which is void in CamVid."""
    colours = np.array(ONE_EACH, ">u2")[INDICES]
    content = png(12, 8, b"".join(b"\0" + row.tobytes() for row in colours), depth=16, colour=2)
    said = refused(lambda: camvid(tmp_path, lambda path: path.write_bytes(content)))
    assert re.search("pixels of mode RGB.*; labels are 8-bit values or RGB colours", said)


def test_labels_of_turned_images_are_drawn_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(noise(0, SIZE)).transpose(Image.Transpose.ROTATE_90)

    def save(path: Path) -> None:
        stored.save(path.parents[1] / "images" / "a.png", exif=exif)
        Image.fromarray(MARKS).save(path)

    assert np.array_equal(own(tmp_path / "a", save), MARKS)
    Image.fromarray(MARKS.T.copy()).save(tmp_path / "a" / "labels" / "a.png")
    data = open_data(f"folder:{tmp_path / 'a'}")
    for said in (refused(data.check), refused(lambda: data.frames("train")[0])):
        assert "by its EXIF orientation, as viewers show it" in said
    Image.fromarray(MARKS).transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "a" / "labels" / "a.png", exif=exif
    )
    assert np.array_equal(data.frames("train")[0][1], MARKS)


def test_a_label_file_of_a_line_that_hangs(tmp_path: Path) -> None:
    content = png(90_000_000, 1, zlib.compress(b""))
    said = refused(lambda: own(tmp_path, lambda path: path.write_bytes(content)))
    assert "labels/a.png: 90000000 x 1 pixels; allowed are sides of" in said
