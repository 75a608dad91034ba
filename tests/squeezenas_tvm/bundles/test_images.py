"""Resizing to a network's shape and back, what is said of a shape that distorts, and writing labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenas_tvm.bundles.images import (
    ImageError,
    check_places,
    gray_png,
    is_sealed_png,
    resize_bilinear,
    resize_nearest,
    squeezed,
    write_whole,
)


def test_resizing() -> None:
    ramp = np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    wide = resize_bilinear(ramp, 2, 16)[0, :, 0]
    assert wide.tolist() == [0, 2, 8, 12, 18, 22, 28, 32, 38, 42, 48, 52, 58, 62, 68, 70]
    labels = np.array([[1, 2], [3, 4]], np.uint8)
    assert resize_nearest(labels, 4, 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert resize_nearest(resize_nearest(labels, 6, 4), 2, 2).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((64, 128), ""),
        ((100, 210), ""),
        (
            (64, 512),
            "everything 4 times narrower than it is; crop the image to 128:64, or deploy",
        ),
        ((128, 64), "everything 4 times wider than it is"),
    ],
)
def test_a_shape_that_distorts_is_told(size: tuple[int, int], said: str) -> None:
    note = squeezed(np.zeros((*size, 3), np.uint8), 64, 128)
    assert said in note
    assert bool(said) == bool(note)


def test_gray_png_is_what_pillow_reads(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    write_whole(tmp_path / "labels.png", gray_png(labels))
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), labels)


def test_a_changed_byte_breaks_the_seal_of_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    write_whole(path, gray_png(np.zeros((2, 3), np.uint8)))
    assert is_sealed_png(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.png"]
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        assert not is_sealed_png(path)


def test_pictures_go_where_nothing_else_is(tmp_path: Path) -> None:
    place, image = tmp_path / "x-labels.png", tmp_path / "x.png"
    check_places([place], [image])
    write_whole(place, gray_png(np.zeros((2, 3), np.uint8)))
    check_places([place], [image])
    with pytest.raises(
        ImageError, match=r"x-labels\.png would be written for two files; run them one by one"
    ):
        check_places([place, place], [image])
    with pytest.raises(ImageError, match=r"x-labels\.png is one of the files"):
        check_places([place], [image, tmp_path / "." / "x-labels.png"])
    Image.open(place).save(place)
    with pytest.raises(ImageError, match=r"x-labels\.png is there already, and was not"):
        check_places([place], [image])
    place.unlink()
    place.symlink_to("nowhere")
    with pytest.raises(ImageError, match="is there already"):
        check_places([place], [image])
