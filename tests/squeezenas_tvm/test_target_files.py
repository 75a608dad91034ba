"""A target in a file of another name: all commands keep and look for its results under its own."""

import csv
import json
from pathlib import Path

import pytest

from squeezenas_tvm.deploy import main as deploy
from squeezenas_tvm.errors import FailedWork
from squeezenas_tvm.networks import main as networks
from squeezenas_tvm.predict import main as predict
from squeezenas_tvm.profile import main as profile

from .helpers import NAME, QUICK, ROOT, SIZE


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options that name a board whose file is ``boards/x.yaml`` and whose name is ``y``."""
    text = (ROOT / "targets/jetson-orin.yaml").read_text(encoding="utf-8")
    assert "\nname: jetson-orin\n" in text
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards/x.yaml").write_text(text.replace("\nname: jetson-orin\n", "\nname: y\n"), "utf-8")
    monkeypatch.chdir(tmp_path)
    return ["--target", "boards/x.yaml", "--resolution", str(SIZE)]


def test_what_few_networks_tell(given: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert profile([*given, "--choose-networks", "5"]) == 0
    (measured,) = Path("results/y").glob("*/measured.csv")
    with measured.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with measured.open("w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "latency_ms": str(2 + n / 10)} for n, row in enumerate(rows))
    assert profile([*given, "--from-networks", str(measured)]) == 0
    assert [path.name for path in Path("results").iterdir()] == ["y"]
    capfd.readouterr()
    assert predict([NAME, *given, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["target"], list(document["networks"][0]["sources"])) == ("y", ["prior"])
    assert 1 < document["networks"][0]["latency_ms"]["median"] < 4  # of the fit
    assert networks([NAME, *given, "--json"]) == 0
    (network,) = json.loads(capfd.readouterr().out)
    assert 1 < network["estimated_latency_ms"]["median"] < 4


@pytest.mark.parametrize("command", ["profile", "deploy"])
def test_what_is_measured(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stop(target: object, kernels: object, folder: Path, **options: object) -> None:
        raise FailedWork(f"measured into {folder}")

    (tmp_path / "x.yaml").write_text(QUICK.replace("name: quick-cpu\n", "name: y\n"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    usual = ["--target", "x.yaml", "--resolution", str(SIZE), "--trials", "1"]
    if command == "profile":
        monkeypatch.setattr("squeezenas_tvm.profiling.profile_space.measure_kernels", stop)
        assert profile(usual) == 1
    else:
        monkeypatch.setattr("squeezenas_tvm.bundles.deploy.measure_kernels", stop)
        assert deploy([NAME, *usual, "--out", "bundle"]) == 1
    assert capfd.readouterr().err == "error: measured into results/y\n"
