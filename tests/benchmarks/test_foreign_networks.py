"""Networks of other people deployed, beside onnxruntime and beside their prediction."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_networks import (
    Setting,
    _apart,
    _told_again,
    _write_all,
    left_out_ms,
    line_of,
    row_of,
    summary_line,
    summary_of,
)
from records import Records

from cost_models.database.network_records import AboutFile, WholeNetwork
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.kernel_models.accuracy import Errors
from cost_models.network_models.network_model import NetworkModel
from cost_models.onnx_io.importer import read_onnx
from search.resolution import Resolution
from squeezenas_tvm.errors import FailedWork

from ..cost_models.onnx_models import CONV, WEIGHTS, node
from ..cost_models.onnx_models import model as onnx_model

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


def row(name: str, took_ms: float, low: float, median: float, high: float, **more: object) -> dict[str, Any]:
    told = {"low": low, "median": median, "high": high}
    found = {"network": name, "resolution": "64x128", "predicted_ms": told, "tvm_ms": {"median": took_ms}}
    return found | {"tvm_to_onnxruntime": took_ms / 2, "difference": 1e-6} | more


def test_rows_are_summed_up() -> None:
    rows = [
        row("a", 10.0, 9.0, 10.0, 12.0),
        row("b", 10.0, 4.0, 8.0, 9.0, difference=1e-5),
        row("c", 10.0, 8.0, 9.0, 18.0, left_out=True),
        {"network": "d", "resolution": "64x128", "error": "export: no"},
    ]
    told = summary_of(rows)
    assert (told["networks"], told["ran"], told["left_out"]) == (4, 3, 1)
    assert told["inside"] == pytest.approx(2 / 3)
    assert told["median_error"] == pytest.approx(0.1)
    assert told["tvm_to_onnxruntime"] == {"median": 5, "a 64x128": 5, "b 64x128": 5, "c 64x128": 5}
    assert told["worst_difference"] == 1e-5
    assert summary_line(told).startswith(
        "3 of 4 networks ran; 67% inside their 90 % interval (up to 1.20 times the prediction in the "
        "median), median error 10.0%, 1 of them by a fit to others; 5.00 of onnxruntime's time in the median"
    )


def test_a_network_that_calibrates_is_told_by_the_others(tmp_path: Path) -> None:
    path, folder = tmp_path / "net.onnx", tmp_path / "profile"
    onnx.save(onnx_model([CONV, node("Relu", ["c"], ["y"])], WEIGHTS), path)
    setting, told_ms = replace(SETTING, measurements=folder), {"median": 4.0, "low": 3.0, "high": 6.0}
    assert left_out_ms(path, SETTING, told_ms) is None
    assert left_out_ms(path, setting, told_ms) is None
    LatencyTable("local-cpu", {"device": "made up"}, {"k": Row("default", 1, (1e-3,))}).save(
        folder, made_by="a test"
    )
    errors = Errors(1, 0.1, 0.1, 0.0, 1.0, 1.0, 1.0, 0.0)
    model = NetworkModel(
        fingerprint={"device": "made up"},
        width=0.1,
        range_s=(1e-3, 2e-3),
        errors=errors,
        plain_errors=errors,
        left_out=(math.log(1.5),),
    )
    digest = read_onnx(path).digest
    for known, expected in ((digest, {"median": 3.0, "low": 2.25, "high": 4.5}), ("other", None)):
        whole = WholeNetwork(AboutFile("net.onnx", "1x8x16x32", known), ((2e-3,),), 1e-3)
        model.save(folder, [whole], made_by="a test")
        found = left_out_ms(path, setting, told_ms)
        assert found == (expected if expected is None else pytest.approx(expected))


def test_files_are_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names, sizes = ["squeezenas-lat-small"], [SIZE]
    for said in ("squeezenas-lat-small-64x128.onnx", ""):
        _write_all(names, sizes, tmp_path, 100.0)
        assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["squeezenas-lat-small-64x128.onnx"]


def test_predictions_alone_are_made_anew(tmp_path: Path) -> None:
    kept = Records(tmp_path / "rows.jsonl")
    about = {"target": "local-cpu", "trials": 0, "threads": 1}
    kept.add(row("squeezenas-lat-small", 10.0, 1.0, 2.0, 3.0, **about))
    timed = Records(tmp_path / "rows.jsonl")
    first, other = (
        _told_again(timed)(name, SIZE, SETTING, tmp_path) for name in ("squeezenas-lat-small", "enet")
    )
    assert first["tvm_ms"] == {"median": 10.0}
    assert first["predicted_ms"] != {"low": 1.0, "median": 2.0, "high": 3.0}
    assert first["predicted_ms"]["low"] < first["predicted_ms"]["median"] < first["predicted_ms"]["high"]
    assert other["error"] == "not among the rows that were timed"


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
