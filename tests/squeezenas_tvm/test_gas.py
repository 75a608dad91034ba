"""An architecture of the space after GAS: told without the device, deployed, run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.architecture import Architecture, architecture_of, dump_architecture, parse_architecture
from search.data.classes import CLASSES
from search.spaces.registry import get_space
from squeezenas_tvm import deploy, networks, predict, run

from .helpers import refused_by

SIZE = ["--resolution", "65x97"]


@pytest.fixture
def architecture() -> Architecture:
    """Every operation on some edge, zeros among them."""
    space = get_space("gas")
    drawn = {own.name: own.options[(3 * i + 1) % 8] for i, own in enumerate(space.decisions)}
    return architecture_of(space, drawn, CLASSES["camvid"], name="drawn")


@pytest.fixture
def file(architecture: Architecture, tmp_path: Path) -> str:
    path = tmp_path / "drawn.yaml"
    path.write_text(dump_architecture(architecture), encoding="utf-8")
    return str(path)


def test_it_is_told_without_the_device(file: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert networks.main([file, "--target", "jetson-xavier", *SIZE, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)
    assert network["space"] == "gas"
    assert network["estimated_latency_ms"]["sources"] == {"prior": pytest.approx(1)}
    assert predict.main([file, "--target", "jetson-xavier", *SIZE, "--json"]) == 0
    (predicted,) = json.loads(capfd.readouterr().out)["networks"]
    assert predicted["params"] == network["params"]
    kernels = [entry["kernel"].split()[0] for entry in predicted["kernels"]]
    assert kernels[0] == "normalize+pad"
    assert "max3x3+standardize+add" in kernels


def test_no_architecture_of_it_ships(capfd: pytest.CaptureFixture[str]) -> None:
    assert networks.main(["--space", "gas"]) == 0
    assert capfd.readouterr().out == "no architecture of space gas ships\n"
    assert networks.main(["--space", "gas", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == []


def test_its_file_is_read_back_and_faults_are_told(
    architecture: Architecture, file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = Path(file).read_text(encoding="utf-8")
    assert parse_architecture(text, file).genotype == architecture.genotype
    wrong = tmp_path / "wrong.yaml"
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("- "))
    lines[first] = lines[first].rpartition(" ")[0]
    wrong.write_text("\n".join(lines), encoding="utf-8")
    said = "cell 0 has 4 operations; allowed: 5, one an edge: in0_1, in1_1, in0_2, in1_2, 1_2"
    refused_by(predict.main, [str(wrong), "--target", "jetson-xavier"], said, capfd)


@pytest.mark.slow
def test_it_is_deployed_and_run(
    file: str, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = str(tmp_path / "bundle")
    assert deploy.main([file, "--target", str(quick), *SIZE, "--out", bundle]) == 0
    Image.fromarray(np.zeros((65, 97, 3), np.uint8)).save(tmp_path / "image.png")
    assert run.main([bundle, f"{tmp_path}/image.png", "--out", f"{tmp_path}/seen", "--repeats", "1"]) == 0
    with Image.open(tmp_path / "seen" / "image-labels.png") as labels:
        assert labels.size == (97, 65)
