"""Drawn scenes among the training frames of CamVid."""

from pathlib import Path

import numpy as np
import pytest

from search.data import open_data
from search.data.classes import CLASSES, IGNORE
from search.data.joined import IN_CAMVID
from search.errors import InvalidData

from .packagings import camvid_tutorial


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    camvid_tutorial(tmp_path / "a+b", size=(64, 128))  # a plus in a path is no join
    return tmp_path / "a+b"


def test_training_frames_of_both_and_the_other_splits_of_the_first(folder: Path) -> None:
    alone = open_data(f"camvid:{folder}")
    drawn = "synthetic:5:64x128"
    both = open_data(f"camvid:{folder}+{drawn}")
    assert both.name == "camvid+synthetic"
    assert both.classes == alone.classes
    assert both.frames("train").names == alone.frames("train").names + open_data(drawn).frames("train").names
    assert both.frames("val").names == alone.frames("val").names
    both.check()


def test_drawn_labels_become_those_of_camvid(folder: Path) -> None:
    drawn = "synthetic:3:64x128"
    image, labels = open_data(f"camvid:{folder}+{drawn}").frames("train")[-1]
    same, before = open_data(drawn).frames("train")[-1]
    np.testing.assert_array_equal(image, same)
    names = [entry.name for entry in CLASSES["camvid"]]
    for index, entry in enumerate(CLASSES["cityscapes"]):
        expected = names.index(IN_CAMVID[entry.name]) if entry.name != "terrain" else IGNORE
        assert set(labels[before == index]) <= {expected}
    assert {"road", "building", "sky"} <= {names[index] for index in set(labels.flat) - {IGNORE}}
    assert set(labels[before == IGNORE]) <= {IGNORE}


def test_two_of_the_same_classes_keep_their_labels() -> None:
    both = open_data("synthetic:4:64x96+synthetic:6:64x96").frames("train")
    assert len(both) == 10
    np.testing.assert_array_equal(both[0][1], both[4][1])


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            "camvid:{}+synthetic:4:64x96",
            r"frames of synthetic have 64x96 pixels, those of camvid 64x128; .*synthetic:COUNT:64x128\)",
        ),
        (
            "synthetic:4:64x128+camvid:{}",
            "camvid cannot be joined to synthetic: its classes are others; allow",
        ),
        ("camvid:{}+synthetic:x", r"^data set synthetic:x: write synthetic"),
    ],
)
def test_what_does_not_go_together(spec: str, text: str, folder: Path) -> None:
    with pytest.raises(InvalidData, match=text):
        open_data(spec.format(folder))
