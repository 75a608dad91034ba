"""Decoders over an encoder of one's choice, by the commands: told, trained, deployed, run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cost_models.ir.weights import random_weights
from search.architecture import load_architecture
from search.networks.weights import load_weights, save_weights
from squeezenas_tvm import deploy, networks, predict, run, search, train

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
