"""NYU Depth V2 as image files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data import open_data
from search.data.nyudv2 import SPLITS
from search.errors import InvalidData

from .packagings import noise, write

SIZE = (12, 16)


def packaging(folder: Path, train: int = 11, test: int = 2) -> Path:
    """Frame i of a scene is ``noise(i)``, and i + 1 cm away everywhere."""
    for split, scene, count in (
        ("train", "bathroom", train),
        ("train", "study", 3),
        ("test", "kitchen", test),
    ):
        for index in range(count):
            place = folder / SPLITS / split / scene
            write(place / f"rgb_{index:05}.jpg", noise(index, SIZE))
            depth = np.full(SIZE, 10 * (index + 1), np.uint16)
            Image.fromarray(depth).save(place / f"sync_depth_{index:05}.png")
    return folder


def test_its_splits_and_what_is_held_out(tmp_path: Path) -> None:
    data = open_data(f"nyudv2:{packaging(tmp_path)}", "depth")
    assert {split: len(frames) for split, frames in data.splits.items()} == {"train": 13, "val": 1, "test": 2}
    assert data.frames("val").names == ["bathroom/00010"]  # the last tenth of each sort of scene with ten
    assert data.frames("train").names[-1] == "study/00002"
    assert (data.task, data.tells, data.frame_size, data.classes) == ("depth", ["metres"], SIZE, ())
    data.check()
    data.check_labelled("train", "val")
    image, depth = data.frames("train")[4]
    assert image.shape == (*SIZE, 3)
    assert np.unique(depth).tolist() == [np.float32(0.05)]
    within = open_data(f"nyudv2:{tmp_path / SPLITS}")
    assert within.frames("trainval").names == data.frames("trainval").names


def test_a_missing_depth_file_is_named(tmp_path: Path) -> None:
    gone = packaging(tmp_path) / SPLITS / "test" / "kitchen" / "sync_depth_00001.png"
    gone.unlink()
    with pytest.raises(
        InvalidData, match=r"1 fault, .* sync_depth_00001\.png: no such file|sync_depth_00001"
    ):
        open_data(f"nyudv2:{tmp_path}").check("test")


def test_what_is_there_instead(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidData, match="no NYU Depth V2 there; allowed: the folder that has official_splits"
    ):
        open_data(f"nyudv2:{tmp_path}")
    (tmp_path / "nyu_depth_v2_labeled.mat").write_bytes(b"\x89HDF")
    with pytest.raises(
        InvalidData, match=r"its \.mat files are not read; write their frames as images first"
    ):
        open_data(f"nyudv2:{tmp_path}")
    (tmp_path / SPLITS / "train").mkdir(parents=True)
    with pytest.raises(InvalidData, match="no frames of nyudv2: its folders are empty"):
        open_data(f"nyudv2:{tmp_path}")
