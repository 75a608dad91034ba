import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cost_models.errors import IncompatibleStore, StorageFull, StoreError, UnknownEnvironment
from cost_models.records import Measurement, Trial
from cost_models.store import MeasurementStore
from targets.fingerprint import Fingerprint

ROOT = Path(__file__).parents[2]
FINGERPRINT = Fingerprint(
    device="NVIDIA Jetson AGX Xavier",
    cores=8,
    power_mode="MODE_30W_ALL",
    tvm_target='{"kind":"cuda"}',
    tvm_version="0.27.0",
    llvm_version="19",
    dtype="float32",
    measure={"number": 10, "repeat": 20},
)
BOARD = FINGERPRINT.as_dict()
KERNEL = "conv1x1-16-32"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "measurements.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(path) as store:
        yield store


@pytest.fixture
def environment(store: MeasurementStore) -> str:
    store.add_kernel(KERNEL, {"op": "conv", "channels": [16, 32]})
    return store.add_environment(BOARD)


def trial(sample_s: float = 1e-3, trace: str = "[]") -> Trial:
    return Trial(trace=trace, samples_s=(sample_s,), build_s=0.5, run_s=0.25)


# --- what is stored comes back ---


def test_results_come_back_exactly_after_reopening(
    store: MeasurementStore, environment: str, path: Path
) -> None:
    good = Trial(trace='["split"]', samples_s=(0.1 + 0.2, 1e-7, 3.3e-5), build_s=0.7, run_s=0.1)
    failed = Trial(trace="[]", error="LLVM: no such µ-architecture", build_s=0.2)
    tuned = Measurement(kernel=KERNEL, how="tuned", samples_s=(1 / 3e4, 2e-5))
    default = Measurement(kernel=KERNEL, how="default", error="board unplugged")
    good_id = store.add_trial(environment, KERNEL, good)
    failed_id = store.add_trial(environment, KERNEL, failed)
    tuned_id = store.add_measurement(environment, tuned, trial=good_id)
    default_id = store.add_measurement(environment, default)
    store.close()
    with MeasurementStore.open(path, create=False) as again:
        assert again.trials(environment, KERNEL) == {good_id: good, failed_id: failed}
        assert again.measurements(environment) == {tuned_id: tuned, default_id: default}
        assert (again.trial_of(tuned_id), again.trial_of(default_id)) == (good_id, None)
        assert again.environments() == {environment: BOARD}
        assert again.kernels() == {KERNEL: {"op": "conv", "channels": [16, 32]}}


def test_results_of_other_kernels_and_environments_stay_apart(
    store: MeasurementStore, environment: str
) -> None:
    other = store.add_environment({**BOARD, "dtype": "float16"})
    store.add_kernel("pool", {"op": "pool"})
    for digest in (environment, other):
        for kernel in (KERNEL, "pool"):
            store.add_trial(digest, kernel, trial(trace=f"{digest} {kernel}"))
            store.add_measurement(digest, Measurement(kernel=kernel, how="default", samples_s=(1e-3,)))
    assert [t.trace for t in store.trials(other, "pool").values()] == [f"{other} pool"]
    assert [m.kernel for m in store.measurements(other).values()] == [KERNEL, "pool"]
    assert [m.kernel for m in store.measurements(other, "pool").values()] == ["pool"]
    assert store.measurements(other, "unknown") == {}
    store.add_trial(other, "pool", Trial(trace="", error="failed"))
    assert store.trial_counts(other) == {KERNEL: 1, "pool": 2}


def test_stored_results_cannot_be_changed_or_deleted(
    store: MeasurementStore, environment: str, path: Path
) -> None:
    store.add_trial(environment, KERNEL, trial())
    store.add_measurement(environment, Measurement(kernel=KERNEL, how="default", samples_s=(1e-3,)))
    raw = sqlite3.connect(path)
    for statement in (
        "UPDATE {} SET samples_s = '[1.0]'",
        "UPDATE {} SET id = 7",
        "DELETE FROM {}",
    ):
        for table in ("trials", "measurements"):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                raw.execute(statement.format(table))
    raw.close()


def test_an_environment_is_kept_once_whatever_the_order_of_names(store: MeasurementStore) -> None:
    assert store.add_environment(BOARD) == FINGERPRINT.digest
    assert store.add_environment(dict(reversed(BOARD.items()))) == FINGERPRINT.digest
    other = store.add_environment({**BOARD, "measure": {"number": 10, "repeat": 21}})
    assert list(store.environments()) == [FINGERPRINT.digest, other]


def test_a_key_names_one_kernel(store: MeasurementStore) -> None:
    store.add_kernel("k", {"op": "conv"})
    store.add_kernel("k", {"op": "conv"})
    with pytest.raises(
        StoreError, match=r'kernel k is \{"op":"conv"\} there, not \{"op":"pool"\}; give another'
    ):
        store.add_kernel("k", {"op": "pool"})
    assert store.kernels() == {"k": {"op": "conv"}}


# --- what does not belong together is refused ---


def test_unknown_environment_says_what_differs(store: MeasurementStore, environment: str) -> None:
    store.add_environment({**BOARD, "device": "Raspberry Pi 4", "cores": 4, "dtype": "float16"})
    assert store.find_environment(BOARD) == environment
    with pytest.raises(UnknownEnvironment) as caught:
        store.find_environment({**BOARD, "tvm_version": "0.28.0", "measure": {"number": 10, "repeat": 5}})
    assert str(caught.value) == (
        f"{store.path}: not measured in this environment; the nearest of 2 there has "
        "measure.repeat 20 instead of 5, tvm_version '0.27.0' instead of '0.28.0'; "
        "ask for that one, or measure with: python -m squeezenas_tvm.profile --target NAME"
    )
    assert caught.value.exit_code == 2


def test_unknown_environment_of_an_empty_store(store: MeasurementStore) -> None:
    with pytest.raises(UnknownEnvironment, match="nothing measured yet; measure with: python -m"):
        store.find_environment(BOARD)


def test_results_without_their_kernel_environment_or_trial(store: MeasurementStore, environment: str) -> None:
    store.add_kernel("pool", {"op": "pool"})
    of_conv = store.add_trial(environment, KERNEL, trial())
    pool = Measurement(kernel="pool", how="tuned", samples_s=(1e-3,))
    wrong: list[Callable[[], int]] = [
        lambda: store.add_trial("0" * 64, KERNEL, trial()),
        lambda: store.add_trial(environment, "unknown", trial()),
        lambda: store.add_measurement(environment, pool, trial=of_conv),
        lambda: store.add_measurement(environment, pool, trial=99),
    ]
    for add in wrong:
        with pytest.raises(StoreError, match=r"environment, kernel or trial is not in the store; add those"):
            add()
    assert len(store.trials(environment, KERNEL)) == 1
    assert store.measurements(environment) == {}


# --- files that are not a store ---


def test_newer_schema_is_refused_and_left_alone(store: MeasurementStore, path: Path) -> None:
    store.close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 2")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(IncompatibleStore, match=r"has schema 2, this squeezenas_tvm reads schema 1; use the"):
        MeasurementStore.open(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE bookmarks (url TEXT)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(IncompatibleStore, match="another program's database, not a measurement store"):
        MeasurementStore.open(path)
    assert path.read_bytes() == before


def test_a_text_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("kernel,latency_ms\nconv,1.5\n" * 100)
    with pytest.raises(IncompatibleStore, match=r"not a sound measurement store \(file is not a database\)"):
        MeasurementStore.open(path)
    assert path.read_text() == "kernel,latency_ms\nconv,1.5\n" * 100


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is a folder; name a file, such as .*/measurements.sqlite"):
        MeasurementStore.open(tmp_path)


def test_a_missing_or_empty_file_is_refused_unless_it_may_be_made(tmp_path: Path) -> None:
    missing = tmp_path / "new" / "m.sqlite"
    with pytest.raises(StoreError, match=r"no measurements there; make them with: python -m"):
        MeasurementStore.open(missing, create=False)
    assert not missing.parent.exists()
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(IncompatibleStore, match="is empty, not a measurement store"):
        MeasurementStore.open(empty, create=False)
    MeasurementStore.open(empty).close()
    MeasurementStore.open(missing).close()
    MeasurementStore.open(missing, create=False).close()


def test_a_damaged_file_is_found(store: MeasurementStore, environment: str, path: Path) -> None:
    for _ in range(200):
        store.add_trial(environment, KERNEL, trial(trace="x" * 500))
    store.check()
    store.close()
    data = bytearray(path.read_bytes())
    data[-40_000:-1_000] = b"\xff" * 39_000
    path.write_bytes(data)
    with MeasurementStore.open(path) as damaged:
        with pytest.raises(IncompatibleStore, match=r"not a sound measurement store \(.*move this one away"):
            damaged.check()
        with pytest.raises(IncompatibleStore, match="not a sound measurement store"):
            damaged.trials(environment, KERNEL)


def test_rows_that_cannot_be_latencies_are_not_believed(
    store: MeasurementStore, environment: str, path: Path
) -> None:
    raw = sqlite3.connect(path)
    for samples in ("[0.0]", "[NaN]", "[1e-3", '{"a": 1}'):
        raw.execute(
            "INSERT INTO trials (environment, kernel, trace, samples_s, build_s, run_s, at) "
            "VALUES (?, ?, '[]', ?, 0, 0, '')",
            (environment, samples, samples),
        )
        raw.commit()
        with pytest.raises(IncompatibleStore, match="not a sound measurement store"):
            store.trials(environment, samples)
    raw.close()


# --- no room, no permission ---


def fill(store: MeasurementStore, environment: str, limit: int) -> list[Trial]:
    """Store trials until there is no room; returns those that were stored."""
    stored = []
    for number in range(limit):
        one = trial(sample_s=(number + 1) * 1e-6, trace="x" * 4000)
        try:
            store.add_trial(environment, KERNEL, one)
        except StorageFull:
            return stored
        stored.append(one)
    pytest.fail(f"{limit} trials fitted")


def test_database_at_its_size_limit_keeps_what_it_has(store: MeasurementStore, environment: str) -> None:
    store._db.execute("PRAGMA max_page_count = 30")
    stored = fill(store, environment, limit=100)
    assert stored
    with pytest.raises(StorageFull, match=r"every result stored before is kept; make room on that disk"):
        store.add_trial(environment, KERNEL, trial(trace="x" * 9000))
    assert list(store.trials(environment, KERNEL).values()) == stored
    store._db.execute("PRAGMA max_page_count = 1000")
    store.add_trial(environment, KERNEL, trial())
    assert len(store.trials(environment, KERNEL)) == len(stored) + 1


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system with the options given; skips where that is not permitted."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"mounting a small file system needs root: {getattr(error, 'stderr', error)}")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


def test_full_disk_keeps_what_it_has_and_goes_on_once_there_is_room(mount: Callable[[str], Path]) -> None:
    disk = mount("size=400k")
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(100_000))
    path = disk / "m.sqlite"
    with MeasurementStore.open(path) as store:
        environment = store.add_environment(BOARD)
        store.add_kernel(KERNEL, {})
        stored = fill(store, environment, limit=500)
        assert stored
        with pytest.raises(StorageFull) as caught:
            store.add_trial(environment, KERNEL, trial(trace="x" * 100_000))
        assert str(caught.value).startswith(f"{path}: cannot be written (")
        assert caught.value.exit_code == 2
    with MeasurementStore.open(path) as again:  # still full
        assert list(again.trials(environment, KERNEL).values()) == stored
        ballast.unlink()
        again.add_trial(environment, KERNEL, trial())
        assert len(again.trials(environment, KERNEL)) == len(stored) + 1
        again.check()


def test_full_disk_before_anything_is_stored(mount: Callable[[str], Path]) -> None:
    disk = mount("size=64k")
    (disk / "ballast").write_bytes(bytes(64 * 1024))
    with pytest.raises(StoreError, match=r"m\.sqlite: .*; "):
        MeasurementStore.open(disk / "m.sqlite")


def test_read_only_location(mount: Callable[[str], Path]) -> None:
    disk = mount("size=1m")
    MeasurementStore.open(disk / "there.sqlite").close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for name in ("there.sqlite", "new.sqlite"):
        with pytest.raises(StoreError, match=r"the file and its folder must be there and writable"):
            MeasurementStore.open(disk / name)
    with pytest.raises(StoreError, match=r"its folder cannot be made \(Read-only file system\)"):
        MeasurementStore.open(disk / "folder" / "new.sqlite")


# --- several processes, killed processes ---

# Stores trials numbered by their sample, and reports each number only after it was stored.
WRITER = textwrap.dedent(
    """
    import os, sys
    from cost_models.records import Trial
    from cost_models.store import MeasurementStore

    path, kernel, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with MeasurementStore.open(path) as store:
        environment = store.add_environment({"device": "board"})
        store.add_kernel(kernel, {"kernel": kernel})
        for number in range(1, count + 1):
            store.add_trial(environment, kernel, Trial(trace="x" * 3000, samples_s=(float(number),)))
            os.write(1, b"%d\\n" % number)
    """
)


def start_writer(path: Path, kernel: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(path), kernel, str(count)]
    # Unbuffered: communicate() does not see what readline() has read ahead.
    return subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)


def numbers_of(store: MeasurementStore, kernel: str) -> list[int]:
    (environment,) = store.environments()
    return [int(trial.samples_s[0]) for trial in store.trials(environment, kernel).values()]


def test_three_processes_make_and_fill_one_store(path: Path) -> None:
    writers = {name: start_writer(path, name, count=100) for name in ("a", "b", "c")}
    for writer in writers.values():
        _, complaints = writer.communicate(timeout=120)
        assert writer.returncode == 0, complaints.decode()
    with MeasurementStore.open(path, create=False) as store:
        for name in writers:
            assert numbers_of(store, name) == list(range(1, 101))
        store.check()


def test_processes_that_open_new_stores_at_the_same_moment(tmp_path: Path) -> None:
    opener = (
        "import sys; from cost_models.store import MeasurementStore; print('ready', flush=True); input()\n"
        "for number in range(40): MeasurementStore.open(f'{sys.argv[1]}/{number}.sqlite').close()"
    )
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", opener, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        for _ in range(4)
    ]
    for process in openers:
        assert process.stdout is not None
        process.stdout.readline()
    for process in openers:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in openers:
        _, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints.decode()


def test_killed_writer_loses_nothing_that_was_stored(path: Path) -> None:
    moments = random.Random(20)
    for round_ in range(10):
        writer = start_writer(path, f"kernel-{round_}", count=100_000)
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
