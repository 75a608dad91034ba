"""A set of a user's own, three classes, from the search to the labels of an image."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.architecture import load_architecture
from squeezenas_tvm import deploy, evaluate, run, search, train

from ..search.data.packagings import THREE, describe, three_classes

SEARCH = """
schema_version: 1
kind: random
name: tiny
summary: two networks
crop: [64, 64]
scale: [1.0, 1.0]
batch_size: 2
workers: 0
scoring: {kind: paths, epochs: 1, calibration_batches: 1}
candidates: 2
frames: 1
"""
TRAIN = """
schema_version: 1
name: tiny
summary: two epochs
stages:
  - kind: segmentation
    name: tiny
    epochs: 2
    batch_size: 2
    crop: [64, 64]
    scale: [1.0, 1.0]
    optimizer: {learning_rate: 0.05}
    schedule: {kind: poly}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the set, what was searched, trained and deployed for it."""
    folder = tmp_path_factory.mktemp("own")
    data = f"folder:{three_classes(folder / 'orchard', counts={'train': 4, 'val': 2, 'test': 1})}"
    (folder / "search.yaml").write_text(SEARCH)
    (folder / "train.yaml").write_text(TRAIN)
    found, trained, bundle = (str(folder / name) for name in ("found", "trained", "bundle"))
    options = ["--target", "jetson-xavier", "--resolution", "64x96", "--strategy", "random"]
    assert search.main(["--data", data, *options, "--recipe", f"{folder}/search.yaml", "--out", found]) == 0
    recipe = ["--recipe", f"{folder}/train.yaml", "--workers", "0", "--out", trained]
    assert train.main([f"{found}/chosen.yaml", "--data", data, *recipe]) == 0
    built = ["--target", "local-cpu", "--resolution", "64x96", "--out", bundle]
    assert deploy.main([f"{trained}/architecture.yaml", *built]) == 0
    return folder


def test_names_and_colours_travel_with_the_architecture_into_the_bundle(work: Path) -> None:
    for file in ("found/chosen.yaml", "trained/architecture.yaml"):
        labels = load_architecture(work / file).labels
        assert {label.name: label.color for label in labels} == THREE
    labels = json.loads((work / "bundle" / "labels.json").read_text())
    assert {entry["name"]: tuple(entry["color"]) for entry in labels["classes"]} == THREE


def test_what_ships_is_as_right_as_what_was_trained(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for network in ("trained/architecture.yaml", "bundle"):
        line = [str(work / network), "--data", f"folder:{work}/orchard", "--split", "test", "--json"]
        assert evaluate.main(line) == 0
        documents.append(json.loads(capsys.readouterr().out))
    trained, shipped = documents
    assert list(trained["iou_percent"]) == list(shipped["iou_percent"]) == list(THREE)
    assert shipped["miou_percent"] == pytest.approx(trained["miou_percent"], abs=0.5)


def test_an_image_gets_labels_and_the_users_colours(work: Path, tmp_path: Path) -> None:
    image = next((work / "orchard" / "images" / "test").iterdir())
    assert run.main([str(work / "bundle"), str(image), "--out", str(tmp_path), "--repeats", "1"]) == 0
    (labels,) = tmp_path.glob("*labels*.png")
    found = np.asarray(Image.open(labels))
    assert found.shape == (64, 96)
    assert set(np.unique(found)) <= {0, 1, 2}


def test_a_bundle_is_not_compared_with_other_classes(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = three_classes(tmp_path / "other", counts={"val": 1})
    names = [{"name": name, "color": list(color)} for name, color in THREE.items()]
    describe(other, classes=[*names[:2], {"name": "nut", "color": [9, 9, 9]}], splits=_VAL)
    assert evaluate.main([str(work / "bundle"), "--data", f"folder:{other}"]) == 2
    line = capsys.readouterr().err.strip()
    assert "class 2 is fruit in the one and nut in the other" in line


_VAL = {"val": {"images": "images/val", "labels": "labels/val"}}
