"""The recipe "Add a data set" of CONTRIBUTING.md, followed; and the example of docs/data.md."""

import re
from pathlib import Path

import numpy as np
import pytest

from search.data import Data, open_data
from search.data.classes import CLASSES, IGNORE, LabelClass
from search.data.dataset_file import DatasetFile
from search.data.datasets import IN_FOLDERS
from search.data.files import StoredFrame, stored_data
from search.data.label_code import LabelCode
from search.errors import InvalidData
from targets.support.strict_yaml import parse_yaml

from .packagings import noise, write

DOCUMENT = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLE, WAYS = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)


def open_toy(folder: Path) -> Data:
    code = LabelCode(values={10: 0, 20: 1, 0: IGNORE}, colours={})
    frames = [
        StoredFrame(path.stem, path, path.with_suffix(".png"), code) for path in sorted(folder.glob("*.jpg"))
    ]
    return stored_data("toy", folder, {"train": frames})


def test_a_set_with_a_packaging_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = (LabelClass(10, "on", (255, 0, 0)), LabelClass(20, "off", (0, 0, 255)))
    monkeypatch.setitem(CLASSES, "toy", classes)  # type: ignore[arg-type]
    monkeypatch.setitem(IN_FOLDERS, "toy", open_toy)
    write(tmp_path / "a.jpg", noise(0, (8, 8)))
    write(tmp_path / "a.png", np.array([[0, 10, 20, 10]] * 8, np.uint8).repeat(2, axis=1))
    data = open_data(f"toy:{tmp_path}")
    data.check()
    assert (data.name, data.class_names) == ("toy", ["on", "off"])
    assert data.frames("train")[0][1][0, ::2].tolist() == [IGNORE, 0, 1, 0]


def test_the_example_is_one() -> None:
    described = parse_yaml(EXAMPLE, "example", DatasetFile, InvalidData)
    assert [entry.name for entry in described.label_classes()] == ["ground", "tree", "fruit"]
    assert described.code().values == {0: 0, 1: 1, 2: 2, 255: IGNORE}


def test_the_ways_to_write_a_split_are_some() -> None:
    ways = (
        WAYS,
        WAYS.replace("  test:", "  # test:", 1).replace(
            "  # test: {list: test.txt, i", "  test: {list: test.txt, i"
        ),
    )
    for way in ways:
        text = re.sub(r"^splits:.*", lambda _, way=way: way, EXAMPLE, flags=re.DOTALL | re.MULTILINE)
        described = parse_yaml(text, "example", DatasetFile, InvalidData)
        assert set(described.splits.named()) == {"train", "val", "test"}
