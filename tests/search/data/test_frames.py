"""Checks before the first step: every fault in one line, whatever was done to the files."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import search.data.frames
from search.data import open_data
from search.errors import InvalidData

from .packagings import camvid_tutorial, labels_of, noise, write


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    """In the middle of the pixels: Pillow decodes it without a word."""
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 40] ^= 1
    path.write_bytes(bytes(content))


NO_IMAGE = "damaged, or no PNG, JPEG, BMP, TIFF or WEBP image"
FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("train/train_1.png", Path.unlink, "no such file"),
    "labels missing": ("trainannot/train_1.png", Path.unlink, "no such file"),
    "cut off": ("val/val_0.png", cut, "damaged: Truncated File Read"),
    "a bit": ("trainannot/train_0.png", flip_a_bit, "damaged: broken PNG file .*"),
    "empty": ("test/test_1.png", lambda path: path.write_bytes(b""), NO_IMAGE),
    "text": ("test/test_1.png", lambda path: path.write_text("<html>"), NO_IMAGE),
    "folder": (
        "test/test_1.png",
        lambda path: (path.unlink(), path.mkdir()),
        "cannot be read: Is a directory",
    ),
    "size": (
        "val/val_1.png",
        lambda path: write(path, noise(0, (16, 12))),
        "16x12 pixels, the data set has 12x16",
    ),
    "size of labels": (
        "valannot/val_1.png",
        lambda path: write(path, labels_of(0, size=(6, 8))),
        "6x8 pixels, the data set has 12x16",
    ),
    "range": (
        "testannot/test_0.png",
        lambda path: write(path, labels_of(0) + np.uint8(4)),
        r"labels out of range: value 1\d in \d+ pixels?; allowed are 0 to 11",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(tmp_path: Path, fault: str) -> None:
    name, damage, text = FAULTS[fault]
    data = open_data(f"camvid:{camvid_tutorial(tmp_path)}")
    data.check()
    damage(tmp_path / name)
    with pytest.raises(
        InvalidData, match=rf"^data set camvid: 1 fault, replace these files: {tmp_path}/{name}: {text}$"
    ):
        data.check()


def test_only_the_splits_that_are_used(tmp_path: Path) -> None:
    data = open_data(f"camvid:{camvid_tutorial(tmp_path)}")
    (tmp_path / "test" / "test_0.png").unlink()
    data.check("train", "val")
    data.check("trainval")
    with pytest.raises(InvalidData, match=r"test_0\.png: no such file"):
        data.check("test")


def test_of_many_faults_ten_are_named(tmp_path: Path) -> None:
    data = open_data(f"camvid:{camvid_tutorial(tmp_path, counts={'train': 20})}")
    for path in (tmp_path / "trainannot").iterdir():
        path.unlink()
    with pytest.raises(
        InvalidData, match=r"^data set camvid: 20 faults, replace these files: .*; and 10 more$"
    ) as caught:
        data.check()
    assert str(caught.value).count("no such file") == 10
    assert "\n" not in str(caught.value)


def test_the_first_image_damaged_is_one_fault_among_others(tmp_path: Path) -> None:
    camvid_tutorial(tmp_path)
    (tmp_path / "train" / "train_0.png").write_bytes(b"")
    with pytest.raises(
        InvalidData, match=r"1 fault, replace these files: .*train_0\.png: damaged, or no PNG, JPEG, BMP, "
    ):
        open_data(f"camvid:{tmp_path}").check()


def test_no_image_at_all_can_be_read(tmp_path: Path) -> None:
    camvid_tutorial(tmp_path, counts={"train": 2})
    for path in (tmp_path / "train").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        InvalidData, match=r"no image of camvid can be read; the last: .*/train_1\.png: damaged"
    ):
        open_data(f"camvid:{tmp_path}")


def test_large_sets_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.data.frames, "DECODED_BELOW", 7)
    data = open_data(f"camvid:{camvid_tutorial(tmp_path)}")
    flip_a_bit(tmp_path / "trainannot" / "train_0.png")
    data.check()
    (tmp_path / "trainannot" / "train_1.png").unlink()
    with pytest.raises(InvalidData, match=r"1 fault, replace these files: .*train_1\.png: no such file"):
        data.check()


def test_an_unknown_split(tmp_path: Path) -> None:
    data = open_data(f"camvid:{camvid_tutorial(tmp_path, counts={'train': 1, 'val': 1})}")
    with pytest.raises(InvalidData, match=r"^data set camvid has no split 'tset'; there are train, val$"):
        data.frames("tset")
    with pytest.raises(InvalidData, match=r"has no split 'test'"):
        data.check("test")


def test_loading_a_frame_that_does_not_fit_its_labels(tmp_path: Path) -> None:
    data = open_data(f"camvid:{camvid_tutorial(tmp_path)}")
    write(tmp_path / "trainannot" / "train_2.png", labels_of(0, size=(6, 8)))
    with pytest.raises(InvalidData, match=r"train_2\.png: 6x8 pixels, its image train_2\.png has 12x16$"):
        data.frames("train")[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return camvid_tutorial(tmp_path_factory.mktemp("camvid"), suffix=".jpg", counts={"train": 2})


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["train/train_1.jpg", "trainannot/train_1.png"]),
    st.floats(0, 1),
    st.lists(st.integers(0, 255), max_size=8),
    st.booleans(),
)
def test_damage_of_any_kind_is_a_fault_or_harmless(
    whole: Path, name: str, where: float, content: list[int], cut_off: bool
) -> None:
    data = open_data(f"camvid:{whole}")
    path = whole / name
    before = path.read_bytes()
    start = int(where * len(before))
    after = b"" if cut_off else before[start + len(content) :]
    path.write_bytes(before[:start] + bytes(content) + after)
    said = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about sizes that a damaged head claims
            data.check()
    except InvalidData as error:
        said = str(error)
    finally:
        path.write_bytes(before)
    assert said == "" or said.startswith(f"data set camvid: 1 fault, replace these files: {path}: ")
    assert "\n" not in said


def test_data_without_a_single_label_is_refused(tmp_path: Path) -> None:
    camvid_tutorial(tmp_path)
    data = open_data(f"camvid:{tmp_path}")
    data.check_labelled("train", "val")
    for path in (tmp_path / "valannot").iterdir():
        write(path, np.full((12, 16), 11, np.uint8))  # void
    data.check_labelled("train", "trainval")
    with pytest.raises(InvalidData, match="not one pixel of the 2 val frames is labelled"):
        data.check_labelled("train", "val")
