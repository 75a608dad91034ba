"""A table in one file: written, taken in elsewhere, and refused where it is not what an export wrote."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cost_models.database.table import LatencyTable
from squeezenas_tvm import predict, table
from squeezenas_tvm.profiling.shared_table import PROVENANCE
from targets import load_target

from .helpers import ROOT, fill, kernels_of, refused_by

SHIPPED = ROOT / "cost_models" / "local-cpu"
check_refused = partial(refused_by, table.main)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A table as a profile of a board leaves it."""
    folder = tmp_path / "profiled"
    folder.mkdir()
    replace(LatencyTable.load(SHIPPED), target="jetson-xavier").save(folder, made_by="a test")
    (folder / "notes.txt").write_text("of somebody's")
    return folder


@pytest.fixture
def shared(board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    file = tmp_path / "xavier.zip"
    assert table.main(["export", str(board), "--out", str(file)]) == 0
    capsys.readouterr()
    return file


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The archive with other contents, under another name."""
    with zipfile.ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    changed = file.with_name("changed.zip")
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return changed


def test_there_and_back(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shared" / "xavier.zip"
    assert table.main(["export", str(board), "--out", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    there = LatencyTable.load(board)
    assert (told["target"], told["rows"], told["machine"]) == (
        "jetson-xavier",
        len(there.rows),
        there.machine,
    )
    assert set(told["files"]) == {"table.json", "kernels.csv"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert table.main(["import", str(file)]) == 0
    said = capsys.readouterr().out
    assert "written: results/jetson-xavier" in said
    assert "next: squeezenas-tvm predict NETWORK --target jetson-xavier" in said
    assert LatencyTable.load("results/jetson-xavier") == there
    words = ["squeezenas-lat-small", "--target", "jetson-xavier", "--resolution", "256x512", "--json"]
    assert predict.main(words) == 0
    (network,) = json.loads(capsys.readouterr().out)["networks"]
    assert network["latency_ms"]["median"] > 0


def test_an_export_is_replaced_and_equal_but_for_its_time(
    shared: Path, board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def contents() -> dict[str, bytes]:
        with zipfile.ZipFile(shared) as archive:
            return {name: archive.read(name) for name in archive.namelist() if name != PROVENANCE}

    before = contents()
    assert table.main(["export", str(board), "--out", str(shared)]) == 0
    assert contents() == before


def test_measurements_travel_if_asked_for(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(board, load_target("jetson-xavier"), kernels_of()[:3])
    file = tmp_path / "all.zip"
    assert table.main(["export", str(board), "--out", str(file), "--measurements"]) == 0
    assert table.main(["import", str(file), "--out", str(tmp_path / "taken")]) == 0
    assert f"--table {tmp_path / 'taken'}" in capsys.readouterr().out
    assert (tmp_path / "taken" / "measurements.sqlite").stat().st_size > 0


def test_the_shipped_table_with_its_predictor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cpu.zip"
    assert table.main(["export", str(SHIPPED), "--out", str(file), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert {"predictor.json", "residual.json", "network.json", "networks.csv"} < files.keys()


def test_a_table_of_another_processor_does_not_fit_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = tmp_path / "other", tmp_path / "other.zip"
    folder.mkdir()
    there = LatencyTable.load(SHIPPED)
    replace(there, fingerprint={**there.fingerprint, "device": "Another CPU"}).save(folder, made_by="a test")
    assert table.main(["export", str(folder), "--out", str(file)]) == 0
    capsys.readouterr()
    words = ["import", str(file), "--out", str(tmp_path / "taken")]
    check_refused(words, "other.zip: was measured in another environment", capsys)
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda all_: all_.update({"kernels.csv": b"x"}), "kernels.csv differs from its checksum"),
        (lambda all_: all_.update({"kernels.csv": all_["kernels.csv"] * 2}), "kernels.csv is larger than it"),
        (lambda all_: all_.pop("kernels.csv"), "damaged, or holds what no profile writes: kernels.csv"),
        (lambda all_: all_.update({"../../evil": b""}), "holds what no profile writes: ../../evil"),
        (lambda all_: all_.pop(PROVENANCE), f"has no {PROVENANCE}; give what `table export` wrote"),
        (lambda all_: all_.update({PROVENANCE: b"{"}), f"{PROVENANCE}"),
        (
            lambda all_: all_.update(
                {PROVENANCE: all_[PROVENANCE].replace(b'"schema_version": 1', b'"schema_version": 9')}
            ),
            "schema 9, this program reads 1",
        ),
        (
            lambda all_: all_.update({PROVENANCE: all_[PROVENANCE].replace(b"jetson-xavier", b"my-board")}),
            "unknown target 'my-board'",
        ),
    ],
)
def test_what_no_export_wrote_is_refused(
    change: Callable[[dict[str, bytes]], None],
    said: str,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = rewritten(shared, change)
    check_refused(["import", str(changed), "--out", str(tmp_path / "taken")], said, capsys)
    assert not (tmp_path / "taken").exists()
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "profiled"], "give --out FILE.zip"),
        (["export", "profiled", "--out", "x.tar"], "--out x.tar: must end in .zip"),
        (["export", "profiled", "--out", "mine.zip"], "mine.zip"),
        (["export", "nothing", "--out", "x.zip"], "nothing/table.json"),
        (["export", "profiled", "--out", "x.zip", "--measurements"], "no measurements; leave --measurements"),
        (["export", "profiled", "--out", "x.zip", "--target", "local-cpu"], "it is for import"),
        (["import", "none.zip"], "none.zip: no such file"),
        (["import", "mine.zip"], "mine.zip: no archive"),
        (["import", "xavier.zip", "--out", "profiled"], "profiled: there already; name another folder"),
        (["import", "xavier.zip", "--out", "taken", "--target", "local-cpu"], "not of local-cpu"),
        (["import", "xavier.zip", "--measurements"], "--measurements is for export"),
    ],
)
def test_wrong_words(
    words: list[str],
    said: str,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.zip").write_text("mine")
    check_refused(words, said, capsys)
    assert Path("mine.zip").read_text() == "mine"
    assert not Path("x.zip").exists()


def test_an_archive_cut_off(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.zip"
    cut.write_bytes(shared.read_bytes()[:-100])
    check_refused(["import", str(cut), "--out", str(tmp_path / "taken")], "cut.zip: no archive", capsys)
    shutil.copyfile(shared, cut)
    content = bytearray(cut.read_bytes())
    content[len(content) // 2] ^= 0xFF
    cut.write_bytes(content)
    check_refused(["import", str(cut), "--out", str(tmp_path / "taken")], "kernels.csv", capsys)
