"""The benchmark of costs in bulk, on fewer architectures: what it prints is true of them."""

import argparse
from pathlib import Path

import pytest
from million_architectures import measure

from cost_models.lookup import cost_model
from search.architecture import Architecture
from search.costs.kernel_table import network_graph
from search.resolution import Resolution
from targets import load_target


def test_fastest_and_slowest_cost_what_they_are_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no results: the target's prior answers
    given = {"target": "jetson-xavier", "table": None, "space": "small", "resolution": "256x512"}
    found = measure(argparse.Namespace(**given, count=20_000, seed=1))
    assert found["architectures"] == 20_000
    assert "energy" not in found["objectives"]
    assert found["fastest"]["latency"] < found["slowest"]["latency"]
    model = cost_model(load_target("jetson-xavier"))
    for end in ("fastest", "slowest"):
        architecture = Architecture(space="squeezenas-small", blocks=found[end]["blocks"].split())
        said = model.network(network_graph(architecture, Resolution(256, 512)))
        assert found[end]["latency"] == pytest.approx(said.median_s)
        assert found[end]["latency_low"] == pytest.approx(said.low_s)
        assert found[end]["latency_high"] == pytest.approx(said.high_s)
