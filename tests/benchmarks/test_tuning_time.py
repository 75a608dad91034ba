"""How long a tuned bundle takes from nothing, in a run of seconds."""

import json
import sys
from pathlib import Path

import pytest
from tuning_time import line_of, main, trials_of

from ..squeezenas_tvm.helpers import quick_target


@pytest.mark.slow
def test_a_network_tuned_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(quick_target(tmp_path))
    kept = tmp_path / "rows.jsonl"
    words = ["squeezenas-lat-small", "--target", target, "--resolution", "32x64", "--effort", "quick"]
    monkeypatch.setattr(sys, "argv", ["x", *words, "--rounds", "1", "--out", str(kept), "--json"])
    main()
    captured = capsys.readouterr()
    (row,) = json.loads(captured.out)["rows"]
    assert row["trials"] >= row["kernels"] > 20
    assert 0 < row["default_s"] < row["tuned_s"]
    assert row["tuned_to_default"]["median"] == pytest.approx(
        row["latency_ms"]["tuned"] / row["latency_ms"]["default"], rel=1e-6
    )
    assert f"{row['trials']} trials" in captured.err
    main()  # finished rows are not measured again
    assert json.loads(capsys.readouterr().out)["rows"] == [row]


def test_a_row_for_people() -> None:
    row = {
        "network": "net",
        "resolution": "256x512",
        "effort": "quick",
        "kernels": 39,
        "tuned_kernels": 30,
        "trials": 250,
        "default_s": 12.3,
        "tuned_s": 145.0,
        "latency_ms": {"default": 5.0, "tuned": 4.5},
        "tuned_to_default": {"median": 0.9, "low": 0.88, "high": 0.93},
    }
    assert line_of(row) == (
        "net at 256x512, quick: 145 s for 39 kernels, 250 trials, 30 of them tuned; without tuning 12 s. "
        "4.50 ms, 0.90 of the default schedules' (0.88 to 0.93)"
    )


def test_nothing_stored_is_no_trials(tmp_path: Path) -> None:
    assert trials_of(tmp_path / "measurements.sqlite") == 0
