"""The profile command killed time and again: nothing stored is lost, nothing stays, it goes on."""

import contextlib
import json
import os
import random
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from cost_models.database.store import MeasurementStore

from .helpers import command, finish
from .measuring import (
    Results,
    alive,
    arguments,
    check_kept,
    complaints,
    descendants,
    results,
    schedules,
    timed,
)

# The command, for a space that needs no other kernels than the three.
FEW = """
import sys
from search.costs import kernel_table
from squeezenas_tvm.__main__ import main
from squeezenas_tvm.cli import leave
all_of = kernel_table.space_kernels
kernel_table.space_kernels = lambda *given: [k for k in all_of(*given) if k.kind == "depthwise"][:3]
import squeezenas_tvm.profiling.measure, squeezenas_tvm.profiling.profile_space
squeezenas_tvm.profiling.measure.try_predictor = lambda *given: {}
squeezenas_tvm.profiling.profile_space.sample_blocks = lambda *given, **named: []
leave(main(sys.argv[1:]))
"""
SEARCHED = 6  # trials a kernel: more together than run one after another before any is stored
SWEEP_S = 20.0  # survivors notice the death of their owner, delete its folders and end


class Moment(NamedTuple):
    """Seconds after a run's start, after its n-th new result, or after the last trial of all kernels."""

    kind: str
    wait_s: float
    count: int = 0


def moments(chance: random.Random, start: int, result: int, end: int) -> list[Moment]:
    """So many of each kind and two more: the second and the fourth come while default schedules are timed."""
    starts = [Moment("start", chance.uniform(0.0, 3.0)) for _ in range(start)]
    results = [Moment("results", chance.uniform(0.0, 0.4), chance.randint(1, 3)) for _ in range(result)]
    ends = [Moment("end", chance.uniform(0.0, 0.8)) for _ in range(end)]
    rest = [*starts[2:], *results, *ends]
    chance.shuffle(rest)
    first = Moment("results", 0.0, 1)
    return [starts[0], first, starts[1], first, *rest]


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param((2, 1, 1), id="six-times"),
        pytest.param((8, 6, 4), id="twenty-times", marks=pytest.mark.slow),
    ],
)
def test_killed_it_loses_nothing_leaves_nothing_and_goes_on(
    counts: tuple[int, int, int], quick: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    hit, wanted = list[str](), 2
    for moment in moments(random.Random(20), *counts):
        phase, tries = None, 0
        while phase is None and (tries := tries + 1) < 4:  # it may come to its end before the moment
            if are_tried(folder, wanted):  # so that there is always something to do
                wanted += SEARCHED if moment.kind == "results" else 1
            phase = run_until(moment, arguments(quick, folder, wanted), folder, tmp_path, wanted)
        assert phase is not None, moment
        hit.append(phase)
    # Killed in the milliseconds between making a folder and starting who clears it, a run leaves it, empty.
    assert len(list((tmp_path / "tmp").iterdir())) <= 1
    assert set(hit) == {"start-up", "default timing", "search", "final timing"}, hit
    before = results(folder)
    code, out, said = finish(profile(*arguments(quick, folder, wanted), "--json", tmp_path=tmp_path))
    assert code == 0, said
    assert json.loads(out)["missing"] == []
    check_kept(before, results(folder))
    assert all(len(found) == len(set(found)) == wanted for found in schedules(folder).values())


def profile(*given: str, tmp_path: Path) -> "subprocess.Popen[str]":
    environ = {"TMPDIR": str(tmp_path / "tmp")}
    return command("profile", *given, cwd=tmp_path, environ=environ, program=["-c", FEW])


def run_until(moment: Moment, given: list[str], folder: Path, tmp_path: Path, wanted: int) -> str | None:
    """Run the command, kill it at the moment and check what is left; returns what it was at.

    None where it was done before that moment.
    """
    before, untimed = results(folder), not all(timed(folder).values())
    process = profile(*given, tmp_path=tmp_path)
    try:
        reached = wait_until(moment, process, folder, before, wanted)
        seen, started = results(folder), descendants(process)
    finally:
        process.kill()
    code, _, said = finish(process)
    assert complaints(said) == []
    with MeasurementStore.open(folder / "measurements.sqlite", create=False) as store:
        store.check()
    after = results(folder)
    check_kept(before, seen)
    check_kept(seen, after)
    reported = [int(count) for count in re.findall(r" (\d+) trials, ", said)]
    assert len(after["trials"]) - len(before["trials"]) >= max(reported, default=0)
    check_nothing_left(tmp_path / "tmp", started)
    if not reached:
        assert code == 0, said
        return None
    if after == before:
        return "start-up"
    if are_tried(folder, wanted):
        return "final timing"
    return "default timing" if untimed and after["trials"] == before["trials"] else "search"


def wait_until(
    moment: Moment, process: "subprocess.Popen[str]", folder: Path, before: Results, wanted: int
) -> bool:
    """False where the process has ended before the moment came."""
    give_up_at = time.monotonic() + 120
    while process.poll() is None:
        assert time.monotonic() < give_up_at
        new = results(folder)
        count = sum(len(new[table]) - len(before[table]) for table in ("trials", "measurements"))
        if count >= moment.count if moment.kind != "end" else are_tried(folder, wanted):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment.wait_s)
            break
        time.sleep(0.02)
    return process.poll() is None


def are_tried(folder: Path, wanted: int) -> bool:
    """Whether all kernels have their trials."""
    return all(len(found) == wanted for found in schedules(folder).values())


def check_nothing_left(tmp: Path, started: list[psutil.Process]) -> None:
    """Neither processes, those that were seen and any that were told of this folder, nor what they wrote."""
    assert alive(started) == []
    give_up_at = time.monotonic() + SWEEP_S
    while (left := [*strays(tmp), *written(tmp)]) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert left == []


def written(tmp: Path) -> list[Path]:
    """Files in the folder that are not empty."""
    paths = [Path(place) / name for place, _, names in os.walk(tmp) for name in names]
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # it is being cleared
            if path.stat().st_size:
                found.append(path)
    return found


def strays(tmp: Path) -> list[psutil.Process]:
    """Processes whose command line or environment names the folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            told = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(tmp) in text for text in told):
                found.append(process)
    return found
