"""Cityscapes: folders, kinds of label files, and classes, compared with the official package."""

from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as official
from PIL import Image

from search.data import Data, open_data
from search.data.cityscapes import CODES
from search.data.classes import IGNORE
from search.errors import InvalidData

from .packagings import cityscapes, noise, write

IDS = np.arange(34, dtype=np.uint8).reshape(2, 17)
TRAIN_IDS = np.array([entry.trainId for entry in official if entry.id >= 0], np.uint8).reshape(2, 17)
COLOURS = np.array([entry.color for entry in official if entry.id >= 0], np.uint8).reshape(2, 17, 3)


def opened(folder: Path, name: str = "cityscapes") -> Data:
    return open_data(f"{name}:{folder}")


def test_classes_are_the_official_ones(tmp_path: Path) -> None:
    data = opened(cityscapes(tmp_path, IDS))
    scored = sorted((entry for entry in official if entry.trainId in range(19)), key=lambda e: e.trainId)
    assert data.class_names == [entry.name for entry in scored]
    assert data.colours == [entry.color for entry in scored]
    assert data.categories == [entry.category for entry in scored]
    assert [entry.id for entry in data.classes] == [entry.id for entry in scored]


def test_ids(tmp_path: Path) -> None:
    data = opened(cityscapes(tmp_path, IDS))
    data.check()
    assert data.frame_size == (2, 17)
    assert data.frames("train").names == ["aachen_000000_000019", "ulm_000001_000019"]
    for split in ("train", "val", "test"):
        image, labels = data.frames(split)[1]
        assert np.array_equal(image, noise(1, (2, 17)))
        assert np.array_equal(labels, TRAIN_IDS)


def test_train_ids(tmp_path: Path) -> None:
    data = opened(cityscapes(tmp_path, TRAIN_IDS, label="labelTrainIds"))
    data.check()
    assert np.array_equal(data.frames("val")[0][1], TRAIN_IDS)


@pytest.mark.parametrize("label", CODES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_in_any_label_file(tmp_path: Path, label: str, mode: str) -> None:
    colours = np.asarray(Image.fromarray(COLOURS).convert(mode))
    data = opened(cityscapes(tmp_path, colours, label=label))
    data.check()
    expected = TRAIN_IDS.copy()
    expected.flat[18] = 5  # a pole group looks like a pole
    assert np.array_equal(data.frames("val")[0][1], expected)


def test_ids_are_preferred_to_colours(tmp_path: Path) -> None:
    cityscapes(tmp_path, IDS)
    cityscapes(tmp_path, np.zeros_like(COLOURS), label="color")
    assert np.array_equal(opened(tmp_path).frames("val")[0][1], TRAIN_IDS)


def test_coarse_labels_with_their_extra_frames(tmp_path: Path) -> None:
    cityscapes(tmp_path, IDS, "gtCoarse", splits=("train", "train_extra", "val"))
    data = opened(tmp_path, "cityscapes-coarse")
    data.check()
    assert {split: len(frames) for split, frames in data.splits.items()} == {"train": 4, "val": 2}
    with pytest.raises(InvalidData, match=r"neither leftImg8bit/ with gtFine/ nor files"):
        opened(tmp_path)
    with pytest.raises(InvalidData, match=r"^data set cityscapes has no split 'test'; there are train, val$"):
        data.frames("test")


def test_a_part_that_was_not_downloaded_is_left_out(tmp_path: Path) -> None:
    cityscapes(tmp_path, IDS, splits=("val",))
    (tmp_path / "gtFine" / "train" / "ulm").mkdir(parents=True)
    assert list(opened(tmp_path).splits) == ["val"]


def test_what_has_no_partner_is_named(tmp_path: Path) -> None:
    cityscapes(tmp_path, IDS)
    (tmp_path / "leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png").unlink()
    (tmp_path / "gtFine/val/aachen/aachen_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(InvalidData) as caught:
        opened(tmp_path).check()
    assert str(caught.value) == (
        "data set cityscapes: 2 faults, replace these files: "
        f"{tmp_path}/leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png: no such file; "
        f"{tmp_path}/gtFine/val/aachen/aachen_000000_000019_gtFine_labelIds.png: no such file"
    )


@pytest.mark.parametrize(
    ("label", "pixels", "text"),
    [
        (
            "labelIds",
            np.full((2, 2), 34, np.uint8),
            r"out of range: value 34 in 4 pixels; allowed are 0 to 33$",
        ),
        ("labelTrainIds", np.full((2, 2), 19, np.uint8), r"value 19 in 4 pixels; allowed are 0 to 18, 255$"),
        (
            "color",
            np.full((2, 2, 3), 7, np.uint8),
            r"\(7, 7, 7\) in 4 pixels is none of the data set's 29$",
        ),
        ("labelIds", np.full((2, 2), 7, np.uint16), r"pixels of mode I;16; labels are 8-bit values or RGB"),
    ],
)
def test_labels_out_of_range(tmp_path: Path, label: str, pixels: np.ndarray, text: str) -> None:
    data = opened(cityscapes(tmp_path, pixels, label=label, splits=("val",)))
    with pytest.raises(
        InvalidData,
        match=rf"2 faults, replace these files: .*aachen_000000_000019_gtFine_{label}\.png: .*{text[:-1]}",
    ):
        data.check()
    with pytest.raises(InvalidData, match=text):
        data.frames("val")[1]


def test_frames_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "ulm_0_1_leftImg8bit.png", noise(0, (2, 17)))
    write(tmp_path / "ulm_0_1_gtFine_labelTrainIds.png", TRAIN_IDS)
    data = opened(tmp_path)
    data.check()
    assert list(data.splits) == ["val"]
    assert np.array_equal(data.frames("val")[0][1], TRAIN_IDS)


def test_endings_of_any_case_and_files_of_systems(tmp_path: Path) -> None:
    cityscapes(tmp_path, IDS, splits=("val",))
    city = tmp_path / "leftImg8bit" / "val" / "ulm"
    image = city / "ulm_000001_000019_leftImg8bit.png"
    Image.open(image).save(image.with_suffix(".TIFF"))
    image.unlink()
    for name in ("._ulm_000001_000019_leftImg8bit.png", "Thumbs.db"):
        (city / name).write_bytes(b"?")
    (tmp_path / "gtFine" / "val" / "__MACOSX").mkdir()
    data = opened(tmp_path)
    data.check()
    assert data.frames("val").names == ["aachen_000000_000019", "ulm_000001_000019"]


def test_real_frames(shared_data: Path) -> None:
    folder = shared_data / "cityscapes-sample"
    data = opened(folder)
    data.check()
    assert data.frame_size == (1024, 2048)
    by_colour = {entry.color: entry.trainId for entry in reversed(official) if entry.id >= 0}
    for name, (image, labels) in zip(data.frames("val").names, data.frames("val"), strict=True):
        assert image.shape == (1024, 2048, 3)
        colours = np.asarray(Image.open(folder / f"{name}_gtFine_labelIds.png"))[::16, ::16].reshape(-1, 3)
        expected = [by_colour[tuple(colour)] for colour in colours.tolist()]
        assert labels[::16, ::16].ravel().tolist() == expected
        assert 0.02 < (labels == IGNORE).mean() < 0.2
