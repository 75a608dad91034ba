"""Folders of people with key points, of the user's own."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.data import open_data
from search.errors import InvalidData

from .people_files import WAVING, YAML, people_folder, picture


def test_a_file_a_split_and_a_file_an_image(tmp_path: Path) -> None:
    data = open_data(f"folder:{people_folder(tmp_path)}")
    assert (data.name, data.task, data.frame_size) == ("waving", "pose", (96, 96))
    assert data.tells == ["head", "neck", "l_hand", "r_hand"]
    assert {split: data.frames(split).names for split in data.splits} == {"train": ["a"], "val": ["a", "b"]}
    data.check()
    data.check_labelled("train", "val")
    image, truth = data.frames("train")[0]
    assert image.shape == (96, 96, 3)
    # What is cut out is half as large again as the box of the points, around its middle
    scale = 96 / (1.5 * 80)
    np.testing.assert_allclose(
        truth[0, :2], ((100.5 - 40) * scale - 0.5, (40.5 + 10) * scale - 0.5), atol=0.5
    )
    assert truth[:-1, 2].tolist() == [1] * 4
    np.testing.assert_allclose(truth[-1], [20 * scale, 96, 96], rtol=1e-5)
    _, own = data.frames("val")[1]
    np.testing.assert_allclose(own[-1], [25 * 96 / 120, 96, 96], rtol=1e-5)


def test_points_by_name_or_in_their_order(tmp_path: Path) -> None:
    listed = [[100, 40], [100, 60, 1], [140, 50, 0], None]
    named = {"head": [100, 40], "neck": [100, 60]}
    box = [40, 20, 160, 140]
    people = [{"image": "a.png", "points": points, "box": box} for points in (listed, named)]
    data = open_data(f"folder:{people_folder(tmp_path, people)}")
    assert data.frames("train").names == ["a", "a_2"]
    (_, first), (_, second) = data.frames("train")[0], data.frames("train")[1]
    np.testing.assert_array_equal(first, second)
    assert first[:-1, 2].tolist() == [1, 1, 0, 0]


def test_points_outside_of_the_picture_are_missing_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    people = [{"image": name, "points": {**WAVING, "l_hand": [400, 50]}} for name in ("a.png", "b.png")]
    text = YAML.replace("waving", "outside")
    data = open_data(f"folder:{people_folder(tmp_path, people, text)}")
    with caplog.at_level(logging.WARNING):
        data.check("train")
    assert [truth[:-1, 2].tolist() for _, truth in data.frames("train")] == [[1, 1, 0, 1]] * 2
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("outside: key points outside of their picture count as missing; the first: ")
    assert "400, 50 of 320x240 pixels" in said[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": [[1, 2]] * 3}, "points: found 3; allowed: 4, as key_points lists them"),
        (
            {"points": {"nek": [1, 2]}},
            r"points: found 'nek', did you mean neck\?; allowed: the name of a key",
        ),
        ({"points": {"neck": ["1", 2]}}, r"points.neck: found .*; allowed: \[x, y\] in pixels"),
        ({"points": {"neck": [1, 2, 2]}}, "points.neck: found visible 2; allowed: 0 or 1"),
        ({"points": {}}, "points: none is known; leave the person out"),
        ({"points": None}, r"points: missing; allowed: \[x, y\] by name"),
        ({"head_size": 0}, "head_size: found 0; allowed: pixels, above 0"),
        ({"head_size": "large"}, "head_size: found .*large.*; allowed: pixels, above 0"),
        ({"points": {**WAVING, "neck": WAVING["head"]}}, "head_size: 0, since head and neck are one point"),
        ({"box": [10, 10, 10, 40]}, r"box: found \[10, 10, 10, 40\]; allowed: .* a pixel large"),
        ({"box": [1, 2, 3]}, r"box: found .*; allowed: \[left, top, right, bottom\] in pixels"),
        ({"image": "a.txt"}, "image: found 'a.txt'; allowed: "),
        ({"imag": "a.png"}, r"unknown key 'imag', did you mean image\?"),
    ],
)
def test_unsound_people_are_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    person = {"image": "a.png", "points": WAVING, **change}
    folder = people_folder(tmp_path, [person])
    with pytest.raises(InvalidData, match=f"dataset.yaml: splits.train.people: train.json, person 1: {said}"):
        open_data(f"folder:{folder}")


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    folder = people_folder(tmp_path, [{"image": "a.png", "points": {**WAVING, "neck": [float("nan"), 1]}}])
    with pytest.raises(InvalidData, match=r"train.json: no JSON: NaN"):
        open_data(f"folder:{folder}")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "[neck, r_hand]]",
            "[neck, rhand]]",
            r"skeleton: found 'rhand', did you mean r_hand\?; allowed: the name",
        ),
        (
            "[[l_hand, r_hand]]",
            "[[l_hand, l_hand]]",
            "mirrored: found 'l_hand' twice; allowed: each name once",
        ),
        ("head: [head, neck]", "head: [head, nose]", "head: found 'nose'; allowed: two key points"),
        ("[head, neck, l_hand, r_hand]", "[head, neck, neck, r_hand]", "names: found 'neck' twice"),
        ("people: train.json", "people: train.txt", "people: found 'train.txt'; allowed: a .json file"),
        ("images: images, people: train", "images: none, people: train", "images: no folder none in"),
        ("people: train.json", "people: other.json", r"people: .*other.json: cannot be read"),
    ],
)
def test_unsound_files_are_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in YAML
    folder = people_folder(tmp_path, text=YAML.replace(old, new))
    with pytest.raises(InvalidData, match=said):
        open_data(f"folder:{folder}")


def test_without_a_head_nothing_can_be_told(tmp_path: Path) -> None:
    folder = people_folder(tmp_path, text=YAML.replace("head: [head, neck]\n", ""))
    with pytest.raises(
        InvalidData, match="head_size: missing, by which distances are told; or name two points"
    ):
        open_data(f"folder:{folder}")


def test_people_without_a_head_point_teach_but_are_not_scored(tmp_path: Path) -> None:
    points = {name: at for name, at in WAVING.items() if name != "head"}
    data = open_data(f"folder:{people_folder(tmp_path, [{'image': 'a.png', 'points': points}])}")
    _, truth = data.frames("train")[0]
    assert truth[-1, 0] == 0
    assert truth[:-1, 2].tolist() == [0, 1, 1, 1]


def test_who_is_not_in_the_picture_is_refused(tmp_path: Path) -> None:
    person = {"image": "a.png", "points": WAVING, "box": [900, 900, 960, 960]}
    data = open_data(f"folder:{people_folder(tmp_path, [person])}")
    with pytest.raises(
        InvalidData, match="nothing of that is in the image of 320x240 pixels; mend the place"
    ):
        data.check("train")


def test_a_list_is_a_known_one(tmp_path: Path) -> None:
    text = YAML.split("key_points:")[0] + "key_points: mpii\nsplits:" + YAML.split("splits:")[1]
    points = [[60 + 5 * place, 40 + 3 * place] for place in range(16)]
    person = {"points": points, "head_size": 9}
    folder = people_folder(tmp_path, [{**person, "image": "a.png"}], text)
    for name in ("a", "b"):
        (folder / "people" / f"{name}.json").write_text(json.dumps(person), encoding="utf-8")
    data = open_data(f"folder:{folder}", "pose")
    assert len(data.tells) == 16


def test_the_examples_of_the_documentation_are_such(tmp_path: Path) -> None:
    document = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    (text,) = [text for text in re.findall(r"```text\n(.*?)```", document, re.DOTALL) if "task: pose" in text]
    (people,) = re.findall(r"```json\n(.*?)```", document, re.DOTALL)
    folder = people_folder(tmp_path, json.loads(people), text)
    picture(folder / "images" / "0001.jpg", (400, 400))
    (folder / "people" / "0001.json").write_text(people, encoding="utf-8")
    data = open_data(f"folder:{folder}")
    data.check()
    _, truth = data.frames("train")[0]
    assert truth[:-1, 2].tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(truth[-1, 0], 31.5 * 256 / 290, rtol=1e-5)
