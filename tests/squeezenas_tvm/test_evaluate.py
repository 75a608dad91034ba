"""The evaluate command: trained weights and the bundle that ships give the same accuracy."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from search.architecture import Architecture, load_architecture
from search.data import open_data
from search.data.loaders import eval_loader
from search.networks.network import Network, build_network
from search.networks.weights import save_weights
from search.tasks.evaluation import evaluate_network
from search.tasks.segmentation import Segmentation
from search.tasks.segmentation_metrics import iou_per_category, iou_per_class, mean_iou, pixel_accuracy
from squeezenas_tvm.deploy import main as deploy
from squeezenas_tvm.evaluate import main
from squeezenas_tvm.report import main as report

from ..targets.conftest import open_yard
from .helpers import NAME, SIZE, command, deploy_arguments, finish, refused_by

SCENES = "synthetic:10:96x160"  # two frames to validate
WITHOUT_TORCH = """
import sys
from squeezenas_tvm.__main__ import main
code = main(sys.argv[1:])
assert sys.modules.get("torch") is None, "PyTorch was imported"
raise SystemExit(code)
"""
check_refused = partial(refused_by, main)


def network_of(architecture: Architecture) -> Network:
    """Random weights, with batch statistics and biases of scenes, so that many classes are given."""
    torch.manual_seed(11)
    network = build_network(architecture)
    (images, _), *_ = eval_loader(open_data(SCENES).frames("train"), batch_size=8, workers=0)
    with torch.inference_mode():
        for _ in range(50):
            network(images)
        network.eval()
        network.state_dict()["decoder.classify_high.bias"].sub_(network(images).mean((0, 2, 3)))
    return network


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of(load_architecture(NAME))


@pytest.fixture(scope="module")
def weights(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, {name: values.numpy() for name, values in network.state_dict().items()})
    return path


@pytest.fixture(scope="module")
def bundle(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "lat-small"
    options = ["--weights", str(weights), "--trials", "0", "--measurements", str(out.parent)]
    assert deploy(deploy_arguments(out, *options)) == 0
    return out


def scores(capfd: pytest.CaptureFixture[str], *argv: str) -> dict[str, object]:
    assert main([*argv, "--json"]) == 0
    found: dict[str, object] = json.loads(capfd.readouterr().out)
    return found


def test_scores_are_those_of_the_confusion_matrix(
    network: Network, weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = scores(capfd, NAME, "--weights", str(weights), "--data", SCENES)
    data = open_data(SCENES)
    meter = Segmentation().meter(data)
    frames = eval_loader(data.frames("val"), batch_size=1, workers=0)
    evaluate_network(network, frames, Segmentation(), meter)
    counts = meter.counts
    assert (found["network"], found["split"], found["frames"], found["resolution"]) == (
        NAME,
        "val",
        2,
        "96x160",
    )
    assert found["miou_percent"] == pytest.approx(100 * mean_iou(counts), abs=0.05)
    assert found["pixel_accuracy_percent"] == pytest.approx(100 * pixel_accuracy(counts), abs=0.05)
    expected = iou_per_class(counts)
    assert list(found["iou_percent"]) == data.class_names  # type: ignore[call-overload]
    for iou, wanted in zip(found["iou_percent"].values(), expected, strict=True):  # type: ignore[attr-defined]
        assert iou is None if np.isnan(wanted) else iou == pytest.approx(100 * wanted, abs=0.2)
    categories = iou_per_category(counts, data.categories)
    assert found["category_iou_percent"] == pytest.approx(
        {name: None if np.isnan(iou) else 100 * iou for name, iou in categories.items()}, abs=0.2
    )


def test_a_bundle_is_as_right_as_its_weights(
    bundle: Path, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    split = ["--data", SCENES, "--split", "test"]
    torch_scores = scores(capfd, NAME, "--weights", str(weights), "--resolution", str(SIZE), *split)
    code, out, said = finish(
        command(*("evaluate", str(bundle), *split, "--json"), cwd=tmp_path, program=["-c", WITHOUT_TORCH])
    )
    assert code == 0, said
    bundle_scores = json.loads(out)
    for name in ("miou_percent", "pixel_accuracy_percent", "iou_percent", "category_iou_percent"):
        assert bundle_scores[name] == pytest.approx(torch_scores[name], abs=0.1), name
    hit = [iou for iou in bundle_scores["iou_percent"].values() if iou]
    assert len(hit) > 3
    assert bundle_scores["resolution"] == torch_scores["resolution"] == str(SIZE)
    assert bundle_scores["runs"] == f"bundle {bundle}"
    assert "evaluate 2/2" in said


def test_a_board_is_as_right_as_this_machine(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = [str(bundle), "--data", SCENES, "--split", "test"]
    here = scores(capfd, *given)
    with open_yard() as yard:
        yard.board(key="local-cpu")
        there = scores(capfd, *given, "--tracker", yard.address)
        named = scores(capfd, *given, "--tracker", yard.address, "--target", "local-cpu")
    assert there == named
    assert there.pop("runs") == f"bundle {bundle} on a board at {yard.address}"
    assert here.pop("runs") == f"bundle {bundle}"
    assert there == here


def test_text(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NAME, "--weights", str(weights), "--data", SCENES, "--resolution", "64x64"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].split() == ["class", "IoU", "%"]
    assert lines[2].split()[0] == "road"
    assert "construction" in said
    assert lines[-2] == f"{NAME} (PyTorch on cpu, 64x64) on 2 frames of synthetic val:"
    assert lines[-1].startswith("mIoU ")
    assert ", over categories " in lines[-1]
    assert ", pixels right " in lines[-1]


def test_published_weights_on_real_frames(shared_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    published = shared_data / "squeezenas" / "lat_small.pth"
    folder = shared_data / "cityscapes-sample"
    given = [NAME, "--weights", str(published), "--data", f"cityscapes:{folder}"]
    found = scores(capfd, *given, "--resolution", "512x1024")
    assert found["frames"] == 2
    assert found["pixel_accuracy_percent"] > 85  # type: ignore[operator]


def test_what_does_not_fit(
    bundle: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_refused([NAME, "--data", SCENES], "--weights FILE is missing", capsys)
    check_refused([f"{NAME}-camvid", "--data", SCENES], "camvid.safetensors does not fit", capsys)  # its own
    check_refused(
        [str(bundle), "--data", SCENES, "--weights", str(weights)],
        f"--weights is for architectures; the bundle {bundle} has its own",
        capsys,
    )
    given = [NAME, "--weights", str(weights), "--data"]
    check_refused([*given, "synthetik"], "unknown data set 'synthetik', did you mean synthetic?", capsys)
    check_refused([*given, SCENES, "--resolution", "9x9"], "nearest that works is 64x64", capsys)
    check_refused([*given, SCENES, "--tracker", "a:1"], "--tracker is for bundles; make one", capsys)
    check_refused([*given, SCENES, "--target", "local-cpu"], "--target is for bundles; make one", capsys)
    check_refused(
        [str(bundle), "--data", SCENES, "--target", "local-cpu"], "--target is for --tracker HOST", capsys
    )
    check_refused(
        [str(bundle), "--data", SCENES, "--tracker", "127.0.0.1:1"], "Connection refused", capsys, exit_code=1
    )
    check_refused([str(tmp_path), "--data", SCENES], "is not a bundle: it has no manifest.json", capsys)


def test_classes_of_other_data(
    bundle: Path, weights: Path, tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camvid = ["--data", f"camvid:{shared_data / 'camvid'}", "--split", "val"]
    check_refused(
        [str(bundle), *camvid],
        "tells 19 classes apart (road, sidewalk, ...), and camvid has 11 (sky, building, ...); deploy",
        capsys,
    )
    check_refused([NAME, "--weights", str(weights), *camvid], "weights of another network", capsys)


def test_what_is_kept_is_shown_by_report(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "val"
    told = scores(capfd, str(bundle), "--data", SCENES, "--out", str(out))
    kept = json.loads((out / "evaluation.json").read_text())
    assert kept["scores"]["miou_percent"] == told["miou_percent"]
    assert sorted(path.name for path in out.glob("*.png")) == [
        *("best-found.png", "best-truth.png", "median-found.png", "median-truth.png"),
    ]  # two frames: none is left to be the worst
    assert main([str(bundle), "--data", SCENES, "--out", str(out)]) == 0
    assert f"Kept in {out}: squeezenas-tvm report {out}" in capfd.readouterr().out
    assert report([str(out)]) == 0
    assert (out / "report.html").is_file()
    capfd.readouterr()
    (out / "best-found.png").write_bytes(b"mine")
    check_refused([str(bundle), "--data", SCENES, "--out", str(out)], "best-found.png: there already", capfd)
