"""Fingerprints of data: the same for the same frames, others for anything else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.data import open_data
from search.data.fingerprint import fingerprint
from search.errors import InvalidData

from .packagings import camvid_tutorial, write


def of(folder: Path) -> dict[str, str]:
    return fingerprint(open_data(f"camvid:{folder}"), ("train", "val"))


def test_files_are_told_by_name_and_content(tmp_path: Path) -> None:
    first, other = camvid_tutorial(tmp_path / "a"), camvid_tutorial(tmp_path / "b")
    was = of(first)
    assert was == of(other), "the folder does not matter"
    assert was["train"].startswith(f"{len(open_data(f'camvid:{first}').frames('train'))} of 12x16, digest ")
    write(other / "trainannot" / "train_1.png", np.full((12, 16), 3, np.uint8))
    assert of(other)["train"] != was["train"], "labels"
    assert of(other)["val"] == was["val"]
    renamed = camvid_tutorial(tmp_path / "c")
    for folder in ("train", "trainannot"):
        (renamed / folder / "train_1.png").rename(renamed / folder / "zebra.png")
    assert of(renamed)["train"] != was["train"], "names"


def test_drawn_and_joined_frames_are_told_too() -> None:
    scenes = open_data("synthetic:4:64x64")
    assert fingerprint(scenes, ("train",)) == fingerprint(open_data("synthetic:4:64x64"), ("train",))
    found = {
        fingerprint(open_data(f"synthetic:{spec}"), ("train",))["train"] for spec in ("4", "5", "4:64x64")
    }
    assert len(found) == 3
    turned = replace(scenes, splits={"train": scenes.splits["train"][::-1]})
    assert fingerprint(turned, ("train",)) != fingerprint(scenes, ("train",)), "order"
    assert fingerprint(turned, ("train", "val")).keys() == {"train"}
    swapped = replace(scenes, classes=scenes.classes[::-1])
    assert fingerprint(swapped, ("train",)) != fingerprint(scenes, ("train",)), "classes"


def test_a_file_that_is_gone_is_one_line(tmp_path: Path) -> None:
    data = open_data(f"camvid:{camvid_tutorial(tmp_path)}")
    (tmp_path / "train" / "train_1.png").unlink()
    with pytest.raises(InvalidData, match=r"train/train_1\.png: cannot be read: No such file"):
        fingerprint(data, ("train",))
