"""The script for a short loan of a GPU: steps that are done stay done, what was measured is kept."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_day.sh"
# In Python's place: notes what it is called with, fails where it is told to, and measures one more thing.
STUB = """#!/bin/sh
echo "$@" >> FOLDER/calls
case "$*" in *profile*)
  for given; do [ "$before" = --out ] && out=$given; before=$given; done
  echo one more >> "$out/measurements.sqlite" ;;
esac
echo "3 passed"
for word in $(cat FOLDER/failing); do case "$*" in *$word*) exit 1 ;; esac; done
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "python").write_text(STUB.replace("FOLDER", str(tmp_path)))
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "failing").touch()
    return tmp_path


def run(folder: Path, *steps: str, code: int = 0, **more: str) -> list[str]:
    """Lines that the script prints; ``calls`` has what it then called."""
    (folder / "calls").unlink(missing_ok=True)
    variables = {"OUT": str(folder / "out"), "PYTHON": str(folder / "python"), "DRY": "", **more}
    done = subprocess.run(
        ["bash", str(SCRIPT), *steps],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return [line.partition(" after ")[0] for line in (done.stdout + done.stderr).splitlines()]


def calls(folder: Path) -> str:
    return (folder / "calls").read_text() if (folder / "calls").exists() else ""


def test_steps_that_are_done_are_not_done_again(folder: Path) -> None:
    (folder / "failing").write_text("supernet_step")
    said = run(folder, "kernels", "supernet", "networks", code=1)
    assert said == ["kernels: exit code 0", "supernet: exit code 1", "networks: exit code 0"]
    (folder / "failing").write_text("")
    said = run(folder, "kernels", "supernet", "networks")
    assert said == ["kernels: done before", "supernet: exit code 0", "networks: done before"]
    assert "beside_torch" not in calls(folder)
    assert calls(folder).count("supernet_step.py") == 2
    assert "3 passed" in (folder / "out" / "log.txt").read_text()


def test_what_a_stopped_profile_has_measured_is_kept_and_goes_on(folder: Path) -> None:
    (folder / "failing").write_text("profile")
    run(folder, "table", code=1)
    for path in sorted(
        (folder / "out-work").rglob("*"), reverse=True
    ):  # another machine: only OUT comes along
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "failing").write_text("")
    run(folder, "table")
    assert "--effort quick" in calls(folder)
    with tarfile.open(folder / "out" / "table.tar.gz") as archive:
        kept = archive.extractfile("./measurements.sqlite")
        assert kept is not None
        assert kept.read() == b"one more\none more\n"
    assert len(list((folder / "out").iterdir())) <= 8


def test_no_step_begins_without_time(folder: Path) -> None:
    assert run(folder, "kernels", code=1, TOTAL_S="5") == ["kernels: no time left"]
    assert calls(folder) == ""


@pytest.mark.slow
def test_a_step_that_hangs_is_ended(folder: Path) -> None:
    (folder / "python").write_text("#!/bin/sh\nexec sleep 100\n")
    assert run(folder, "networks", code=1, TOTAL_S="10") == ["networks: exit code 124"]


def test_tests_that_were_all_skipped_have_shown_nothing(folder: Path) -> None:
    (folder / "python").write_text("#!/bin/sh\necho 11 skipped\n")
    assert run(folder, "kernels", code=1) == ["kernels: exit code 1"]
    assert run(folder, "kernels", DRY="1") == ["kernels: exit code 0"]


def test_unknown_steps_are_refused(folder: Path) -> None:
    said = run(folder, "kernels", "everything", code=2)
    assert said == ["no step is everything, allowed: environment kernels networks table supernet memcheck"]
    assert calls(folder) == ""
