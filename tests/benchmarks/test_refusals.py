"""Benchmarks refuse as the commands do: one line, an exit code, no traceback."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import refusals

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "cost_models" / "local-cpu"
SCRIPTS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
)


def ended(main: Callable[[], None]) -> int:
    with pytest.raises(SystemExit) as stop:
        refusals.run_benchmark(main)
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture(autouse=True)
def plain_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """TVM may be loaded in this process, which then must not end at once."""
    monkeypatch.setattr(refusals, "leave", sys.exit)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_benchmark_ends_that_way(name: str) -> None:
    text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
    assert text.endswith("    run_benchmark(main)\n")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A table of another machine."""
    shutil.copytree(SHIPPED, tmp_path / "table")
    header = json.loads((SHIPPED / "table.json").read_text(encoding="utf-8"))
    header["fingerprint"]["device"] = "another machine"
    (tmp_path / "table" / "table.json").write_text(json.dumps(header), encoding="utf-8")
    return tmp_path / "table"


def refused(name: str, given: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [name, *given])
    return ended(importlib.import_module(name).main)


def test_another_machines_table_is_one_line(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused("million_architectures", ["--table", str(elsewhere)], monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {elsewhere}: was measured in another environment (")
    assert "device 'another machine' instead of" in line


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("million_architectures", ["--space", "smal"]),
        ("million_architectures", ["--target", "local-cp"]),
        ("predictor_hold_outs", ["nowhere"]),
        ("network_estimate", ["--table", "nowhere"]),
        ("fewshot_fbnet", ["--data", "nowhere.npz"]),
        ("two_targets", ["nowhere", "nowhere"]),
    ],
)
def test_wrong_input_is_one_line(
    name: str,
    given: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(name, given, monkeypatch) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1


def test_files_that_cannot_be_written_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        Path("/nowhere/at/all").write_text("", encoding="utf-8")

    assert ended(write) == 2
    assert (
        capsys.readouterr().err == "error: /nowhere/at/all: No such file or directory; give another place\n"
    )


def test_bugs_pass_through() -> None:
    def broken() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        refusals.run_benchmark(broken)


def test_done_and_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    assert ended(lambda: None) == 0
    assert ended(stopped) == 130
    assert capsys.readouterr().err == "stopped\n"
