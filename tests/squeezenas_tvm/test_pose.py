"""Pose by the commands, from the search to key points of an image, and what does not fit it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.architecture import load_architecture
from search.data import open_data
from squeezenas_tvm import compare, deploy, evaluate, report, run, search, train
from squeezenas_tvm.bundles.images import is_sealed_png
from squeezenas_tvm.bundles.key_points import is_sealed_json
from squeezenas_tvm.bundles.runner import Bundle

from .helpers import refused_by
from .test_own_data import SEARCH, TRAIN

SCENES, SIZE = "synthetic:4:64x96", ["--resolution", "64x96"]
POSE = TRAIN.replace("kind: segmentation", "kind: pose").replace(
    "{learning_rate: 0.05}", "{kind: adam, learning_rate: 1.0e-3}"
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what was searched, trained and deployed."""
    folder = tmp_path_factory.mktemp("pose")
    (folder / "search.yaml").write_text(SEARCH)
    (folder / "train.yaml").write_text(POSE)
    options = ["--task", "pose", "--data", SCENES, "--target", "jetson-xavier", *SIZE]
    recipe = ["--strategy", "random", "--recipe", f"{folder}/search.yaml", "--out", f"{folder}/found"]
    assert search.main([*options, *recipe]) == 0
    how = ["--recipe", f"{folder}/train.yaml", "--workers", "0", "--out", f"{folder}/trained"]
    assert train.main([f"{folder}/found/chosen.yaml", "--data", SCENES, *how]) == 0
    built = ["--target", "local-cpu", *SIZE, "--out", f"{folder}/bundle"]
    assert deploy.main([f"{folder}/trained/architecture.yaml", *built]) == 0
    frame, _ = open_data(SCENES, "pose").frames("val")[0]
    Image.fromarray(frame).save(folder / "frame.png")
    return folder


def test_files_say_what_it_is_for(work: Path) -> None:
    for file in ("found/chosen.yaml", "trained/architecture.yaml"):
        assert load_architecture(work / file).task == "pose"
        assert "key_points: mpii" in (work / file).read_text()
    best = json.loads((work / "trained" / "best.json").read_text())
    assert best["task"] == "pose"
    assert 0 <= best["pckh_percent"] <= 100
    assert best["error_px"] > 0
    assert best["chosen_by"] == "PCKh@0.5 on val"
    assert len(best["pckh_percent_by_point"]) == 16
    manifest = json.loads((work / "bundle" / "manifest.json").read_text())
    assert manifest["outputs"] == [
        {"name": "key_points", "dtype": "float32", "shape": [1, 16, 3], "meaning": "key points"}
    ]
    labels = json.loads((work / "bundle" / "labels.json").read_text())
    assert labels["classes"] == []
    assert len(labels["key_points"]["names"]) == 16
    assert len(labels["key_points"]["skeleton"]) == 15


def test_what_ships_is_as_right_as_what_was_trained(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for network in ("trained/architecture.yaml", "bundle"):
        given = [str(work / network), "--data", SCENES]
        assert evaluate.main([*given, "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
        assert evaluate.main(given) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith("PCKh@0.5 ")
    trained, shipped = documents
    assert (trained["task"], trained["frames"]) == ("pose", 1)
    assert shipped["pckh_percent"] == trained["pckh_percent"]
    assert shipped["error_px"] == pytest.approx(trained["error_px"], rel=1e-3)
    assert shipped["pckh_percent_by_point"] == trained["pckh_percent_by_point"]


def test_an_image_gets_points_and_a_skeleton(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(work / "bundle"), str(work / "frame.png"), "--out", str(tmp_path), "--repeats", "1"]
    assert run.main([*argv, "--json"]) == 0
    capsys.readouterr()
    file, overlay = tmp_path / "frame-key_points.json", tmp_path / "frame-overlay.png"
    told = json.loads(file.read_text())
    assert (told["image"], told["height"], told["width"]) == ("frame.png", 64, 96)
    names = [point["name"] for point in told["points"]]
    assert names[:2] == ["r_ankle", "r_knee"]
    found = Bundle.load(work / "bundle").pose(np.asarray(Image.open(work / "frame.png")))
    for point, (x, y, score) in zip(told["points"], found.tolist(), strict=True):
        assert (point["x"], point["y"], point["score"]) == pytest.approx((x, y, score), abs=1e-3)
        assert -0.5 <= x <= 95.5
        assert -0.5 <= y <= 63.5
    assert is_sealed_json(file)
    assert is_sealed_png(overlay)
    assert run.main(argv) == 0  # what is ours is written again
    assert "frame.png: 16 key points, mean score " in capsys.readouterr().out
    file.write_bytes(file.read_bytes().replace(b"r_knee", b"l_knee"))
    refused_by(run.main, argv, "frame-key_points.json is there already, and was not written here", capsys)


def test_the_bundles_own_program_finds_the_same(work: Path, tmp_path: Path) -> None:
    larger = tmp_path / "large.ppm"
    Image.open(work / "frame.png").resize((192, 128)).save(larger)
    line = [sys.executable, work / "bundle" / "run.py", larger, "--out", tmp_path, "--repeats", "1"]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{larger}: 16 key points, mean score " in done.stdout
    told = json.loads((tmp_path / "large-key_points.json").read_text())
    found = Bundle.load(work / "bundle").pose(np.asarray(Image.open(larger)))
    for point, (x, y, score) in zip(told["points"], found.tolist(), strict=True):
        assert (point["x"], point["y"], point["score"]) == pytest.approx((x, y, score), abs=1e-3)


def test_reports_of_its_search_and_its_training(work: Path, tmp_path: Path) -> None:
    for name in ("found", "trained"):
        page = tmp_path / f"{name}.html"
        assert report.main([str(work / name), "--out", str(page)]) == 0
        text = page.read_text()
        assert "PCKh@0.5" in text
        assert "mIoU" not in text
    assert "--recipe pose-small" in (tmp_path / "found.html").read_text()


def test_networks_are_compared_by_it(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    argv = [str(work / "bundle"), "--target", "local-cpu", "--data", SCENES, "--json"]
    assert compare.main(argv) == 0
    (told,) = json.loads(capfd.readouterr().out)["networks"]
    assert told["miou_percent"] is told["rmse_m"] is None
    assert 0 <= told["pckh_percent"] <= 100


def test_task_recipe_architecture_and_data_that_do_not_fit(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    recipe, chosen = ["--recipe", f"{work}/train.yaml"], str(work / "found" / "chosen.yaml")
    (tmp_path / "camvid").mkdir()
    camvid = ["--data", f"camvid:{tmp_path}/camvid"]
    said = "is for segmentation, not for pose; allowed: mpii:FOLDER, synthetic, folder:FOLDER whose"
    refused_by(train.main, [chosen, *camvid, *recipe, *out], said, capsys)
    said = "recipe camvid is for segmentation, and chosen is for pose; allowed: pose-small, or a file"
    refused_by(train.main, [chosen, "--data", SCENES, "--recipe", "camvid", *out], said, capsys)
    for network in (chosen, str(work / "bundle")):
        refused_by(evaluate.main, [network, *camvid], "is for segmentation, not for pose", capsys)
    (tmp_path / "odd.yaml").write_text(POSE.replace("[64, 64]", "[66, 64]"))
    argv = [chosen, "--data", SCENES, "--recipe", f"{tmp_path}/odd.yaml", "--workers", "0", *out]
    refused_by(train.main, argv, "must be multiples of 4; the nearest that works is", capsys)
    argv = [chosen, "--target", "local-cpu", "--resolution", "66x96", "--out", f"{tmp_path}/bundle"]
    refused_by(deploy.main, argv, "must be multiples of 4; the nearest that works is 64x96", capsys)


def test_a_teacher_of_another_task_and_of_other_points(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--data", SCENES, "--recipe", f"{work}/train.yaml", "--out", str(tmp_path)]
    chosen = str(work / "found" / "chosen.yaml")
    said = "the teacher squeezenas-lat-small is for segmentation; allowed: networks for pose"
    refused_by(train.main, [chosen, *how, "--teacher", "squeezenas-lat-small"], said, capsys)
    other = tmp_path / "other.yaml"
    text = (work / "trained" / "architecture.yaml").read_text()
    other.write_text(text.replace("key_points: mpii", "key_points: {names: [head, l_hand, r_hand]}"))
    said = "tells other key points: 3, and the data 16; key point 0 is head there and r_ankle in the data"
    refused_by(train.main, [chosen, *how, "--teacher", str(other)], said, capsys)


def test_architectures_for_pose_name_their_key_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    blocks = json.dumps(load_architecture("squeezenas-lat-small").blocks)
    begin = f"space: squeezenas-small\nblocks: {blocks}\n"
    argv = [str(path), "--target", "local-cpu", "--out", str(tmp_path / "bundle")]
    for more, said in (
        ("task: pose\n", "key_points: missing; allowed for pose: mpii, or their names"),
        ("task: pose\nkey_points: mpi\n", "key_points: unknown list of key points 'mpi', did you mean mpii?"),
        ("task: pose\nkey_points: mpii\nclasses: camvid\n", "classes: networks for pose have none"),
        ("key_points: mpii\n", "key_points: networks for segmentation have none; leave them out"),
        ("task: pose\nkey_points: {names: [a, b], skeleton: [[a, c]]}\n", "skeleton: found 'c'"),
    ):
        path.write_text(begin + more)
        refused_by(deploy.main, argv, said, capsys)


@pytest.mark.slow  # it builds the example
def test_the_cpp_example_prints_the_same(work: Path, tmp_path: Path) -> None:
    if shutil.which("cmake") is None or shutil.which("g++") is None:
        pytest.skip("building the C++ example needs cmake and g++")
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    build = str(tmp_path / "build")
    for command in (["cmake", "-S", f"{work}/bundle/cpp", "-B", build], ["cmake", "--build", build]):
        subprocess.run(command, env=environ, check=True, capture_output=True)
    Image.open(work / "frame.png").save(tmp_path / "frame.ppm")
    line = [f"{build}/run_bundle", str(work / "bundle"), f"{tmp_path}/frame.ppm", "1"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    bundle = Bundle.load(work / "bundle")
    found = bundle.pose(np.asarray(Image.open(work / "frame.png"))).tolist()
    wanted = [
        f"{name}: {x:.1f} {y:.1f}, score {score:.2f}"
        for name, (x, y, score) in zip(bundle.key_points["names"], found, strict=True)
    ]
    assert done.stdout.splitlines()[1:] == wanted
