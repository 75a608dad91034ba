"""Depth by the commands, from the search to metres of an image, and what does not fit it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.architecture import load_architecture
from search.data import open_data
from squeezenas_tvm import deploy, evaluate, report, run, search, train
from squeezenas_tvm.bundles.images import is_sealed_png
from squeezenas_tvm.bundles.values import is_sealed_npy

from .helpers import refused_by
from .test_own_data import SEARCH, TRAIN

SCENES, SIZE = "synthetic:4:64x96", ["--resolution", "64x96"]
DEPTH = TRAIN.replace("kind: segmentation", "kind: depth")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what was searched, trained and deployed."""
    folder = tmp_path_factory.mktemp("depth")
    (folder / "search.yaml").write_text(SEARCH)
    (folder / "train.yaml").write_text(DEPTH)
    options = [
        "--task",
        "depth",
        "--data",
        SCENES,
        "--target",
        "jetson-xavier",
        *SIZE,
        "--strategy",
        "random",
    ]
    recipe = ["--recipe", f"{folder}/search.yaml", "--out", f"{folder}/found"]
    assert search.main([*options, *recipe]) == 0
    how = ["--recipe", f"{folder}/train.yaml", "--workers", "0", "--out", f"{folder}/trained"]
    assert train.main([f"{folder}/found/chosen.yaml", "--data", SCENES, *how]) == 0
    built = ["--target", "local-cpu", *SIZE, "--out", f"{folder}/bundle"]
    assert deploy.main([f"{folder}/trained/architecture.yaml", *built]) == 0
    frame, _ = open_data(SCENES, "depth").frames("val")[0]
    Image.fromarray(frame).save(folder / "frame.png")
    return folder


def test_files_say_what_it_is_for(work: Path) -> None:
    for file in ("found/chosen.yaml", "trained/architecture.yaml"):
        assert load_architecture(work / file).task == "depth"
    best = json.loads((work / "trained" / "best.json").read_text())
    assert best["task"] == "depth"
    assert best["rmse_m"] > 0
    assert best["chosen_by"] == "RMSE on val"
    manifest = json.loads((work / "bundle" / "manifest.json").read_text())
    assert manifest["outputs"] == [
        {"name": "metres", "dtype": "float32", "shape": [1, 64, 96], "meaning": "metres"}
    ]
    assert json.loads((work / "bundle" / "labels.json").read_text())["classes"] == []


def test_what_ships_is_as_right_as_what_was_trained(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for network in ("trained/architecture.yaml", "bundle"):
        given = [str(work / network), "--data", "synthetic:4:64x96"]
        assert evaluate.main([*given, "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
        assert evaluate.main(given) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith("RMSE ")
    trained, shipped = documents
    assert (trained["task"], trained["frames"]) == ("depth", 1)
    for name in ("rmse_m", "relative_error_percent", "within_1.25_percent"):
        assert shipped[name] == pytest.approx(trained[name], rel=1e-3)


def test_an_image_gets_metres_and_their_colours(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(work / "bundle"), str(work / "frame.png"), "--out", str(tmp_path), "--repeats", "1"]
    assert run.main([*argv, "--json"]) == 0
    capsys.readouterr()
    metres, overlay = tmp_path / "frame-metres.npy", tmp_path / "frame-overlay.png"
    found = np.load(metres)
    assert (found.shape, found.dtype) == ((64, 96), np.float32)
    assert found.min() >= 0
    assert is_sealed_npy(metres)
    assert is_sealed_png(overlay)
    assert run.main(argv) == 0  # what is ours is written again
    assert f"metres 64x96 float32: {found.min():.4g} m to {found.max():.4g} m" in capsys.readouterr().out
    metres.write_bytes(metres.read_bytes()[:-1])
    refused_by(run.main, argv, "frame-metres.npy is there already, and was not written here", capsys)


def test_reports_of_its_search_and_its_training(work: Path, tmp_path: Path) -> None:
    for name, said in (("found", "RMSE in the search (m, lower is better)"), ("trained", "RMSE")):
        page = tmp_path / f"{name}.html"
        assert report.main([str(work / name), "--out", str(page)]) == 0
        text = page.read_text()
        assert said in text
        assert "mIoU" not in text
    assert "--recipe depth-small" in (tmp_path / "found.html").read_text()


def test_it_is_trained_from_a_network_for_another_task_and_from_a_teacher(work: Path, tmp_path: Path) -> None:
    """With its encoder, under another head."""
    how = ["--data", SCENES, "--recipe", f"{work}/train.yaml", "--workers", "0", "--task", "depth"]
    taught = ["--teacher", f"{work}/trained/architecture.yaml", "--out", f"{tmp_path}/taught"]
    assert train.main(["squeezenas-mac-small", *how, *taught]) == 0
    assert load_architecture(tmp_path / "taught" / "architecture.yaml").task == "depth"
    best = json.loads((tmp_path / "taught" / "best.json").read_text())
    assert best["teacher"]["name"] == "chosen"


def test_task_recipe_architecture_and_data_that_do_not_fit(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    recipe, chosen = ["--recipe", f"{work}/train.yaml"], str(work / "found" / "chosen.yaml")
    segmenting = "squeezenas-lat-small"
    (tmp_path / "camvid").mkdir()
    camvid = ["--data", f"camvid:{tmp_path}/camvid"]
    said = "is for segmentation, not for depth; allowed: nyudv2:FOLDER, synthetic, folder:FOLDER whose"
    refused_by(train.main, [chosen, *camvid, *recipe, *out], said, capsys)
    said = "recipe tiny is for depth, and squeezenas-lat-small is for segmentation; allowed: camvid,"
    refused_by(train.main, [segmenting, "--data", SCENES, *recipe, *out], said, capsys)
    said = "recipe camvid is for segmentation, and chosen is for depth; allowed: depth-small, or a file"
    refused_by(train.main, [chosen, "--data", SCENES, "--recipe", "camvid", *out], said, capsys)
    said = f"nyudv2:{tmp_path} is for depth, not for segmentation; allowed: camvid:FOLDER,"
    refused_by(
        train.main, [segmenting, "--data", f"nyudv2:{tmp_path}", "--recipe", "camvid", *out], said, capsys
    )
    said = "unknown task 'dept', did you mean depth?; allowed: segmentation, depth"
    refused_by(train.main, [chosen, "--data", SCENES, *recipe, *out, "--task", "dept"], said, capsys)
    given = ["--target", "jetson-xavier", *SIZE, "--strategy", "random", *out]
    refused_by(
        search.main, ["--task", "depth", *camvid, *given], "is for segmentation, not for depth", capsys
    )
    said = "recipe camvid: loss.kind: found 'cross_entropy'; allowed for depth: berhu, l1"
    searching = ["--task", "depth", "--data", SCENES, *given, "--recipe", "camvid"]
    refused_by(search.main, searching, said, capsys)
    for network in (chosen, str(work / "bundle")):
        refused_by(evaluate.main, [network, *camvid], "is for segmentation, not for depth", capsys)


def test_a_teacher_of_another_task(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--data", SCENES, "--recipe", f"{work}/train.yaml", "--out", str(tmp_path)]
    chosen = str(work / "found" / "chosen.yaml")
    said = "the teacher squeezenas-lat-small is for segmentation; allowed: networks for depth"
    refused_by(train.main, [chosen, *how, "--teacher", "squeezenas-lat-small"], said, capsys)


def test_architectures_for_depth_have_no_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    blocks = json.dumps(load_architecture("squeezenas-lat-small").blocks)
    path.write_text(f"space: squeezenas-small\nblocks: {blocks}\ntask: depth\nclasses: camvid\n")
    argv = [str(path), "--target", "local-cpu", "--out", str(tmp_path / "bundle")]
    refused_by(deploy.main, argv, "classes: networks for depth have none; leave them out", capsys)
