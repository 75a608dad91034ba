import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cost_models.database.records import BlockTiming, Measurement, ReferenceRun, Trial
from cost_models.database.store import MeasurementStore
from cost_models.errors import StoreError, UnknownEnvironment

from ..storing import BOARD, FINGERPRINT, KERNEL, trial

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
    store.add_kernel(KERNEL, {"op": "conv", "channels": [16, 32]})
    store.add_block(BLOCK, {"nodes": ["conv", "relu"]})
    return store.add_environment(BOARD)


# --- what is stored comes back ---


def test_trials_come_back_exactly_after_reopening(
    store: MeasurementStore, environment: str, path: Path
) -> None:
    good = Trial(
        schedule='{"conv": {"rows": 4}}',
        samples_s=(0.1 + 0.2, 1e-7, 3.3e-5),
        origin="tiles",
        board="10.0.0.7:9090",
        build_s=0.7,
        upload_s=0.02,
        run_s=0.1,
    )
    failed = Trial(schedule="[]", error="LLVM: no such µ-architecture", build_s=0.2)
    moved = Trial(schedule="[]", samples_s=(1.0,), origin="transfer")
    trials = {store.add_trial(environment, KERNEL, one): one for one in (good, failed, moved)}
    store.close()
    with MeasurementStore.open(path, create=False) as again:
        assert again.trials(environment, KERNEL) == trials
        assert again.environments() == {environment: BOARD}
        assert again.kernels() == {KERNEL: {"op": "conv", "channels": [16, 32]}}


def test_many_trials_are_stored_whole_or_not_at_all(store: MeasurementStore, environment: str) -> None:
    many = [(KERNEL, trial(sample_s)) for sample_s in (1e-3, 2e-3)]
    with pytest.raises(StoreError, match="is not in the store; add those first"):
        store.add_trials(environment, [*many, ("unknown", trial())])
    assert store.trials(environment, KERNEL) == {}
    store.add_trials(environment, many)
    assert list(store.trials(environment, KERNEL).values()) == [one for _, one in many]


def test_measurements_come_back_exactly_after_reopening(
    store: MeasurementStore, environment: str, path: Path
) -> None:
    timed = store.add_trial(environment, KERNEL, trial())
    tuned = Measurement(
        kernel=KERNEL,
        how="tuned",
        samples_s=(1 / 3e4, 2e-5),
        reference_s=(1 / 7e3, 1e-4),
        notes=("drift of 7 %", "3 outliers"),
        board="10.0.0.7:9090",
    )
    moved = Measurement(kernel=KERNEL, how="transferred", samples_s=(1.0,))
    default = Measurement(kernel=KERNEL, how="default", error="board unplugged", reference_s=(0.5,))
    tuned_id = store.add_measurement(environment, tuned, trial=timed)
    moved_id = store.add_measurement(environment, moved, trial=timed)
    default_id = store.add_measurement(environment, default)
    store.close()
    with MeasurementStore.open(path, create=False) as again:
        assert again.measurements(environment) == {tuned_id: tuned, moved_id: moved, default_id: default}
        assert again.timings(environment) == {KERNEL: {timed: [tuned, moved], None: [default]}}


def test_block_timings_and_references_come_back_exactly_after_reopening(
    store: MeasurementStore, environment: str, path: Path
) -> None:
    warm = BlockTiming(block=BLOCK, cache="warm", samples_s=(1 / 3, 0.5), sum_s=0.3, board="b:9090")
    cold = BlockTiming(block=BLOCK, cache="cold", error="it broke")
    early = ReferenceRun(board="b:9090", samples_s=(2e-4, 1 / 7e3), at="2025-01-31T23:59:59+00:00")
    late = ReferenceRun(board="", samples_s=(3e-4,))
    timings = {store.add_block_timing(environment, one): one for one in (warm, cold)}
    references = {store.add_reference(environment, one): one for one in (early, late)}
    store.close()
    with MeasurementStore.open(path, create=False) as again:
        again.add_block(BLOCK, {"nodes": ["conv", "relu"]})  # it is there, with this description
        assert again.block_timings(environment) == timings
        assert again.references(environment) == references
        assert list(again.references(environment).values()) == [early, late]


def test_results_of_other_kernels_and_environments_stay_apart(
    store: MeasurementStore, environment: str
) -> None:
    other = store.add_environment({**BOARD, "dtype": "float16"})
    store.add_kernel("pool", {"op": "pool"})
    for digest in (environment, other):
        for kernel in (KERNEL, "pool"):
            store.add_trial(digest, kernel, trial(schedule=f"{digest} {kernel}"))
            store.add_measurement(digest, Measurement(kernel=kernel, how="default", samples_s=(1e-3,)))
        store.add_block_timing(digest, BlockTiming(block=BLOCK, cache="warm", error=digest))
        store.add_reference(digest, ReferenceRun(board=digest, samples_s=(1e-3,)))
    assert [t.schedule for t in store.trials(other, "pool").values()] == [f"{other} pool"]
    assert [m.kernel for m in store.measurements(other).values()] == [KERNEL, "pool"]
    assert [m.kernel for m in store.measurements(other, "pool").values()] == ["pool"]
    assert store.measurements(other, "unknown") == {}
    assert [t.error for t in store.block_timings(other).values()] == [other]
    assert [r.board for r in store.references(other).values()] == [other]
    assert store.references("unknown") == {}


def test_trials_are_counted_by_kernel(store: MeasurementStore, environment: str) -> None:
    store.add_kernel("pool", {"op": "pool"})
    store.add_kernel("untried", {})
    store.add_trial(environment, KERNEL, trial())
    for failed in (Trial(schedule="", error="failed"), Trial(schedule="", error="")):
        store.add_trial(environment, "pool", failed)
    store.add_trial(environment, "pool", trial())
    assert store.trial_counts(environment) == {KERNEL: 1, "pool": 3}
    assert store.trial_counts("unknown") == {}


def timing(
    *samples_s: float, kernel: str = KERNEL, how: str = "tuned", notes: tuple[str, ...] = ()
) -> Measurement:
    return Measurement(kernel=kernel, how=how, samples_s=samples_s, notes=notes)


def test_timings_are_kept_apart_by_schedule_the_oldest_first(
    store: MeasurementStore, environment: str
) -> None:
    store.add_kernel("pool", {"op": "pool"})
    first, second = (store.add_trial(environment, KERNEL, trial(schedule=text)) for text in "ab")
    default, failed = timing(3.0, how="default"), Measurement(kernel=KERNEL, how="tuned", error="hung")
    pool = timing(9.0, kernel="pool", how="default")
    for found, of in (
        (timing(2.0), second),
        (default, None),
        (timing(1.0), first),
        (failed, second),
        (pool, None),
    ):
        store.add_measurement(environment, found, trial=of)
    of_conv = {second: [timing(2.0), failed], None: [default], first: [timing(1.0)]}
    assert store.timings(environment) == {KERNEL: of_conv, "pool": {None: [pool]}}
    assert store.timings(environment, KERNEL) == {KERNEL: of_conv}
    assert store.timings(environment, "unknown") == store.timings("unknown") == {}


def test_the_schedule_with_the_smallest_median_is_the_fastest(
    store: MeasurementStore, environment: str
) -> None:
    other = store.add_environment({**BOARD, "dtype": "float16"})
    store.add_measurement(other, timing(1e-9, how="default"))
    for kernel in ("pool", "broken", "untimed"):
        store.add_kernel(kernel, {"op": kernel})
    store.add_measurement(environment, Measurement(kernel="broken", how="default", error="no"))
    lucky, steady, later = (store.add_trial(environment, KERNEL, trial(schedule=text)) for text in "abc")
    store.add_measurement(environment, timing(10.0, how="default"))
    for of, samples_s in ((lucky, (1.0, 9.5, 9.5)), (steady, (9.0, 9.2, 3.0)), (later, (9.0,))):
        store.add_measurement(environment, timing(*samples_s), trial=of)
    pool = store.add_trial(environment, "pool", trial(schedule="d"))
    store.add_measurement(environment, timing(10.0, kernel="pool"), trial=pool)  # as text it is before 2.0
    store.add_measurement(environment, timing(2.0, kernel="pool", how="default"))
    fastest = {
        KERNEL: (steady, timing(9.0, 9.2, 3.0)),
        "pool": (None, timing(2.0, kernel="pool", how="default")),
    }
    assert store.fastest(environment) == fastest
    assert store.fastest(environment, "pool") == {"pool": fastest["pool"]}
    assert store.fastest(environment, "broken") == store.fastest("unknown") == {}


DRIFT, SLOW = ("drift: the reference took up to 1.31 times its fastest",), ("slow state: 1.4 times",)


@pytest.mark.parametrize(
    ("timings", "counts"),
    [
        ([timing(2.0), timing(3.0), timing(2.5)], 0),  # what disturbs a machine makes it slower
        ([timing(4.0), timing(3.0), timing(3.5)], 1),
        ([timing(2.0, notes=DRIFT), timing(3.0)], 1),
        ([timing(2.0, notes=SLOW), timing(3.0), timing(1.0, notes=DRIFT)], 1),
        ([timing(3.0, notes=SLOW), timing(2.0, notes=DRIFT)], 1),  # none was quiet
        ([timing(3.0), timing(2.0, notes=("few samples: 3", "outliers: 1 of 3"))], 1),
        ([timing(2.0), Measurement(kernel=KERNEL, how="tuned", error="hung")], 0),
    ],
)
def test_of_one_schedule_the_fastest_timing_counts_that_was_not_disturbed(
    store: MeasurementStore, environment: str, timings: list[Measurement], counts: int
) -> None:
    of = store.add_trial(environment, KERNEL, trial())
    for found in timings:
        store.add_measurement(environment, found, trial=of)
    assert store.fastest(environment) == {KERNEL: (of, timings[counts])}


def test_stored_results_cannot_be_changed_or_deleted(
    store: MeasurementStore, environment: str, path: Path
) -> None:
    store.add_trial(environment, KERNEL, trial())
    store.add_measurement(environment, Measurement(kernel=KERNEL, how="default", samples_s=(1e-3,)))
    store.add_block_timing(environment, BlockTiming(block=BLOCK, cache="cold", samples_s=(1e-3,)))
    store.add_reference(environment, ReferenceRun(board="b", samples_s=(1e-3,)))
    raw = sqlite3.connect(path)
    for statement in (
        "UPDATE {} SET samples_s = '[1.0]'",
        "UPDATE {} SET id = 7",
        "DELETE FROM {}",
    ):
        for table in ("trials", "measurements", "block_timings", "reference_runs"):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                raw.execute(statement.format(table))
    raw.close()


def test_an_environment_is_kept_once_whatever_the_order_of_names(store: MeasurementStore) -> None:
    assert store.add_environment(BOARD) == FINGERPRINT.digest
    assert store.add_environment(dict(reversed(BOARD.items()))) == FINGERPRINT.digest
    other = store.add_environment({**BOARD, "measure": {"number": 10, "repeat": 21}})
    assert list(store.environments()) == [FINGERPRINT.digest, other]


def test_a_key_names_one_kernel_or_block(store: MeasurementStore) -> None:
    for thing, add in (("kernel", store.add_kernel), ("block", store.add_block)):
        add("k", {"op": thing})
        add("k", {"op": thing})
        with pytest.raises(
            StoreError,
            match=rf'{thing} k is \{{"op":"{thing}"\}} there, not \{{"op":"pool"\}}; give another {thing} an',
        ):
            add("k", {"op": "pool"})
    assert store.kernels() == {"k": {"op": "kernel"}}


# --- what does not belong together is refused ---


def test_unknown_environment_says_what_differs(store: MeasurementStore, environment: str) -> None:
    store.add_environment({**BOARD, "device": "Raspberry Pi 4", "cores": 4, "dtype": "float16"})
    assert store.find_environment(BOARD) == environment
    with pytest.raises(UnknownEnvironment) as caught:
        store.find_environment({**BOARD, "tvm_version": "0.28.0", "measure": {"number": 10, "repeat": 5}})
    assert str(caught.value) == (
        f"{store.path}: not measured in this environment; the nearest of 2 there has "
        "measure.repeat 20 instead of 5, tvm_version '0.27.0' instead of '0.28.0'; "
        "ask for that one, or measure with: squeezenas-tvm profile --target NAME"
    )
    assert caught.value.exit_code == 2


def test_unknown_environment_of_an_empty_store(store: MeasurementStore) -> None:
    with pytest.raises(UnknownEnvironment, match="nothing measured yet; measure with: squeezenas-tvm"):
        store.find_environment(BOARD)


def test_results_without_what_they_belong_to(store: MeasurementStore, environment: str) -> None:
    store.add_kernel("pool", {"op": "pool"})
    of_conv = store.add_trial(environment, KERNEL, trial())
    pool = Measurement(kernel="pool", how="tuned", samples_s=(1e-3,))
    wrong: list[Callable[[], int]] = [
        lambda: store.add_trial("0" * 64, KERNEL, trial()),
        lambda: store.add_trial(environment, "unknown", trial()),
        lambda: store.add_measurement(environment, pool, trial=of_conv),
        lambda: store.add_measurement(environment, pool, trial=99),
        lambda: store.add_block_timing(environment, BlockTiming(block="x", cache="warm", error="")),
        lambda: store.add_reference("0" * 64, ReferenceRun(board="b", samples_s=(1e-3,))),
    ]
    for add in wrong:
        with pytest.raises(
            StoreError, match=r"environment, kernel, block or trial is not in the store; add those"
        ):
            add()
    assert len(store.trials(environment, KERNEL)) == 1
    assert store.measurements(environment) == {}
    assert store.block_timings(environment) == {}


# --- one store, several threads ---


def test_threads_add_to_one_store_while_others_read(store: MeasurementStore, environment: str) -> None:
    def add(board: int) -> list[int]:
        ids = []
        for number in range(1, 51):
            ids.append(store.add_trial(environment, KERNEL, trial(board + number / 100)))
            store.add_measurement(environment, timing(board + number / 100), trial=ids[-1])
        return ids

    def read(_: int) -> list[int]:
        counts = []
        for _ in range(50):
            fastest = store.fastest(environment)
            counts.append(len(store.trials(environment, KERNEL)))
            assert not fastest or fastest[KERNEL][1].median_s < 5
        return counts

    with ThreadPoolExecutor(8) as threads:
        adding = [threads.submit(add, board) for board in range(4)]
        reading = [threads.submit(read, n) for n in range(4)]
        ids = [future.result() for future in adding]
        seen = [future.result() for future in reading]
    trials = store.trials(environment, KERNEL)
    assert len(trials) == 200
    timed = store.timings(environment)[KERNEL]
    for board, own in enumerate(ids):  # every thread was told the ids of its own trials
        wanted = [board + number / 100 for number in range(1, 51)]
        assert [trials[id_].median_s for id_ in own] == wanted
        assert [[one.median_s for one in timed[id_]] for id_ in own] == [[seconds] for seconds in wanted]
    assert all(counts == sorted(counts) for counts in seen)
    store.check()


def test_a_fault_in_one_thread_leaves_the_others_alone(store: MeasurementStore, environment: str) -> None:
    def add(kernel: str) -> int:
        stored = 0
        for _ in range(30):
            try:
                store.add_trial(environment, kernel, trial())
                stored += 1
            except StoreError:
                pass
        return stored

    with ThreadPoolExecutor(4) as threads:
        stored = list(threads.map(add, [KERNEL, "unknown", KERNEL, "unknown"]))
    assert stored == [30, 0, 30, 0]
    assert store.trial_counts(environment) == {KERNEL: 60}


def test_a_closed_store_is_closed_for_all_threads(store: MeasurementStore, environment: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(store.close).result()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        store.add_trial(environment, KERNEL, trial())
    store.close()
