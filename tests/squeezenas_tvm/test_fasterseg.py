"""The shipped student on this machine: told without it, deployed, run, at sides that 32 does not divide."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenas_tvm import deploy, networks, predict, run

SIZE = ["--resolution", "65x97"]


def test_it_is_told_without_the_device(capfd: pytest.CaptureFixture[str]) -> None:
    assert networks.main(["--space", "fasterseg-student", "--target", "jetson-xavier", *SIZE, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)
    assert network["name"] == "fasterseg-student"
    assert network["estimated_latency_ms"]["sources"] == {"prior": pytest.approx(1)}
    assert predict.main(["fasterseg-student", "--target", "jetson-xavier", *SIZE, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)["networks"]
    assert network["params"] == 3_421_875
    first = network["kernels"][0]["kernel"]
    assert first.startswith("normalize+pad 65x97x3->3x96x128")


@pytest.mark.slow
def test_it_is_deployed_and_run(quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = str(tmp_path / "bundle")
    assert deploy.main(["fasterseg-student", "--target", str(quick), *SIZE, "--out", bundle]) == 0
    assert "weights: random, so its labels mean nothing" in capfd.readouterr().out
    Image.fromarray(np.zeros((65, 97, 3), np.uint8)).save(tmp_path / "image.png")
    assert run.main([bundle, f"{tmp_path}/image.png", "--out", f"{tmp_path}/seen", "--repeats", "1"]) == 0
    assert "The weights are not trained" in capfd.readouterr().out
    with Image.open(tmp_path / "seen" / "image-labels.png") as labels:
        assert labels.size == (97, 65)
