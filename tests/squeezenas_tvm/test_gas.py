"""A chain of cells from its search to a network that runs on this machine, and the pages of both."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.architecture import load_architecture
from search.spaces.gas.chain import CellChain, Pyramid
from search.spaces.gas.space import GasSpace
from search.spaces.registry import SPACES
from squeezenas_tvm import deploy, evaluate, report, run, search, train

from .pages import Page
from .test_add_a_space import TRAIN

SPACE = GasSpace(
    name="cells",
    summary="after GAS, four cells",
    chain=CellChain(channels=4, cells=4, reductions=(1,), decoder=Pyramid(rates=(2,), channels=8)),
)
DATA = "synthetic:4:64x64"
RECIPE = """
schema_version: 1
kind: gas
name: tiny
summary: some steps
crop: [64, 64]
scale: [1.0, 1.0]
batch_size: 2
workers: 0
epochs: 2
logits: {learning_rate: 0.1}
judging: {networks: 2, frames: 1, calibration_batches: 1}
"""


@pytest.fixture(autouse=True, scope="module")
def _own_space() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SPACE.name, SPACE)
        yield


def words(folder: Path, *more: str) -> list[str]:
    given = ["--target", "jetson-xavier", "--data", DATA, "--recipe", str(folder / "tiny.yaml")]
    given += ["--space", "cells", "--strategy", "gas", "--resolution", "64x64"]
    return [*given, "--out", str(folder / "out"), *more]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of four steps, by the Xavier's prior."""
    folder = tmp_path_factory.mktemp("gas")
    (folder / "tiny.yaml").write_text(RECIPE)
    assert search.main(words(folder, "--budget", "4.5ms", "--message", "linear")) == 0
    return folder / "out"


def test_the_page_draws_every_cell(searched: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert report.main([str(searched), "--out", str(out)]) == 0
    page = Page(out.read_text(encoding="utf-8"))
    chosen = load_architecture(searched / "chosen.yaml")
    drawing = SPACE.drawing(chosen.genotype)
    wires = [wire for graph in drawing.graphs for wire in graph.wires if wire.operation]
    assert wires
    assert page.tags.count("circle") >= 4 * 4
    for graph in drawing.graphs:
        assert f"{graph.name}: {graph.detail}" in page.words
        assert page.row(graph.name)[1:6] == [wire.operation or "-" for wire in graph.wires]
    assert page.row("cells.3.1_2")  # of the final distribution
    assert "gas (after GAS)" in page.words
    assert "each judged by its path through the supernet (after GAS)" in page.words
    assert page.row("cells")[1] == "operation"
    assert "not finished" not in page.words


def test_the_command_says_what_it_found_and_of_which_reading(
    searched: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = searched.parent
    assert search.main(words(folder, "--budget", "4.5ms", "--message", "linear", "--resume")) == 0
    said = capfd.readouterr().out
    assert "after GAS" in said
    assert "input 0 > node 1" in said
    assert "8 channels at 1/8, halves the map" in said
    assert "Train it: " in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--message", "gnc"), "argument --message: invalid choice: 'gnc'"),
        (("--resource-weight", "-1"), "resource_weight: found -1"),
        (("--budget", "1GMACs"), "strategy gas pays for the latency's logarithm"),
        (("--resolution", "64x16"), "resolution"),
    ],
)
def test_what_it_does_not_take(
    more: tuple[str, ...], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    try:
        code = search.main(words(tmp_path, *more))
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == 2
    assert said in capfd.readouterr().err


def test_from_the_search_to_the_device(
    searched: Path, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.yaml").write_text(TRAIN)
    trained, bundle = str(tmp_path / "trained"), str(tmp_path / "bundle")
    how = ["--data", DATA, "--recipe", f"{tmp_path}/train.yaml", "--workers", "0", "--out"]
    assert train.main([str(searched / "chosen.yaml"), *how, trained]) == 0
    size = ["--target", str(quick), "--resolution", "64x64"]
    assert deploy.main([f"{trained}/architecture.yaml", *size, "--out", bundle]) == 0
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "image.png")
    assert run.main([bundle, f"{tmp_path}/image.png", "--out", f"{tmp_path}/seen", "--repeats", "1"]) == 0
    capfd.readouterr()
    scores = []
    for what in (f"{trained}/architecture.yaml", bundle):
        assert evaluate.main([what, "--data", DATA, "--json"]) == 0
        scores.append(json.loads(capfd.readouterr().out)["miou_percent"])
    assert scores[0] == pytest.approx(scores[1], abs=0.5)
    assert report.main([trained]) == 0
