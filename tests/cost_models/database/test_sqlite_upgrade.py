import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cost_models.database.records import BlockTiming, Measurement, ReferenceRun, Trial
from cost_models.database.store import MeasurementStore
from cost_models.errors import IncompatibleStore, StorageFull

from ..storing import BOARD, KERNEL, OPENER, finish, start
from ..version_1 import HERE, make_version_1


def query(path: Path, text: str) -> list[tuple[object, ...]]:
    raw = sqlite3.connect(path)
    try:
        return raw.execute(text).fetchall()
    finally:
        raw.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "measurements.sqlite"


@pytest.fixture
def old(path: Path) -> Path:
    """A file of version 1."""
    make_version_1(path)
    return path


def test_version_1_is_upgraded_and_nothing_is_lost(old: Path) -> None:
    with MeasurementStore.open(old, create=False) as store:
        assert store.environments() == {HERE: BOARD}
        assert store.find_environment(BOARD) == HERE
        assert store.kernels() == {KERNEL: {"op": "conv"}, "pool": {"op": "pool"}}
        tuned = Trial(schedule='[["split"],[]]', samples_s=(0.1 + 0.2, 1e-7), build_s=0.7, run_s=0.1)
        failed = Trial(schedule="[]", error="LLVM: no such µ-architecture", build_s=0.2)
        worked = Trial(schedule="[1]", samples_s=(1e-3,), build_s=0.2)
        assert store.trials(HERE, KERNEL) == {3: tuned}
        assert store.trials(HERE, "pool") == {7: failed, 8: worked}
        assert (tuned.origin, tuned.board, tuned.upload_s) == ("evolution", "", 0.0)
        assert store.measurements(HERE) == {
            2: Measurement(kernel=KERNEL, how="tuned", samples_s=(1 / 3e4,)),
            5: Measurement(kernel=KERNEL, how="default", error="board unplugged"),
            6: Measurement(kernel="pool", how="tuned", samples_s=(2e-3, 3e-3)),
        }
        schedules = {kernel: list(timed) for kernel, timed in store.timings(HERE).items()}
        assert schedules == {KERNEL: [3, None], "pool": [8]}
        store.check()
    assert query(old, "SELECT DISTINCT at FROM trials") == [("2025-01-31T09:00:00+00:00",)]
    assert query(old, "SELECT DISTINCT at FROM measurements") == [("2025-01-31T10:00:00+00:00",)]
    assert query(old, "PRAGMA user_version") == [(2,)]
    assert query(old, "PRAGMA foreign_key_check") == []


def test_an_upgraded_file_is_like_a_new_one(old: Path, tmp_path: Path) -> None:
    MeasurementStore.open(old).close()
    MeasurementStore.open(tmp_path / "new.sqlite").close()
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    assert query(old, schema) == query(tmp_path / "new.sqlite", schema)
    assert query(old, "PRAGMA journal_mode") == [("wal",)]


def test_an_upgraded_file_takes_every_kind_of_result(old: Path) -> None:
    with MeasurementStore.open(old) as store:
        store.add_block("b", {})
        new = store.add_trial(HERE, "pool", Trial(schedule="{}", samples_s=(1.0,), origin="tiles"))
        assert new == 9
        moved = Measurement(kernel="pool", how="transferred", samples_s=(1e-3,), notes=("drift",))
        assert store.add_measurement(HERE, moved, trial=7) == 7  # trials from before can be named
        store.add_block_timing(HERE, BlockTiming(block="b", cache="cold", samples_s=(1.0,)))
        store.add_reference(HERE, ReferenceRun(board="b", samples_s=(1.0,)))
    MeasurementStore.open(old).close()  # a second opening finds nothing to do
    with MeasurementStore.open(old) as store:
        assert list(store.trials(HERE, "pool")) == [7, 8, 9]
    raw = sqlite3.connect(old)
    for table in ("trials", "measurements", "block_timings", "reference_runs"):
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            raw.execute(f"DELETE FROM {table}")
    raw.close()


def test_processes_that_upgrade_the_same_files_at_the_same_moment(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.sqlite" for number in range(10)]
    for path in paths:
        make_version_1(path, more_trials=20)
    finish([start(OPENER, *paths) for _ in range(4)])
    for path in paths:
        with MeasurementStore.open(path, create=False) as store:
            assert list(store.trials(HERE, KERNEL)) == [3, *range(1001, 1021)]
            assert list(store.measurements(HERE)) == [2, 5, 6]


def test_an_upgrade_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    moments = random.Random(20)
    for round_ in range(6):
        path = tmp_path / f"{round_}.sqlite"
        make_version_1(path, more_trials=1000)
        process = start(OPENER, path)
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.stdin.write(b"go\n")
        time.sleep(moments.uniform(0.0, 0.1))  # it takes about that long
        process.kill()
        process.communicate(timeout=60)
        with MeasurementStore.open(path, create=False) as store:
            assert list(store.trials(HERE, KERNEL)) == [3, *range(1001, 2001)]
            assert list(store.measurements(HERE)) == [2, 5, 6]
            store.check()


def test_an_upgrade_without_room_leaves_the_file_as_it_was(mount: Callable[[str], Path]) -> None:
    disk = mount("size=1200k")
    path = disk / "m.sqlite"
    make_version_1(path, more_trials=60)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(800_000))
    with pytest.raises(StorageFull, match=r"m\.sqlite: cannot be written .* make room on that disk and give"):
        MeasurementStore.open(path)
    assert query(path, "PRAGMA user_version") == [(1,)]
    assert query(path, "SELECT count(*) FROM trials WHERE trace <> ''") == [(63,)]
    ballast.unlink()
    with MeasurementStore.open(path) as store:
        assert list(store.trials(HERE, KERNEL)) == [3, *range(1001, 1061)]


def test_a_damaged_version_1_is_refused_and_left_alone(path: Path) -> None:
    make_version_1(path, more_trials=60)
    data = bytearray(path.read_bytes())
    data[-40_000:-1_000] = b"\xff" * 39_000
    path.write_bytes(data)
    with pytest.raises(IncompatibleStore, match=r"not a sound measurement store \(.*move this one away"):
        MeasurementStore.open(path)
    assert path.read_bytes() == data
