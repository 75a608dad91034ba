"""The benchmark of few-shot calibration, on made-up devices and on real data where that is at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fbnet_space
import fewshot_fbnet
import numpy as np
import pytest

from cost_models.device_models.fewshot import TERMS, work_of_networks

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT.parent / "shared" / "data" / "fbnet-latency" / "fbnet_latency.npz"


def run(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/fewshot_fbnet.py", "--data", str(data), *arguments]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}  # small matrices: threads take twelve times as long
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, check=False
    )


def choices(count: int, seed: int = 0) -> fewshot_fbnet.Choices:
    return np.random.default_rng(seed).integers(0, 9, size=(count, 22))


def test_layers_are_those_of_the_published_space() -> None:
    places = fbnet_space.positions()
    assert len(places) == 22
    assert [p.pixels for p in places if p.stride == 2] == [32, 16, 8]
    widest = fbnet_space.network([3] * 22)  # k3e6 everywhere
    assert len(widest) == 3 * 22 + 4  # stem, last convolution, pooling, classifier
    assert len(fbnet_space.network([8] * 22)) == 6 + 4  # a skip costs something where the shape changes
    stem = 16 * 27 * 32 * 32
    expand, separate, project = 16 * 96 * 32 * 32, 96 * 9 * 32 * 32, 96 * 16 * 32 * 32
    assert sum(k.macs for k in widest[:4]) == stem + expand + separate + project
    assert sum(k.graph.num_parameters for k in widest[-1:]) == 1504 * 100 + 100


def test_work_of_blocks_adds_up_to_that_of_networks() -> None:
    some = choices(5)
    whole = work_of_networks(fbnet_space.network(row.tolist()) for row in some)
    np.testing.assert_allclose(fewshot_fbnet.work_of_all(some), whole)


def test_settings_of_one_chip_are_told_by_their_names() -> None:
    names = ["titan_1", "titan_32", "gold_6226", "gold_6240", "phone_x_1", "plain", "b_2", "b_48"]
    chips = [fewshot_fbnet.chip_of(name, names) for name in names]
    assert chips == ["titan", "titan", "gold_6226", "gold_6240", "phone_x_1", "plain", "b_2", "b_48"]


def made_up(path: Path, count: int = 400) -> Path:
    """Devices nobody has heard of: two of a kind, with noise, and a sum over a table."""
    some, random = choices(count), np.random.default_rng(3)
    work = fewshot_fbnet.work_of_all(some)
    costs = np.zeros((3, len(TERMS)))
    costs[:, TERMS.index("kernels")] = 1e-5, 2e-5, 1e-6
    costs[:, TERMS.index("MACs")] = 1e-11, 2.2e-11, 4e-11
    exact = costs @ work.T
    noise = np.exp(np.array([[0.01], [0.01], [0.0]]) * random.normal(size=exact.shape))
    np.savez(path, architectures=some, devices=["zork_a", "zork_b", "sum"], latency_ms=1e3 * exact * noise)
    return path


def test_it_runs_on_devices_it_has_never_seen(tmp_path: Path) -> None:
    process = run(made_up(tmp_path / "some.npz"), "--samples", "10", "--draws", "2", "--json")
    assert process.returncode == 0, process.stderr
    document = json.loads(process.stdout)
    assert list(document["devices"]) == ["zork_a", "zork_b", "sum"]
    assert [row["measured"] for row in document["devices"].values()] == [True, True, False]
    for row in document["devices"].values():
        assert row["spearman"] > 0.95
        assert row["error"] < 0.03 < row["constant"]["error"]
        assert row["constant"]["spearman"] == 0
    assert document["groups"]["all measured"]["devices"] == 2
    assert (document["samples"], document["draws"], document["networks"]) == (10, 2, 400)


def test_the_text_has_every_device_and_marks_sums(tmp_path: Path) -> None:
    process = run(made_up(tmp_path / "some.npz"), "--draws", "1", "--alone", "--test", "100")
    assert process.returncode == 0, process.stderr
    assert "zork_b" in process.stdout
    assert "sum (a sum, not measured)" in process.stdout
    assert "mean of 2: all measured" in process.stdout


def test_wrong_files_are_refused_in_one_line(tmp_path: Path) -> None:
    good = made_up(tmp_path / "some.npz", count=60)
    with np.load(good) as data:
        fields: dict[str, Any] = dict(data)
    faults: dict[str, dict[str, Any]] = {
        "latency_ms (3, 59); allowed": {"latency_ms": fields["latency_ms"][:, :59]},
        "operations 0 to 9; allowed: 0 to 8": {
            "architectures": np.minimum(fields["architectures"] + 1, 9) % 10
        },
        "zork_b has latencies that are not above 0 ms": {
            "latency_ms": fields["latency_ms"] * np.array([[1], [np.nan], [1]])
        },
    }
    for text, change in faults.items():
        if "architectures" in change:
            change["architectures"][0, :2] = 0, 9
        np.savez(tmp_path / "bad.npz", **(fields | change))
        process = run(tmp_path / "bad.npz")
        assert process.returncode == 2
        assert text in process.stderr
        assert process.stderr.count("\n") == 1
    (tmp_path / "none.npz").write_text("no data")
    for path in (tmp_path / "none.npz", tmp_path / "absent.npz"):
        process = run(path)
        assert process.returncode == 2
        assert "not a file of networks and latencies" in process.stderr
    process = run(good, "--samples", "3")
    assert process.returncode == 2
    assert "--samples 3: allowed: at least 4" in process.stderr


BARS = {  # ranks that physical work alone reaches with ten networks, no other device
    "batch-1 GPUs": 0.985,
    "batch-32/64 GPUs": 0.948,
    "Xeons": 0.914,
    "phones": 0.797,
}


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_file(), reason=f"real data: no {DATA}")
def test_ten_networks_of_a_real_device_tell_the_others() -> None:
    """On the networks that other methods are judged by: the last thousand."""
    process = run(DATA, "--samples", "10", "--draws", "6", "--test", "1000", "--json")
    assert process.returncode == 0, process.stderr
    document = json.loads(process.stdout)
    for group, bar in BARS.items():
        assert document["groups"][group]["spearman"] > bar, group
    assert document["groups"]["batch-1 GPUs"]["error"] < 0.01
    assert [name for name, row in document["devices"].items() if not row["measured"]] == ["pixel3"]
    measured = document["groups"]["all measured"]
    assert measured["within_10"] > measured["constant"]["within_10"] + 0.2
    assert 0.85 < measured["within_interval"] < 0.97
