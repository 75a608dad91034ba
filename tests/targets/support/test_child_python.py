"""Child processes find our packages and Python's, and never run what lies in the current folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from targets.support.child_python import child_python, sealed_path

ROOT = Path(__file__).parents[3]
PACKAGES = ("targets", "cost_models", "search", "squeezenas_tvm")
PRINTS = """
import os, sys, targets
print(os.path.realpath(targets.__file__))
print(sys.argv[1:])
"""


def run(*command: str, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environ or {})})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("entry", ["", ".", "here"])
def test_the_current_folder_is_not_looked_at(
    traps: Path, entry: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "prints.py").write_text(PRINTS)
    monkeypatch.setattr(sys, "path", [str(traps) if entry == "here" else entry, *sys.path, str(elsewhere)])
    command = child_python("prints", "one", "-m")
    file, arguments = run(*command, environ={"PYTHONPATH": str(traps)}).splitlines()
    assert file == str(ROOT / "targets" / "__init__.py")
    assert arguments == "['one', '-m']"


@pytest.mark.usefixtures("traps")
def test_the_program_that_converts_weights_starts_among_them() -> None:
    assert "ARCH WEIGHTS OUT" in run(*child_python("search.networks.weights", "--help"))


def test_a_current_folder_that_was_deleted_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert sealed_path()


def test_our_packages_are_found_from_their_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", ["", *(place for place in sys.path if Path(place).resolve() != ROOT)])
    assert sealed_path()[0] == str(ROOT)


def test_nothing_starts_python_in_another_way() -> None:
    """Only one file names the interpreter in a command; messages may."""
    starts = re.compile(r"\[\s*sys\.executable|Popen\w*Worker|PopenPool|multiprocessing\.Process")
    found = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if starts.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["targets/support/child_python.py"]
