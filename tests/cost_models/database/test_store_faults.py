import os
import random
import signal
import sqlite3
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cost_models.database.records import BlockTiming, Measurement, ReferenceRun, Trial
from cost_models.database.store import MeasurementStore
from cost_models.errors import IncompatibleStore, StorageFull, StoreError

from ..storing import BOARD, KERNEL, finish, start, trial

BLOCK = "k3e6 16x32"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "measurements.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(path) as store:
        yield store


@pytest.fixture
def environment(store: MeasurementStore) -> str:
    return prepare(store)


def prepare(store: MeasurementStore) -> str:
    store.add_kernel(KERNEL, {})
    store.add_block(BLOCK, {})
    return store.add_environment(BOARD)


# --- damage ---


def test_a_damaged_file_is_found(store: MeasurementStore, environment: str, path: Path) -> None:
    for _ in range(200):
        store.add_trial(environment, KERNEL, trial(schedule="x" * 500))
        store.add_measurement(environment, Measurement(kernel=KERNEL, how="default", error="x" * 500))
    store.check()
    store.close()
    data = bytearray(path.read_bytes())
    data[-40_000:-1_000] = b"\xff" * 39_000
    path.write_bytes(data)
    with MeasurementStore.open(path) as damaged:
        with pytest.raises(IncompatibleStore, match=r"not a sound measurement store \(.*move this one away"):
            damaged.check()
        for read in (damaged.fastest, lambda where: damaged.trials(where, KERNEL)):
            with pytest.raises(IncompatibleStore, match="not a sound measurement store"):
                read(environment)


@pytest.mark.parametrize("samples", ["[0.0]", "[NaN]", "[1e-3", '{"a": 1}', "[]"])
def test_rows_that_cannot_be_results_are_not_believed(
    store: MeasurementStore, environment: str, path: Path, samples: str
) -> None:
    place = f"'{environment}', 'b', '2025-01-31T09:00:00+00:00', ?"
    rows = {
        "trials": ("kernel, origin, build_s, upload_s, run_s, schedule", f"'{KERNEL}', 'tiles', 0, 0, 0, ''"),
        "measurements": ("kernel, how", f"'{KERNEL}', 'tuned'"),
        "block_timings": ("block, cache", f"'{BLOCK}', 'cold'"),
    }
    raw = sqlite3.connect(path)
    raw.execute(
        f"INSERT INTO reference_runs (environment, board, at, samples_s) VALUES ({place})", (samples,)
    )
    for table, (columns, values) in rows.items():
        raw.execute(
            f"INSERT INTO {table} (environment, board, at, samples_s, {columns}) VALUES ({place}, {values})",
            (samples,),
        )
    raw.commit()
    raw.close()
    for read in (
        lambda: store.trials(environment, KERNEL),
        lambda: store.measurements(environment),
        lambda: store.block_timings(environment),
        lambda: store.references(environment),
        lambda: store.fastest(environment),
    ):
        with pytest.raises(IncompatibleStore, match="not a sound measurement store"):
            read()


# --- no room ---


def add_all(store: MeasurementStore, environment: str, size: int) -> list[Callable[[], int]]:
    """One way to store each kind of result, each of about ``size`` bytes."""
    long = "x" * size
    return [
        lambda: store.add_trial(environment, KERNEL, trial(schedule=long)),
        lambda: store.add_measurement(environment, Measurement(kernel=KERNEL, how="default", error=long)),
        lambda: store.add_block_timing(environment, BlockTiming(block=BLOCK, cache="warm", error=long)),
        lambda: store.add_reference(environment, ReferenceRun(board=long, samples_s=(1.0,))),
    ]


def contents(store: MeasurementStore, environment: str) -> list[object]:
    return [
        store.trials(environment, KERNEL),
        store.measurements(environment),
        store.block_timings(environment),
        store.references(environment),
    ]


def fill(store: MeasurementStore, environment: str, limit: int) -> list[Trial]:
    """Store trials until there is no room; returns those that were stored."""
    stored = []
    for number in range(limit):
        one = trial(sample_s=(number + 1) * 1e-6, schedule="x" * 4000)
        try:
            store.add_trial(environment, KERNEL, one)
        except StorageFull:
            return stored
        stored.append(one)
    pytest.fail(f"{limit} trials fitted")


def test_database_at_its_size_limit_keeps_what_it_has(store: MeasurementStore, environment: str) -> None:
    for add in add_all(store, environment, 100):
        add()
    store._db.execute("PRAGMA max_page_count = 40")
    stored = fill(store, environment, limit=100)
    assert stored
    before = contents(store, environment)
    for add in add_all(store, environment, 9000):
        with pytest.raises(StorageFull, match=r"every result stored before is kept; make room on that disk"):
            add()
    assert contents(store, environment) == before
    assert list(store.trials(environment, KERNEL).values())[1:] == stored
    store._db.execute("PRAGMA max_page_count = 1000")
    for add in add_all(store, environment, 9000):
        add()
    assert [len(found) for found in contents(store, environment)] == [len(stored) + 2, 2, 2, 2]
    store.check()


def test_full_disk_keeps_what_it_has_and_goes_on_once_there_is_room(mount: Callable[[str], Path]) -> None:
    disk = mount("size=400k")
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(100_000))
    path = disk / "m.sqlite"
    with MeasurementStore.open(path) as store:
        environment = prepare(store)
        stored = fill(store, environment, limit=500)
        assert stored
        for add in add_all(store, environment, 100_000):
            with pytest.raises(StorageFull) as caught:
                add()
            assert str(caught.value).startswith(f"{path}: cannot be written (")
            assert caught.value.exit_code == 2
    with MeasurementStore.open(path) as again:  # still full
        assert contents(again, environment) == [dict(enumerate(stored, 1)), {}, {}, {}]
        ballast.unlink()
        for add in add_all(again, environment, 4000):
            add()
        assert [len(found) for found in contents(again, environment)] == [len(stored) + 1, 1, 1, 1]
        again.check()


def test_full_disk_before_anything_is_stored(mount: Callable[[str], Path]) -> None:
    disk = mount("size=64k")
    (disk / "ballast").write_bytes(bytes(64 * 1024))
    with pytest.raises(StoreError, match=r"m\.sqlite: .*; "):
        MeasurementStore.open(disk / "m.sqlite")


# --- several processes, killed processes ---

# Threads with a store each and threads that share one: each kernel's trials are numbered by their sample.
WRITERS = textwrap.dedent(
    """
    import sys
    from concurrent.futures import ThreadPoolExecutor
    from cost_models.database.records import Measurement, Trial
    from cost_models.database.store import MeasurementStore

    path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def add(store, kernel):
        environment = store.add_environment({"device": "board"})
        store.add_kernel(kernel, {"kernel": kernel})
        for number in range(1, count + 1):
            trial = store.add_trial(environment, kernel, Trial(schedule="x" * 3000, samples_s=(number,)))
            timing = Measurement(kernel=kernel, how="tuned", samples_s=(number,))
            store.add_measurement(environment, timing, trial=trial)

    def add_alone(kernel):
        with MeasurementStore.open(path) as store:
            add(store, kernel)

    print("ready", flush=True)
    input()
    with MeasurementStore.open(path) as shared, ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(add, shared, f"{name} shared {n}") for n in range(2)]
        jobs += [threads.submit(add_alone, f"{name} alone {n}") for n in range(2)]
        for job in jobs:
            job.result()
    """
)
# Stores trials numbered by their sample, and reports each number only after it was stored.
WRITER = textwrap.dedent(
    """
    import os, sys
    from cost_models.database.records import Trial
    from cost_models.database.store import MeasurementStore

    path, kernel, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with MeasurementStore.open(path) as store:
        environment = store.add_environment({"device": "board"})
        store.add_kernel(kernel, {"kernel": kernel})
        for number in range(1, count + 1):
            store.add_trial(environment, kernel, Trial(schedule="x" * 3000, samples_s=(float(number),)))
            os.write(1, b"%d\\n" % number)
    """
)


def numbers_of(store: MeasurementStore, kernel: str) -> list[int]:
    (environment,) = store.environments()
    return [int(trial.samples_s[0]) for trial in store.trials(environment, kernel).values()]


def test_processes_of_several_threads_make_and_fill_one_store(path: Path) -> None:
    finish([start(WRITERS, path, name, 50) for name in "abcd"])
    with MeasurementStore.open(path, create=False) as store:
        (environment,) = store.environments()
        assert len(store.kernels()) == 16
        for kernel in store.kernels():
            assert numbers_of(store, kernel) == list(range(1, 51))
            timed = store.measurements(environment, kernel)
            trials = store.trials(environment, kernel)
            assert len(timed) == 50
            of_trial = store.timings(environment, kernel)[kernel]
            for id_, tried in trials.items():  # ids are those of the own results, not of another's
                assert [measurement.samples_s for measurement in of_trial[id_]] == [tried.samples_s]
        store.check()


def test_killed_writer_loses_nothing_that_was_stored(path: Path) -> None:
    moments = random.Random(20)
    for round_ in range(10):
        writer = start(WRITER, path, f"kernel-{round_}", 100_000)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=moments.uniform(0.0, 0.1))
        os.kill(writer.pid, signal.SIGKILL)
        rest, complaints = writer.communicate(timeout=60)
        assert writer.returncode == -signal.SIGKILL, complaints.decode()
        reported = [int(line) for line in (first + rest).splitlines()]
        with MeasurementStore.open(path, create=False) as store:
            stored = numbers_of(store, f"kernel-{round_}")
            # One more may be on disk than the process had the time to report.
            assert reported == stored[: len(reported)]
            assert len(stored) - len(reported) in (0, 1)
            assert store._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
