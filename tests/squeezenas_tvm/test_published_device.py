"""Commands and a device that others measured: three answer for it, the others say why they cannot."""

import importlib
import json
from pathlib import Path

import pytest

from search.architecture import load_architecture
from squeezenas_tvm import estimate_latency, load_device
from squeezenas_tvm.networks import main as networks
from squeezenas_tvm.predict import main as predict
from squeezenas_tvm.report import main as report
from squeezenas_tvm.search import main as search
from squeezenas_tvm.targets import main as targets
from squeezenas_tvm.training.command import commands_after_training

from .helpers import refused_by
from .test_add_a_space import SEARCH

NAME = "gtx-1080-ti-tensorrt"
STUDENT = ["fasterseg-student", "--target", NAME]


def test_predict_adds_the_rows_up(capfd: pytest.CaptureFixture[str]) -> None:
    assert predict([*STUDENT, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    (network,) = document["networks"]
    assert document["target"] == NAME
    assert network["latency_ms"]["median"] == pytest.approx(5.701836, abs=5e-7)
    assert network["sources"] == {"measured by others": 1.0}
    assert network["macs"] == 27_770_486_784
    assert sum(kernel["calls"] for kernel in network["kernels"]) == 27
    assert {kernel["source"] for kernel in network["kernels"]} == {"measured by others"}
    assert predict(STUDENT) == 0
    said = capfd.readouterr().out
    assert "100% measured by others" in said
    assert "without normalisation" in said
    assert "nearest-neighbour" in said
    assert "tuned" not in said


def test_networks_shows_those_that_it_has_rows_of(capfd: pytest.CaptureFixture[str]) -> None:
    assert networks(["fasterseg-teacher", "squeezenas-lat-small", "--target", NAME]) == 0
    said = capfd.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert lines["fasterseg-teacher"].endswith("100% measured by others")
    assert lines["squeezenas-lat-small"].rstrip().endswith("-")
    assert f"-: {NAME} has no rows of squeezenas-small at 1024x2048." in said


def test_python_asks_it_too() -> None:
    total = estimate_latency(load_architecture("fasterseg-student"), load_device(NAME))
    assert total.median_s == pytest.approx(5.701836e-3, abs=5e-10)


def test_targets_tells_whose_table_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert targets([NAME, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["name"], document["kind"]) == (NAME, "table")
    assert targets([NAME]) == 0
    assert "MIT, " in capfd.readouterr().out


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("targets", ["check", NAME]),
        ("profile", ["--space", "fasterseg-student", "--target", NAME]),
        ("deploy", [*STUDENT, "--out", "bundle"]),
        ("board", ["--target", NAME, "--tracker", "127.0.0.1:9190"]),
    ],
)
def test_nobody_reaches_it(command: str, argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module(f"squeezenas_tvm.{command}").main
    refused_by(main, argv, f"target {NAME}: nobody here can reach it, it is a table that others ", capfd)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([*STUDENT, "--check"], f"--check: {NAME} is a table that others measured; leave it out"),
        ([*STUDENT, "--dtype", "float16"], "--dtype: gtx-1080-ti-tensorrt is a table"),
        ([*STUDENT, "--table", "results"], "leave --table out"),
        ([*STUDENT, "--resolution", "512x1024"], "no row in the table of gtx-1080-ti-tensorrt, which others"),
        (["unet.onnx", "--target", NAME], "unet.onnx: gtx-1080-ti-tensorrt is a table of operations"),
        (["squeezenas-lat-small", "--target", NAME], "no row in the table of gtx-1080-ti-tensorrt"),
    ],
)
def test_what_the_table_cannot_tell(argv: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    refused_by(predict, argv, said, capfd)


def test_after_a_training_another_device_is_named_to_deploy_to() -> None:
    _, deploy = commands_after_training(Path("a.yaml"), {"searched_for": NAME}, Path("out"))
    assert "--target local-cpu" in deploy


@pytest.mark.slow
def test_a_budget_that_no_network_meets(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "search.yaml").write_text(SEARCH)
    argv = ["--target", NAME, "--space", "fasterseg-student", "--strategy", "evolution", "--budget", "2ms"]
    argv += ["--recipe", str(tmp_path / "search.yaml"), "--data", "synthetic:2:64x64"]
    said = "budget 2 ms: the cheapest network of the space takes 3.695 ms"
    refused_by(search, [*argv, "--out", str(tmp_path / "out")], said, capfd)


@pytest.mark.slow
def test_a_search_goes_by_the_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "search.yaml").write_text(SEARCH)
    argv = ["--target", NAME, "--space", "fasterseg-student", "--strategy", "evolution", "--budget", "8ms"]
    argv += ["--recipe", str(tmp_path / "search.yaml"), "--data", "synthetic:2:64x64"]
    assert search([*argv, "--out", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["sources"] == {"measured by others": pytest.approx(1)}
    chosen = str(tmp_path / "out" / "chosen.yaml")
    assert predict([chosen, "--target", NAME, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)["networks"]
    assert network["latency_ms"]["median"] <= 8
    assert report([str(tmp_path / "out")]) == 0
    assert f"Search for {NAME}" in capfd.readouterr().out
