"""Decoders over an encoder of one's choice, by the commands: told, trained, deployed, run."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cost_models.ir.weights import random_weights
from search.architecture import load_architecture
from search.networks.weights import load_weights, save_weights
from squeezenas_tvm import deploy, networks, predict, report, run, search, train

from ..search.strategies.helpers import DECODERS, PPO, PROGRESSIVE
from ..search.strategies.sampling.decoders import encoder_weights
from ..search.training.helpers import finished, torchrun
from .helpers import refused_by

SIZE = ["--resolution", "64x96"]
DECODER = '["8", 0 0 5 2, 0 2 8 8, 0 5 1 4, 2 2, 2 1, 2 0]'
RECIPE = """\
schema_version: 1
name: few
summary: a few steps, with auxiliary cells
stages:
  - {kind: segmentation, name: few, epochs: 1, batch_size: 4, crop: [64, 64], auxiliary: 0.15,
     optimizer: {learning_rate: 1.0e-9}, schedule: {kind: poly, power: 0.9}, loss: {kind: cross_entropy}}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A decoder over the encoder of a shipped network."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"space: fastdense@squeezenas-mac-small\nblocks: {DECODER}\nclasses: cityscapes\n")
    return path


def test_the_released_networks_are_told_without_the_device(capfd: pytest.CaptureFixture[str]) -> None:
    target = ["--target", "jetson-xavier", *SIZE, "--json"]
    assert networks.main(["--space", "fastdense", *target]) == 0
    found = json.loads(capfd.readouterr().out)
    assert {network["name"] for network in found} == {f"fastdense-arch{index}" for index in range(3)}
    assert all(network["estimated_latency_ms"]["median"] > 0 for network in found)
    assert networks.main(["--space", "fastdense-templates", *target]) == 0
    assert len(json.loads(capfd.readouterr().out)) == 2
    assert predict.main(["fastdense-arch0", *target]) == 0
    (network,) = json.loads(capfd.readouterr().out)["networks"]
    assert any("relu6" in kernel["kernel"] for kernel in network["kernels"])


def test_over_an_encoder_of_ones_choice(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert networks.main([str(mine), *SIZE, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)
    assert network["params"] == load_architecture(mine).network().num_parameters


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        ("0 0 5 2, 0 6 8 8, 0 5 1 4, 2 2, 2 1, 2 0", "cell.2.right.from is 6; allowed: 0 to 4 (input, "),
        ("0 0 5 2, 0 2 8 8, 0 5 1 4, 3 3, 2 1, 2 0", "block.0.left is 3; allowed: 0 to 2 (1/4, 1/8, 1/16)"),
        ("0 0 10 10, 0 0 10 10, 0 1 10 10, 2 2, 2 1, 2 0", "the cell gives nothing"),
        ("0 0 5 2", "blocks are rows of 1, 4, 4, 4, 2, 2, 2 numbers with blanks between"),
    ],
)
def test_what_is_no_decoder(mine: Path, decoder: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    mine.write_text(f'space: fastdense@squeezenas-mac-small\nblocks: ["8", {decoder}]\n')
    refused_by(networks.main, [str(mine)], said, capfd)
    refused_by(predict.main, [str(mine), "--target", "jetson-xavier"], said, capfd)


def test_what_is_no_encoder(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = "unknown encoder 'squeezenas-lat-smal', did you mean squeezenas-lat-small?"
    refused_by(networks.main, ["--space", "fastdense@squeezenas-lat-smal"], said, capfd)
    argv = ["--target", "jetson-xavier", "--space", "fastdense@none", "--data", "synthetic"]
    refused_by(search.main, [*argv, "--out", str(tmp_path / "out")], "unknown encoder 'none'", capfd)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_it_is_trained_from_published_weights_deployed_and_run(
    mine: Path, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    donor = random_weights(load_architecture("squeezenas-mac-small").network())
    save_weights(tmp_path / "donor.safetensors", donor)
    (tmp_path / "few.yaml").write_text(RECIPE)
    argv = ["--data", "synthetic", "--recipe", f"{tmp_path}/few.yaml", "--workers", "0"]
    argv += ["--init", f"{tmp_path}/donor.safetensors", "--out", f"{tmp_path}/trained"]
    assert train.main([str(mine), *argv]) == 0
    trained = load_architecture(tmp_path / "trained" / "architecture.yaml")
    weights = load_weights(trained, tmp_path / "trained" / "best.safetensors")  # without auxiliary cells
    kept = [name for name in weights if name.startswith("encoder.") and name.endswith("conv.weight")]
    assert len(kept) > 40
    for name in kept:
        np.testing.assert_allclose(weights[name], donor[name.removeprefix("encoder.")], atol=1e-4)
    bundle = str(tmp_path / "bundle")
    deployed = [f"{tmp_path}/trained/architecture.yaml", "--target", str(quick), *SIZE, "--out", bundle]
    assert deploy.main(deployed) == 0
    capfd.readouterr()
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "image.png")
    assert run.main([bundle, f"{tmp_path}/image.png", "--out", f"{tmp_path}/seen", "--repeats", "1"]) == 0
    with Image.open(tmp_path / "seen" / "image-labels.png") as labels:
        assert labels.size == (96, 64)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A search of decoders by the controller that takes seconds."""
    scoring = {**PROGRESSIVE, "everything": None}
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(json.dumps({**yaml.safe_load(PPO), "scoring": scoring, "candidates": 2}))
    words = ["--target", "jetson-xavier", "--space", DECODERS.name, "--strategy", "ppo"]
    words += ["--data", "synthetic:4:64x64", "--recipe", str(recipe), "--out", str(tmp_path / "out"), *SIZE]
    return [*words, "--init", str(encoder_weights(tmp_path))]


def test_a_controller_searches_goes_on_and_is_reported(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert search.main([*words, "--budget", "20ms", "--json"]) == 0
    told = capfd.readouterr()
    document = json.loads(told.out)
    assert (document["strategy"], document["metric"]) == ("ppo", "combined accuracy")
    lines = [json.loads(line) for line in (out / "tried.jsonl").read_text().splitlines()]
    assert [line["options"] for line in lines] == [tried["options"] for tried in document["tried"]]
    assert all(line["seconds"] > 0 for line in lines)
    assert "network 1 of 2: combined accuracy" in told.err
    assert load_architecture(out / "chosen.yaml").space == DECODERS.name
    assert search.main([*words, "--budget", "20ms", "--networks", "3", "--resume"]) == 0
    assert len((out / "tried.jsonl").read_text().splitlines()) == 3
    report.main([str(out), "--out", str(out / "page.html")])
    assert "combined accuracy" in (out / "page.html").read_text()


def test_a_budget_that_no_decoder_meets_is_refused_with_the_range(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = "the cheapest network of the space takes 4.194 ms; the smallest budget that can be met is 4.194 ms"
    refused_by(search.main, [*words, "--budget", "0.1ms"], said, capsys)


def test_weights_of_another_encoder_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words[words.index("--space") + 1] = "fastdense@squeezenas-lat-small"
    refused_by(search.main, words, "encoder.safetensors does not fit encoder squeezenas-lat-small", capsys)


@pytest.mark.slow
def test_two_processes_score_a_network_each(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three networks, twice: the same log; and stopped by its end, gone on with by as many only."""
    logs = []
    for name in ("one", "two"):
        words[words.index("--out") + 1] = str(tmp_path / name)
        process = torchrun(2, "-m", "squeezenas_tvm.search", *words, "--networks", "3", cwd=tmp_path)
        code, _, said = finished(process, 300)
        assert code == 0, said
        lines = [json.loads(line) for line in (tmp_path / name / "tried.jsonl").read_text().splitlines()]
        logs.append([{**line, "seconds": None} for line in lines])
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]
    refused_by(search.main, [*words, "--networks", "4", "--resume"], "begun with 2 processes", capsys)
