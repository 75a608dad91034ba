"""Kernels of the shipped table of local-cpu, left out of the fit: near enough, and inside their intervals."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from predictor_hold_outs import main

from cost_models.errors import IncompatibleTable

SHIPPED = Path(__file__).parents[2] / "cost_models" / "local-cpu"


EVERYTHING = pytest.param([], id="everything", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[pytest.param(["--most", "2"], id="two-channel-counts"), EVERYTHING])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the benchmark prints of the shipped table, of one draw of random fifths.

    There are nineteen channel counts, five resolutions and five windows.
    """
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        given = [str(SHIPPED), "--again", str(SHIPPED), "--seeds", "1", "--json", *request.param]
        patch.setattr(sys, "argv", ["x", *given])
        patch.setattr("builtins.print", said.append)
        main()
    found: dict[str, Any] = json.loads(said[0])
    return found


def test_every_kernel_of_the_table_is_of_a_space(document: dict[str, Any]) -> None:
    assert document["not_of_a_space"] == 0
    (draw,) = document["random"]
    assert draw["overall"]["count"] == document["kernels"]


def test_nine_of_ten_kernels_left_out_are_inside_their_interval(document: dict[str, Any]) -> None:
    parts = {"random": document["random"][0], **document["hard"]}
    inside = {name: part["overall"]["coverage"] for name, part in parts.items()}
    assert 0.85 <= inside["random"] <= 0.95
    assert min(inside.values()) >= 0.85, inside


def test_kernels_left_out_are_told_in_order_and_mostly_to_a_tenth(document: dict[str, Any]) -> None:
    parts = {"random": document["random"][0], **document["hard"]}
    assert all(part["overall"]["spearman"] > 0.95 for part in parts.values())
    assert parts["random"]["overall"]["within_10"] > 0.75
    assert parts["resolution"]["overall"]["within_10"] > 0.55


def test_a_table_profiled_again_is_the_bound(document: dict[str, Any]) -> None:
    assert document["noise"]["again"]["within_5"] == 1  # by itself
    assert document["noise"]["interval_width_median"] > 0


def test_no_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path)])
    with pytest.raises(IncompatibleTable, match="a latency table cannot be read"):
        main()
