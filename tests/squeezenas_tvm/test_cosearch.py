"""A student's grid from its search beside a teacher to a network that runs on this machine, and its page."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.architecture import load_architecture
from squeezenas_tvm import deploy, evaluate, predict, report, run, search, train

from .browser import CUT_OFF, NOT_DRAWN, Browser
from .pages import Page
from .test_add_a_space import TRAIN

SPACE = "fasterseg-student:layers=8,base=3"
DATA = "synthetic:4:64x64"
RECIPE = """
schema_version: 1
kind: cosearch
name: tiny
summary: a step of each kind
crop: [64, 64]
scale: [1.0, 1.0]
batch_size: 2
workers: 0
pretraining: {epochs: 1, crop: [64, 64], batch_size: 2}
epochs: 1
logits: {learning_rate: 0.1}
frames: 1
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of two steps, by the Xavier's prior."""
    folder = tmp_path_factory.mktemp("cosearch")
    (folder / "tiny.yaml").write_text(RECIPE)
    words = ["--target", "jetson-xavier", "--data", DATA, "--recipe", str(folder / "tiny.yaml")]
    words += ["--space", SPACE, "--strategy", "cosearch", "--resolution", "64x64", "--budget", "4ms"]
    assert search.main([*words, "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_the_page_draws_the_grid(searched: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert report.main([str(searched), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    chosen = load_architecture(searched / "chosen.yaml")
    space = chosen.search_space
    drawing = space.drawing(chosen.genotype)  # type: ignore[attr-defined]
    doubled = sum(len(box.branches) == 2 for box in drawing.boxes)
    assert page.tags.count("rect") == len(drawing.boxes) + doubled  # shared cells once, in a double frame
    strips = [name for name in page.charts if name.split(".")[0] in ("branches", "path", "cells", "width")]
    assert sorted(strips) == sorted(decision.name for decision in space.decisions)
    in_use = len(strips) - len(space.idle(chosen.genotype))  # type: ignore[attr-defined]
    assert page.words.count("● ") == in_use + 1  # the sentence above them says what it is
    assert page.text.count('class="on"') == in_use
    for box in drawing.boxes:
        words = [*box.label, f"{box.detail} ↓" if box.down else box.detail]
        assert all(f">{word}</text>" in text.replace("&gt;", ">") for word in words)
    assert page.words.count("heads") == 2
    assert "(dashed)" in page.words
    rows = [row for row in page.rows if len(row) == 3 and row[0].isdecimal()]
    assert [row[0] for row in rows] == [str(layer) for layer in range(8)]
    for branch, column in enumerate((1, 2)):
        assert [row[column] for row in rows].count("-") == 8 - len(drawing.way(branch))
    assert "Warning: the search ended nearly undecided: student on operation" in page.words
    sure = [row[1] for row in page.rows if row[0] == "teacher"]
    assert sure == ["operation", "path"]
    assert "each judged by the supernet's head on its pair of branches" in page.words
    assert "not finished" not in page.words


def test_of_many_options_the_likeliest_are_told(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths of a grid of 16 layers are such; here widths and operations stand for them."""
    monkeypatch.setattr("squeezenas_tvm.reports.search._MOST_COLUMNS", 4)
    assert report.main([str(searched), "--out", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    chosen = load_architecture(searched / "chosen.yaml")
    idle = chosen.search_space.idle(chosen.genotype)  # type: ignore[attr-defined]
    for name in ("cells.deep.0", "width.deep.0", "width.fine.6"):
        _, option, others, count = page.row(name)
        assert option.split(" ")[0] == ("-" if name in idle else chosen.genotype[name])
        assert (others.count(" %"), count) == (3, "5")
    assert "width.fine.6" in idle  # the last cell's width is not chosen
    assert page.row("branches")[1:] == ["50", "50"]


@pytest.mark.parametrize("width", [400, 1600])
def test_how_its_choices_moved_is_drawn_whole(searched: Path, width: int, tmp_path: Path) -> None:
    assert report.main([str(searched), "--out", str(tmp_path / "page.html")]) == 0
    decisions = len(load_architecture(searched / "chosen.yaml").search_space.decisions)
    with Browser(tmp_path / "browser") as browser:
        browser.see((tmp_path / "page.html").as_uri(), width)
        assert browser.tell("document.querySelectorAll('.strip svg[data-frame]').length") == decisions
        assert browser.tell(NOT_DRAWN) == 0
        assert browser.tell(CUT_OFF) == []
        assert browser.complaints == []


def test_from_the_search_to_the_device(
    searched: Path, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.yaml").write_text(TRAIN)
    trained, bundle = str(tmp_path / "trained"), str(tmp_path / "bundle")
    for name in ("chosen", "teacher"):
        assert predict.main([str(searched / f"{name}.yaml"), "--target", "jetson-xavier", "--json"]) == 0
        (network,) = json.loads(capfd.readouterr().out)["networks"]
        assert network["latency_ms"]["median"] > 0
    how = ["--data", DATA, "--recipe", f"{tmp_path}/train.yaml", "--workers", "0", "--out"]
    assert train.main([str(searched / "teacher.yaml"), *how, f"{tmp_path}/teacher"]) == 0
    taught = ["--teacher", f"{tmp_path}/teacher/architecture.yaml"]
    assert train.main([str(searched / "chosen.yaml"), *how, trained, *taught]) == 0
    assert json.loads((tmp_path / "trained" / "best.json").read_text())["teacher"]["name"] == "teacher"
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
