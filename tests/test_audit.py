"""The audit of CI: what it asks for, what it makes of answers, and that nobody's answer is no failure."""

import importlib.util
import itertools
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PILLOW = {"name": "pillow", "version": "12.2.0"}
HOLE = {"id": "PYSEC-1", "fix_versions": ["12.3.0"]}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def answering(audit: ModuleType, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of Python with pip-audit."""

    def install(folder: Path, give_up_at: float) -> Path:
        python = folder / "bin" / "python"
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        return python

    monkeypatch.setattr(audit, "_install", install)


def test_pins_are_those_of_this_python(audit: ModuleType) -> None:
    old, new = 'x==1; python_version < "3.10"', 'x==2; python_version >= "3.10"'
    assert audit.pinned(["# all", "", old, new, "y==3"]) == {"x": "2", "y": "3"}


def test_every_pin_is_allowed(audit: ModuleType, project: dict[str, Any]) -> None:
    pins = audit.pinned((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    extras = project["project"]["optional-dependencies"].values()
    texts = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for wanted in map(Requirement, itertools.chain(texts, *extras)):
        if wanted.name != project["project"]["name"]:
            assert wanted.specifier.contains(pins[wanted.name.lower()]), wanted


def test_the_oldest_releases_are_asked_for_too(audit: ModuleType, project: dict[str, Any]) -> None:
    oldest = audit.oldest(project)
    assert oldest["apache-tvm"] == "0.27.0.post1"
    assert {"torch", "onnx", "pillow", "tornado", "setuptools", "pytest"} <= oldest.keys()
    assert project["project"]["name"] not in oldest


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([{**PILLOW, "vulns": []}], 0, ["releases, 0 known holes"]),
        ([{**PILLOW, "vulns": [HOLE]}], 1, ["pillow 12.2.0: PYSEC-1; mended in 12.3.0", "1 known holes"]),
        (
            [{**PILLOW, "vulns": [{**HOLE, "fix_versions": []}]}],
            0,
            ["pillow 12.2.0: PYSEC-1; nothing mends it yet", "1 known holes"],
        ),
        (
            [{"name": "pillow", "skip_reason": "not found"}],
            0,
            ["did not run: the index keeps no list of holes"],
        ),
    ],
)
def test_only_a_hole_that_is_mended_fails(
    audit: ModuleType,
    dependencies: list[dict[str, Any]],
    code: int,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = json.dumps({"dependencies": dependencies, "fixes": []})
    answering(audit, f"echo '{answer}'; exit 1", monkeypatch)
    assert audit.main() == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith("audit: ") and text in line for line, text in zip(lines, said, strict=True))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo Traceback >&2; exit 1", "no index answers"),
        ("exec sleep 60", "no answer within 1 s"),
    ],
)
def test_without_an_answer_it_says_that_it_did_not_run(
    audit: ModuleType,
    script: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(audit, "LIMIT_S", 1.0)
    answering(audit, script, monkeypatch)
    assert audit.main() == 0
    assert capsys.readouterr().out == f"audit: did not run: {reason}\n"
