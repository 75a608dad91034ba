"""Kernels of the shipped table, told by those that a design chooses and by as many drawn at random."""

import json
import statistics
import sys
from pathlib import Path

import pytest
from kernel_design import main

SHIPPED = Path(__file__).parents[2] / "cost_models" / "local-cpu"


def test_the_design_beats_random_choices(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(SHIPPED), "--kernels", "60", "--draws", "3"]
    monkeypatch.setattr(sys, "argv", ["x", *given, "--json"])
    main()
    (found,) = json.loads(capsys.readouterr().out)
    drawn = found["random"]
    assert found["kernels"] == 60
    assert found["chosen"]["mape"] < min(errors["mape"] for errors in drawn)
    assert found["chosen"]["median"] < 0.9 * statistics.fmean(errors["median"] for errors in drawn)
    assert found["chosen"]["coverage"] >= 0.9
