"""The benchmark of network estimates, on a folder of made-up timings."""

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from network_estimate import report

from cost_models.database.network_records import WholeNetwork, networks_to_csv
from cost_models.database.rows import Row
from cost_models.database.table import LatencyTable
from cost_models.errors import CostModelError
from cost_models.network_models.network_model import NETWORKS
from search.resolution import Resolution
from search.spaces.registry import get_space
from squeezenas_tvm.profiling.calibrate_networks import draw_networks

ROOT = Path(__file__).parents[2]


def write(folder: Path, count: int, noise: float) -> Path:
    """A table of half as many networks at each of two resolutions, which take 30 us more a kernel."""
    draw, networks, rows = random.Random(0), [], {}
    for size in (Resolution(64, 128), Resolution(128, 256)):
        for network in draw_networks(get_space("small"), size, count // 2):
            alone_s = [1e-6 + kernel.macs / 10e9 + kernel.bytes_moved / 5e9 for kernel in network.kernels]
            rows |= {
                kernel.key: Row("default", 1, (s,))
                for kernel, s in zip(network.kernels, alone_s, strict=True)
            }
            seconds = sum(alone_s) + 3e-5 * len(alone_s)
            rounds_s = tuple((seconds * math.exp(draw.gauss(0, noise)),) for _ in range(3))
            networks.append(WholeNetwork(network.about, rounds_s, sum(alone_s)))
    LatencyTable("local-cpu", {"device": "made up"}, rows).save(folder, made_by="a test")
    (folder / NETWORKS).write_text(networks_to_csv(networks), encoding="utf-8")
    return folder


def run(folder: Path, *more: str) -> str:
    command = [sys.executable, "benchmarks/network_estimate.py", "--table", str(folder), *more]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def test_errors_of_each_resolution_stand_beside_the_plain_sum_and_the_noise(tmp_path: Path) -> None:
    folder = write(tmp_path, 24, 0.01)
    found: dict[str, Any] = json.loads(run(folder, "--json"))
    assert list(found["groups"]) == ["all", "squeezenas-small 64x128", "squeezenas-small 128x256"]
    assert found["model"]["gap_s"] == pytest.approx(3e-5, rel=0.3)
    for group, count in zip(found["groups"].values(), (24, 12, 12), strict=True):
        assert group["estimate"]["count"] == len(group["networks"]) == count
        assert group["estimate"]["median"] < 0.02 < 0.05 < group["plain_sum"]["median"]
        assert 0 < group["noise"]["median"] < 0.02
        for network in group["networks"]:
            assert network["estimated_ms"] == pytest.approx(network["measured_ms"], rel=0.1)
            assert network["sum_ms"] < network["measured_ms"]
    assert "plain_sum  median error" in run(folder)


def test_too_few_networks_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CostModelError, match="no table of measured networks; profile again into the same"):
        report(tmp_path)
    with pytest.raises(CostModelError, match="2 timed networks, at least 5 are needed whose kernels"):
        report(write(tmp_path, 2, 0.01))
