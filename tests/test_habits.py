"""What is around the code says what is true of it: CI, hooks, containers, templates, versions."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from squeezenas_tvm.about import __version__

from .conftest import LONGEST

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKE_TARGETS = re.findall(r"^([\w$()/.-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def loaded(name: str) -> Any:
    return yaml.safe_load(read(name))


def makes(words: str) -> bool:
    """Whether a ``make`` in these words has a target there."""
    found = re.findall(r"\bmake ([\w./-]+)", words)
    return bool(found) and all(own.replace(".venv", "$(VENV)") in MAKE_TARGETS for own in found)


def test_a_release_has_one_version_and_notes() -> None:
    newest, date = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", read("CHANGELOG.md"), re.M)[0]
    assert newest == PROJECT["version"] == __version__
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", date)


def test_the_readme_is_short_and_shows_a_picture() -> None:
    text = read("README.md")
    assert len(text.splitlines()) < 150
    for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text):
        assert (ROOT / picture).is_file()
    assert "![" in text


def test_actions_run_the_gates_on_every_python_that_is_promised() -> None:
    jobs = loaded(".github/workflows/ci.yml")["jobs"]
    versions = jobs["gates"]["strategy"]["matrix"]["python"]
    assert versions == ["3.10", "3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert f"Python {versions[0]} to {versions[-1]}" in read("README.md")
    for job in jobs.values():
        (setup,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python@")]
        assert setup["with"]["cache"] == "pip"
        assert (ROOT / setup["with"]["cache-dependency-path"]).is_file()
        assert job["timeout-minutes"] > 0
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert "bash .ci/run" in runs
    assert makes(read(".ci/run"))
    assert any("python -m build" in words for words in runs)
    assert any(makes(words) for words in runs)


def test_hooks_before_a_commit_ask_what_make_lint_asks() -> None:
    (repository,) = loaded(".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"] for hook in repository["hooks"]]
    tools = {entry.split()[0] for entry in entries}
    assert tools == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/python"}
    lint = read("Makefile").partition("\nlint:")[2].partition("\n\n")[0]
    for asked in re.findall(r"\$\(BIN\)/(.+)", lint):
        tool, *words = asked.replace(" .", "").split()
        assert any(own.startswith(f".venv/bin/{tool}") and all(w in own for w in words) for own in entries)
    for path in re.findall(r"tests/\S+\.py", " ".join(entries)):
        assert (ROOT / path).is_file()


def test_containers_are_of_stages_and_extras_that_there_are() -> None:
    text = read("Dockerfile")
    stages = dict(re.findall(r"^FROM (\S+)(?: AS (\w+))?$", text, re.M))
    assert "dev" in stages.values()
    (extras,) = re.findall(r'"/src\[([\w,]+)\]"', text)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    (entry,) = re.findall(r'^ENTRYPOINT \["([\w-]+)"\]$', text, re.M)
    assert entry in PROJECT["scripts"]
    assert (ROOT / "constraints.txt").is_file()
    container = json.loads(read(".devcontainer/devcontainer.json"))
    built = container["build"]
    assert (ROOT / ".devcontainer" / built["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert built["target"] in stages.values()
    assert makes(container["postCreateCommand"])


@pytest.mark.parametrize("name", ["fault", "device"])
def test_templates_of_issues_are_forms_and_name_pages_that_there_are(name: str) -> None:
    form = loaded(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"]
    assert form["description"]
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in ("input", "textarea")
        assert field["attributes"]["label"]
        for page in re.findall(r"docs/[\w-]+\.md", field["attributes"].get("description", "")):
            assert (ROOT / page).is_file()


def test_files_that_come_first_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []
