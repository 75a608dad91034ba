"""Searches at equal numbers of tried networks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from strategies import table_of, told_of, write_best

from search.architecture import load_architecture
from search.results.document import load
from search.strategies.sampling.tried import Tried
from squeezenas_tvm import search

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "strategies.py"


def log(folder: Path, *lines: tuple[str, float | None, float, str | None]) -> Path:
    """A search's log: name of the network, its score, its seconds, where it was given up."""
    rows = [
        {
            **Tried((name,), score, stopped=stopped, failed=None if score else "out of memory").plain(),
            "seconds": s,
        }
        for name, score, s, stopped in lines
    ]
    folder.mkdir()
    (folder / "tried.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_what_a_log_tells(tmp_path: Path) -> None:
    folder = log(
        tmp_path / "ppo",
        *(("a", 0.2, 20, None), ("b", 0.1, 10, "decoder"), ("c", 0.5, 20, None), ("c", 0.5, 0, None)),
        *(("d", None, 5, None), ("e", 0.3, 10, "decoder")),
    )
    told = told_of(folder, [2, 4, 9])
    assert (told["networks"], told["distinct"], told["given_up"], told["failed"]) == (6, 5, 2, 1)
    assert told["best"] == {2: 0.2, 4: 0.5}
    assert told["best_three"] == pytest.approx((0.5 + 0.3 + 0.2) / 3)  # c counts once
    assert told["networks_an_hour"] == pytest.approx(3600 * 6 / 65)
    assert told["whole_s"] == 20
    assert told["saved"] == pytest.approx(1 - 65 / (5 * 20))
    line = table_of([told], [2, 4, 9]).splitlines()[2]
    assert line.startswith("| ppo | 0.200 | 0.500 | - | 0.333 | 332 | 2 of 6 |")


RECIPE = """
schema_version: 1
kind: random
name: tiny
summary: four paths
crop: [64, 64]
batch_size: 2
workers: 0
scoring: {kind: paths, epochs: 1, calibration_batches: 1}
candidates: 4
frames: 1
"""


def test_the_best_are_written_as_architectures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    out = tmp_path / "random"
    words = ["--target", "jetson-xavier", "--data", "synthetic:2:64x64", "--strategy", "random"]
    words += ["--resolution", "64x128", "--recipe", str(tmp_path / "tiny.yaml"), "--out", str(out)]
    assert search.main(words) == 0
    capsys.readouterr()
    log = sorted(load(out).tried, key=lambda tried: tried.score or 0.0, reverse=True)
    files = write_best(out, tmp_path / "best")
    assert [file.name for file in files] == ["random-1.yaml", "random-2.yaml", "random-3.yaml"]
    found = [load_architecture(file) for file in files]
    assert [network.blocks for network in found] == [tried.options for tried in log[:3]]
    assert found[0].known_classes == "cityscapes"
    assert found[0].searched_for == "jetson-xavier"


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}: no tried.jsonl with networks; give folders of search ")
