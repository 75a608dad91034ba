"""What is said of each fault in a data set of the user's own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from targets.support.reading import TEXT_BYTES

from .packagings import (
    ONE,
    THREE,
    describe,
    noise,
    one_frame,
    opened,
    painted,
    refusal,
    three_classes,
    write,
)

CLASSES = [{"name": name, "color": list(color)} for name, color in THREE.items()]


# What is changed in dataset.yaml, and what is said of it.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "schema": ({"schema_version": 2}, "schema_version: found 2; allowed: 1"),
    "key": ({"class": []}, "class: unknown key, did you mean classes?; allowed: schema_version, name"),
    "missing": ({"labels": None}, "labels: missing"),
    "name": ({"name": "a+b"}, "name: found 'a+b'; allowed: text that matches"),
    "taken": ({"name": "camvid"}, "name: found 'camvid', which another data set is called; allowed: a name"),
    "kind": (
        {"labels": "colour"},
        "labels: found 'colour', did you mean color?; allowed: 'index' or 'color'",
    ),
    "one": ({"classes": CLASSES[:1]}, "classes: found 1; allowed: 2 to 255 classes"),
    "two names": (
        {"classes": [*CLASSES, {**CLASSES[0], "color": [1, 2, 3]}]},
        "name 'ground' is given twice",
    ),
    "two colours": (
        {"classes": [*CLASSES, {"name": "x", "color": [20, 120, 40]}]},
        "classes: the color [20, 120, 40] is given twice",
    ),
    "colour": (
        {"classes": [*CLASSES, {"name": "x", "color": [1, 2, 256]}]},
        "classes[3].color[2]: found 256",
    ),
    "yes": ({"classes": [*CLASSES, {"name": True, "color": [1, 2, 3]}]}, "classes[3].name: found True"),
    "spaces": (
        {"classes": [*CLASSES, {"name": "x ", "color": [1, 2, 3]}]},
        "classes[3].name: found 'x '; all",
    ),
    "category": (
        {"classes": [{**CLASSES[0], "category": "soil"}, *CLASSES[1:]]},
        "'tree' has no category; all",
    ),
    "value": (
        {"values": {0: "ground", 1: "three", 2: "fruit"}},
        "values.1: found 'three', did you mean tree?",
    ),
    "no value": ({"values": {0: "ground", 1: "tree"}}, "values: no value is the class 'fruit'"),
    "values": (
        {"labels": "color", "ignore": [], "values": {0: "ground", 1: "tree", 2: "fruit"}},
        "values: only where labels are index",
    ),
    "large": ({"values": {256: "ground"}}, "values[256]: found 256"),
    "ignore": ({"ignore": [255, 300]}, "ignore[1]: found 300; allowed: a value, 0 to 255"),
    "ignored class": ({"ignore": [2]}, "ignore[0]: 2 is the class 'fruit'"),
    "ignored colour": (
        {"labels": "color", "ignore": [255, [20, 120, 40]]},
        "ignore[0]: found 255; allowed: a colour [red, green, blue], each 0 to 255; "
        "ignore[1]: [20, 120, 40] is the class 'tree'",
    ),
    "split": ({"splits": {"training": {}}}, "splits.training: unknown key, did you mean train?; allowed: tr"),
    "no split": ({"splits": {}}, "splits: none is there; allowed: train, val, test, one of them at least"),
    "nothing": ({"splits": {"train": {}}}, "splits.train: allowed: images and labels, or a list"),
    "no labels": ({"splits": {"train": {"images": "images"}}}, "splits.train: labels: missing; where the im"),
    "rule": (
        {"splits": {"train": {"images": "images", "labels": "{name}.jpg"}}},
        "splits.train: labels: found '{name}.jpg'; allowed: a rule that ends in .png",
    ),
    "absolute": (
        {"splits": {"train": {"list": "/etc/passwd"}}},
        "splits.train.list: found '/etc/passwd'; all",
    ),
    "above": (
        {"splits": {"val": {"images": "a/../../b", "labels": "labels"}}},
        "splits.val.images: found 'a/../../b'; allowed: a path below the data set's folder, without ..",
    ),
    "folders": (
        {"splits": {"train": ONE["train"], "val": {"images": "imges", "labels": "lables"}}},
        "splits.val.images: no folder imges in ",
    ),
    "no list": ({"splits": {"train": {"list": "none.txt"}}}, "splits.train.list: "),
    "empty": (
        {"splits": {"train": {"images": "labels/none", "labels": "labels"}}},
        "no .png, .jpg, .jpeg, .bmp, .tif, .tiff, .webp files",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_dataset_yaml_says_wrongly(fault: str, tmp_path: Path) -> None:
    changes, text = WRONG[fault]
    one_frame(tmp_path, np.zeros((4, 4), np.uint8), **changes)
    (tmp_path / "labels" / "none").mkdir()
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path}/dataset.yaml: ")
    assert text in said


def test_all_faults_at_once(tmp_path: Path) -> None:
    splits = {"train": {"images": "/a", "labels": ".."}, "vall": {}}
    said = refusal(one_frame(tmp_path, np.zeros((4, 4), np.uint8), name="?", splits=splits, clases=[]))
    for key in (
        "name: found '?'",
        "splits.train.images: ",
        "splits.train.labels: ",
        "splits.vall: ",
        "clases",
    ):
        assert key in said
    splits = {split: {"images": split, "labels": split} for split in ("train", "val")}
    said = refusal(describe(tmp_path, splits=splits))
    assert said.count("no folder") == 4


# Lines of a list, and what is said of them.
LINES = {
    "images/a.png": "t.txt, line 1: found 1 words; allowed: IMAGE LABELS, with a tab between them where",
    "a b c": "line 1: found 3 words",
    "\nimages/a.png labels/a.jpg": "line 2: found the labels labels/a.jpg; allowed: .png, .bmp, .tif, .tiff",
    "images/a.gif labels/a.png": "line 1: found the image images/a.gif; allowed: .png, .jpg, .jpeg, .bmp",
    "/a.png labels/a.png": "line 1: found '/a.png'; allowed: a path below the data set's folder, without ..",
    "images/a.png ../a.png": "line 1: found '../a.png'; allowed: a path below",
    "images/a.png labels/a.png\nimages/a.png labels/b.png": "images/a.png and images/a.png are one frame",
    "# nothing": "splits.train.list: t.txt names no frame",
}


@pytest.mark.parametrize("lines", LINES)
def test_lines_of_a_list(lines: str, tmp_path: Path) -> None:
    one_frame(tmp_path, np.zeros((4, 4), np.uint8), splits={"train": {"list": "t.txt"}})
    (tmp_path / "t.txt").write_text(lines, encoding="utf-8")
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path}/dataset.yaml: splits.train.list: ")
    assert LINES[lines] in said


def test_of_many_lines_ten_are_named(tmp_path: Path) -> None:
    one_frame(tmp_path, np.zeros((4, 4), np.uint8), splits={"train": {"list": "t.txt", "labels": "labels"}})
    (tmp_path / "t.txt").write_text("".join(f"gone{index}\n" for index in range(40)), encoding="utf-8")
    said = refusal(tmp_path)
    assert "line 1: no image gone0 with .png, .jpg, .jpeg, .bmp" in said
    assert said.endswith("; and 30 more")


# What is done to the files of a set, and what is said of it.
Damage = Callable[[Path], object]
DAMAGED: dict[str, tuple[Damage, str]] = {
    "no file": (
        lambda f: (f / "dataset.yaml").unlink(),
        ": no dataset.yaml in it, which says what the classes",
    ),
    "no text": (
        lambda f: (f / "dataset.yaml").write_bytes(b"\xff\xfe"),
        "dataset.yaml: damaged, no text in UTF-8",
    ),
    "no YAML": (lambda f: (f / "dataset.yaml").write_text("a: [1"), "dataset.yaml: not YAML: line 1: "),
    "no mapping": (
        lambda f: (f / "dataset.yaml").write_text("- 1"),
        "dataset.yaml: found list; allowed: a map",
    ),
    "huge": (
        lambda f: (f / "dataset.yaml").write_text("#" * (TEXT_BYTES + 1)),
        "dataset.yaml: larger than 256 KiB, the most that is read",
    ),
    "nested": (
        lambda f: (f / "dataset.yaml").write_text("[" * 100_000),
        "dataset.yaml: not YAML: line 1: nested more than 32 deep",
    ),
    "bomb": (
        lambda f: (f / "dataset.yaml").write_text(
            "a0: &a0 [1, 1]\n"
            + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))
        ),
        "dataset.yaml: not YAML: line 5: more than 20000 values, with what aliases stand for",
    ),
    "without labels": (lambda f: (f / "labels/a.png").unlink(), "labels/a.png: no such file"),
    "sizes": (
        lambda f: write(f / "labels/a.png", np.zeros((4, 8), np.uint8)),
        "labels/a.png: 4x8 pixels, the data set has 8x4",
    ),
    "value": (
        lambda f: write(f / "labels/a.png", np.full((8, 4), 77, np.uint8)),
        "labels/a.png: labels out of range: value 77 in 32 pixels; allowed are 0 to 2, 255; or list it under "
        "ignore in dataset.yaml",
    ),
    "colour": (
        lambda f: write(f / "labels/a.png", painted(np.zeros((8, 4), np.uint8))),
        "labels/a.png: pixels of mode RGB; labels are 8-bit values",
    ),
    "deep": (
        lambda f: write(f / "labels/a.png", np.zeros((8, 4), np.uint16)),
        "labels/a.png: pixels of mode I;16; labels are 8-bit values",
    ),
    "cut": (
        lambda f: (f / "images/a.png").write_bytes((f / "images/a.png").read_bytes()[:-60]),
        "images/a.png: damaged",
    ),
    "no image": (
        lambda f: (f / "images/a.png").write_text("%!PS"),
        "images/a.png: damaged, or no PNG, JPEG, BMP",
    ),
    "other format": (
        lambda f: Image.fromarray(noise(0, (8, 4))).save(f / "images/a.png", format="GIF"),
        "images/a.png: damaged, or no PNG, JPEG, BMP, TIFF or WEBP image",
    ),
    "JPEG labels": (
        lambda f: Image.new("L", (4, 8)).save(f / "labels/a.png", format="JPEG"),
        "labels/a.png: damaged, or no PNG, BMP or TIFF image",
    ),
    "twice": (
        lambda f: write(f / "images" / "a.jpg", noise(0, (8, 4))),
        "splits.train.images: images/a.jpg and images/a.png are one frame; allowed: each once",
    ),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_damaged_sets(fault: str, tmp_path: Path) -> None:
    one_frame(tmp_path, np.zeros((8, 4), np.uint8))
    opened(tmp_path).check()
    damage, text = DAMAGED[fault]
    damage(tmp_path)
    said = refusal(tmp_path)
    assert str(tmp_path) in said
    assert text in said


def test_a_colour_that_no_class_has(tmp_path: Path) -> None:
    folder = three_classes(tmp_path, labels="color")
    pixels = painted(np.zeros((64, 96), np.uint8))
    pixels[3, :5] = (1, 2, 3)
    write(folder / "labels" / "train" / "002.png", pixels)
    assert refusal(folder).endswith(
        "1 fault, replace these files: "
        f"{folder}/labels/train/002.png: labels out of range: colour (1, 2, 3) in 5 pixels is none of the "
        "data set's 4; or list it under ignore in dataset.yaml"
    )
    opened(folder).check("val", "test")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    one_frame(tmp_path, np.zeros((4, 4), np.uint8))
    (tmp_path / "images").chmod(0)
    try:
        assert "images: cannot be read: Permission denied" in refusal(tmp_path)
    finally:
        (tmp_path / "images").chmod(0o755)
