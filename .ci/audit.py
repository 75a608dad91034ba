"""Known holes in what is installed, and in the oldest releases that pyproject.toml allows.

    .venv/bin/python .ci/audit.py

pip-audit asks an index for them, from a folder of its own that is deleted afterwards. Without network, or
where the index keeps no list of holes, one line says that it did not run, and the exit code is 0. It is 1 for
a hole that a later release mends; others are told. Ends within `LIMIT_S`.
"""

import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
TOOL = "pip-audit==2.10.1"
LIMIT_S = 240.0
_LATE_S = 15  # for one answer of an index


class NotRun(Exception):
    """Nobody could be asked. The message says why."""


def pinned(constraints: Iterable[str]) -> dict[str, str]:
    """Release by name that constraints.txt gives for this Python."""
    lines = (line.partition("#")[0].strip() for line in constraints)
    requirements = [Requirement(line) for line in lines if line]
    return {
        one.name: next(iter(one.specifier)).version
        for one in requirements
        if one.marker is None or one.marker.evaluate()
    }


def oldest(project: Mapping[str, Any]) -> dict[str, str]:
    """Oldest release by name that a pyproject.toml allows; without packages that have no lower bound."""
    table = project["project"]
    texts = [*project["build-system"]["requires"], *table["dependencies"]]
    texts += [text for extra in table["optional-dependencies"].values() for text in extra]
    return {
        one.name: bound.version
        for one in map(Requirement, texts)
        for bound in one.specifier
        if bound.operator in (">=", "==")
    }


def holes(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Later releases that mend them, by hole, of pip-audit's answer.

    Raises:
        NotRun: the index knows none of the packages.
    """
    known = [one for one in report["dependencies"] if "skip_reason" not in one]
    if not known:
        raise NotRun("the index keeps no list of holes")
    return {
        f"{one['name']} {one['version']}: {hole['id']}": hole["fix_versions"]
        for one in known
        for hole in one["vulns"]
    }


def main() -> int:
    """Exit code."""
    give_up_at = time.monotonic() + LIMIT_S
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sets = [pinned((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()), oldest(project)]
    try:
        with tempfile.TemporaryDirectory(prefix="audit-") as folder:
            tool = _install(Path(folder), give_up_at)
            first = dict([next(iter(sets[0].items()))])  # one question tells whether anybody answers
            found = [holes(_ask(tool, releases, give_up_at)) for releases in (first, *sets)]
    except (NotRun, OSError) as error:
        print(f"audit: did not run: {error}")
        return 0
    every = {hole: mended for some in found for hole, mended in some.items()}
    for hole, mended in sorted(every.items()):
        print(f"audit: {hole}; {f'mended in {mended[-1]}' if mended else 'nothing mends it yet'}")
    print(f"audit: {sum(map(len, sets))} releases, {len(every)} known holes")
    return int(any(every.values()))


def _install(folder: Path, give_up_at: float) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = ["-m", "pip", "install", "-q", "--retries", "1", "--timeout", str(_LATE_S), TOOL]
    if _run([str(python), *pip], give_up_at).returncode:
        raise NotRun(f"{TOOL} cannot be installed here")
    return python


def _ask(python: Path, releases: Mapping[str, str], give_up_at: float) -> Any:
    """pip-audit's answer. Raises NotRun if there is none."""
    folder = python.parent.parent
    asked = folder / "asked.txt"
    asked.write_text("".join(f"{name}=={version}\n" for name, version in releases.items()), encoding="utf-8")
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", str(_LATE_S)]
    options += ["--cache-dir", str(folder / "cache")]
    done = _run([str(python), "-m", "pip_audit", *options, "-f", "json", "-r", str(asked)], give_up_at)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise NotRun("no index answers") from None


def _run(command: list[str], give_up_at: float) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=max(1.0, give_up_at - time.monotonic())
        )
    except subprocess.TimeoutExpired:
        raise NotRun(f"no answer within {LIMIT_S:g} s") from None


if __name__ == "__main__":
    sys.exit(main())
