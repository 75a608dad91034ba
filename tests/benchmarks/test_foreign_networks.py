"""Networks of other people deployed, beside onnxruntime and beside their prediction."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from foreign_networks import Setting, _apart, line_of, row_of

from search.resolution import Resolution
from squeezenas_tvm.errors import FailedWork

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "foreign_networks.py"
SETTING = Setting(target="local-cpu", trials=0, measurements=None, threads=1, rounds=1, runs=1, limit_s=300.0)
SIZE = Resolution(64, 128)


def test_a_row_that_fails_says_why_in_a_line(tmp_path: Path) -> None:
    row = row_of("enet", SIZE, replace(SETTING, limit_s=0.01), tmp_path)
    assert line_of(row) == "enet at 64x128: export: not done within 0 s"
    row = row_of("squeezenas-lat-small", SIZE, replace(SETTING, target="no-target"), tmp_path)
    assert line_of(row).startswith("squeezenas-lat-small at 64x128: predict: error: ")


def test_numbers_are_compared_by_the_largest_value(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.npz", tmp_path / "theirs.npz"
    np.savez(theirs, np.array([1.0, -4.0]), np.array([0.5]))
    np.savez(ours, np.array([1.0, -3.0]), np.array([0.5]))
    assert _apart(ours, theirs) == (0.25, 1 / 3)
    np.savez(ours, np.array([1.0, np.nan]), np.array([0.5]))
    with pytest.raises(FailedWork, match="no numbers"):
        _apart(ours, theirs)
    np.savez(ours, np.array([1.0]), np.array([0.5]))
    with pytest.raises(FailedWork, match="other shapes"):
        _apart(ours, theirs)


def test_unknown_networks_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "enett"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no network is enett, did you mean enet?; allowed: ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast-scnn", "squeezenas-lat-small"])
def test_a_network_runs_as_onnxruntime_does(name: str, tmp_path: Path) -> None:
    options = ["--resolution", "64x128", "--rounds", "1", "--runs", "2", "--threads", "1", "--json"]
    command = [sys.executable, str(SCRIPT), name, *options, "--out", "rows.jsonl"]
    for _ in range(2):  # the second time from what was kept
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=600)
        (row,) = json.loads(done.stdout)["rows"]
        assert row["difference"] < 1e-4
        assert row["tvm_ms"]["runs"] == row["onnxruntime_ms"]["runs"] == 2
        assert row["predicted_ms"]["low"] < row["predicted_ms"]["high"]
        assert row["slowest"][0]["calls"] >= 1
    assert len((tmp_path / "rows.jsonl").read_text().split("\n")) == 2
