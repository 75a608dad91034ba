"""What tests of the profile command share: three kernels to measure, what is stored, processes and words."""

import re
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from cost_models.database.environment import environment
from cost_models.database.store import MeasurementStore
from targets import load_target

from .helpers import SIZE, kernels_of

LEFT_OUT = [kernel for kernel in kernels_of() if kernel.kind == "depthwise"][:3]
TRIALS = 3
TABLES = ("trials", "measurements", "block_timings", "reference_runs")
WITHOUT_TORCH = (
    "import sys\n"
    "from squeezenas_tvm.__main__ import main\n"
    "code = main(sys.argv[1:])\n"
    "assert sys.modules.get('torch') is None, 'PyTorch was imported'\n"
    "sys.exit(code)\n"
)
ONLY_KERNELS = (  # no blocks timed whole, and a predictor fitted once, not twenty times to see how good it is
    "import sys\n"
    "import squeezenas_tvm.profiling.measure\n"
    "import squeezenas_tvm.profiling.profile_space\n"
    "from squeezenas_tvm.__main__ import main\n"
    "from squeezenas_tvm.cli import leave\n"
    "squeezenas_tvm.profiling.measure.try_predictor = lambda *given: {}\n"
    "squeezenas_tvm.profiling.profile_space.sample_blocks = lambda *given, **named: []\n"
    "leave(main(sys.argv[1:]))\n"
)

# What a run says that goes well; a machine that is busy otherwise is told so.
_ORDINARY = re.compile(
    r"\[\d+:\d\d:\d\d\] (profile|predictor) \d+/\d+|board \S+ joined$"
    r"|\S+ runs the reference kernel in .* do not compare$"
)

Results = dict[str, list[tuple[Any, ...]]]


def arguments(quick: Path, folder: Path, trials: int = TRIALS) -> list[str]:
    """Of a profile of Small that searches every kernel alone."""
    return [*place(quick, folder), "--trials", str(trials)]


def place(quick: Path, folder: Path) -> list[str]:
    """What is profiled, and where results are kept."""
    return [
        *("--target", str(quick), "--space", "small", "--resolution", str(SIZE)),
        *("--out", str(folder)),
    ]


def results(folder: Path) -> Results:
    """Every row of every table of results, by id; the file is sound."""
    store = sqlite3.connect(folder / "measurements.sqlite")
    try:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {table: store.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in TABLES}
    finally:
        store.close()


def check_kept(before: Results, after: Results) -> None:
    """Nothing that was stored has changed or is gone."""
    for table in TABLES:
        assert after[table][: len(before[table])] == before[table], table


def schedules(folder: Path) -> dict[str, list[str]]:
    """Of the trials of the three kernels, in the order in which they were stored."""
    return _of_kernels(folder, "SELECT schedule FROM trials WHERE kernel = ? ORDER BY id")


def timed(folder: Path) -> dict[str, list[int | None]]:
    """Trials whose schedules were timed carefully for the three kernels, None for the default schedule."""
    return _of_kernels(folder, "SELECT trial FROM measurements WHERE kernel = ? ORDER BY id")


def _of_kernels(folder: Path, query: str) -> dict[str, list[Any]]:
    store = sqlite3.connect(folder / "measurements.sqlite")
    try:
        return {k.key: [found for (found,) in store.execute(query, [k.key])] for k in LEFT_OUT}
    finally:
        store.close()


def disturbed(folder: Path, quick: Path) -> set[str]:
    """Kernels that the next run times again, because the machine was not itself."""
    with MeasurementStore.open(folder / "measurements.sqlite", create=False) as store:
        fastest = store.fastest(store.find_environment(environment(load_target(quick))))
        return {key for key, (_, timing) in fastest.items() if timing.disturbed}


def complaints(said: str) -> list[str]:
    """Lines of stderr that a run which goes well does not write."""
    return [line for line in said.splitlines() if not _ORDINARY.match(line)]


def descendants(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after some time; one that nobody has reaped does not run."""
    give_up_at = time.monotonic() + 20
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(holds: Callable[[], object], process: "subprocess.Popen[str]", limit_s: float = 240) -> None:
    """Until it holds; the process must run until then."""
    give_up_at = time.monotonic() + limit_s
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
