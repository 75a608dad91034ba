"""Published networks beside found ones: their latencies are the sums of the search's own costs."""

import json
import shutil
from pathlib import Path

import pytest

from search.architecture import load_architecture
from search.results import document
from squeezenas_tvm.reports.blocks import beside_published
from squeezenas_tvm.reports.published import of_the_space, trained_below
from squeezenas_tvm.reports.write import write_report

from ..helpers import ROOT
from ..pages import Page

RESULTS = ROOT / "benchmarks/results/camvid"
SEARCH, TRAINING = RESULTS / "search-local-cpu", RESULTS / "found-local-cpu"


def test_shipped_networks_of_the_space_have_the_costs_of_the_search() -> None:
    told = document.load(SEARCH)
    found = {one.name: one for one in of_the_space(told)}
    assert set(found) == {"squeezenas-lat-small", "squeezenas-mac-small", "squeezenas-lat-small-camvid"}
    own = found["squeezenas-lat-small"]
    blocks = load_architecture("squeezenas-lat-small").blocks
    assert list(own.options) == blocks
    costs = told.latency_s.positions
    seconds = told.latency_s.around + sum(costs[i][block] for i, block in enumerate(blocks or []))
    assert own.latency_ms == pytest.approx(1e3 * seconds)
    assert (own.miou_percent, own.conditions) == (68.02, "Cityscapes val, 1024x2048, batch 1")
    assert told.chosen is not None
    sums = told.latency_s.around + sum(costs[i][o] for i, o in enumerate(told.chosen.options))
    assert sums == pytest.approx(told.chosen.latency_s, rel=0.05)  # so that both may stand on one axis


def test_networks_trained_below_a_search_are_beside_them(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SEARCH, tmp_path / "search"))
    shutil.copytree(TRAINING, folder / "trained")
    told = document.load(folder)
    (own,) = trained_below(folder, told)
    best = json.loads((TRAINING / "best.json").read_text())
    assert (own.name, own.miou_percent) == ("trained", best["miou_percent"])
    assert own.conditions == "camvid val, trained here"
    page = Page(write_report(folder).page.read_text(encoding="utf-8"))
    said = f"trained\n{own.latency_ms:.3g} ms, mIoU {own.miou_percent:.4g} %"
    assert any(mark.startswith(said) for mark in page.marks)
    assert page.words.count("camvid val, trained here") == 1  # in the legend


def test_blocks_are_beside_each_other_and_add_up(tmp_path: Path) -> None:
    told = document.load(SEARCH)
    assert told.chosen is not None
    text = f"<html><body>{beside_published(told)}</body></html>"
    rows = text.split("<tr>")[2:]
    assert len(rows) == 21
    names = ["found", "squeezenas-mac-small", "squeezenas-lat-small"]
    assert [name for name in names if f'scope="col">{name}</th>' in text] == names
    cells = [[cell.split("</td>")[0].rpartition(">")[2] for cell in row.split("<td")[1:]] for row in rows]
    assert [row[0].split()[0] for row in cells[:-1]] == list(told.chosen.options)
    for column in range(3):
        shares = [float(row[column].split()[-1].removesuffix("%")) for row in cells]
        assert sum(shares) == pytest.approx(100, abs=1.1)
    assert text.count('class="part') == sum(not row[c].endswith(" 0.0%") for row in cells for c in range(3))


def test_without_other_networks_of_the_space_there_is_nothing() -> None:
    told = document.load(SEARCH)
    assert beside_published(told.model_copy(update={"space": "none"})) == ""
    assert of_the_space(told.model_copy(update={"task": "depth"})) == []
