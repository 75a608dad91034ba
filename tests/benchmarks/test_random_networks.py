"""Random networks of a latency, drawn without a device."""

import sys
from pathlib import Path

import pytest
from random_networks import main

from search.architecture import load_architecture
from squeezenas_tvm.api.latencies import estimate_latency
from squeezenas_tvm.errors import UsageError
from targets import load_device

GIVEN = ["--space", "small", "--target", "jetson-xavier", "--resolution", "256x512", "--data", "synthetic"]


def test_they_take_the_latency_and_are_of_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in ("a", "b"):
        folder = tmp_path / out
        monkeypatch.setattr(
            sys, "argv", ["x", *GIVEN, "--latency-ms", "12", "--within", "0.1", "--out", str(folder)]
        )
        main()
    target = load_device("jetson-xavier")
    for name in ("seed-0.yaml", "seed-1.yaml"):
        network = load_architecture(tmp_path / "a" / name)
        assert 10.8 <= 1e3 * estimate_latency(network, target, (256, 512)).median_s <= 13.2
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()
    assert "seed-1.yaml: " in capsys.readouterr().out
    assert (tmp_path / "a/seed-0.yaml").read_text() != (tmp_path / "a/seed-1.yaml").read_text()


def test_a_latency_that_none_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [*GIVEN, "--latency-ms", "0.001", "--most", "3", "--out", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", ["x", *given])
    with pytest.raises(UsageError, match="0 of 2 networks in 3 draws; give a larger --within"):
        main()
    assert not (tmp_path / "none").exists()
