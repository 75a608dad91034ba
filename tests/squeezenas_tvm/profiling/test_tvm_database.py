"""Schedules that go into a database of TVM's own tuner, and come back: stores with made-up latencies."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cost_models.database.environment import environment
from cost_models.database.history import History
from cost_models.database.records import Measurement, Trial
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import IncompatibleTable, StoreError
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import structural_hash
from cost_models.runner.runner import arguments_of
from cost_models.schedules.conv_template import Tile
from cost_models.schedules.serialization import replay_trace, tile_text, trace_text
from cost_models.tvm_import import ms, tvm
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.profiling.measure import SAMPLES
from squeezenas_tvm.profiling.tvm_database import (
    FAILED,
    FOREIGN,
    KNOWN,
    NO_KERNEL,
    NO_SCHEDULE,
    OTHER_TARGET,
    SLOW,
    TILES,
    UNFIT,
    UNTRIED,
    export_schedules,
    import_schedules,
)
from squeezenas_tvm.profiling.tvm_records import RECORDS, WORKLOADS
from targets import Target, load_target
from targets.support.files import InTheWay

from ...cost_models.some_kernels import convolution, relu
from ..helpers import quick_target

RELU, CONV, OTHER = relu(8, 8, 16), convolution(8, 16, 8, 16), relu(4, 8, 8)
TILE = tile_text(Tile(channels=2, rows=1, vectors=1, lanes=4, down=1, across=1))


@dataclass(frozen=True)
class Place:
    """A folder of a profile, by a formula."""

    folder: Path
    target: Target

    @property
    def tvm_target(self) -> Any:
        return self.target.tvm_target()

    def module(self, kernel: Kernel) -> Any:
        return kernel_module(kernel, self.tvm_target)

    def schedule(self, kernel: Kernel, factor: int = 4) -> Any:
        """Some schedule of a kernel."""
        schedule = tvm.s_tir.Schedule(self.module(kernel))
        block = schedule.get_child_blocks(schedule.get_sblock("root"))[-1]
        *_, last = schedule.get_loops(block)
        *_, inner = schedule.split(last, [None, factor])
        schedule.vectorize(inner)
        return schedule

    def fill(
        self, trials: dict[Kernel, Sequence[tuple[str, float]]], *more: Kernel, timed: bool = True
    ) -> None:
        """Store trials, the default schedule at 1 s, and a timing of the first trial at twice its time."""
        with MeasurementStore.open(self.folder / SAMPLES) as store:
            where = store.add_environment(environment(self.target))
            for kernel in (*trials, *more):
                store.add_kernel(kernel.key, kernel.description)
                default = Measurement(kernel=kernel.key, how="default", samples_s=(1.0,))
                store.add_measurement(where, default)
            for kernel, tried in trials.items():
                ids = [
                    store.add_trial(where, kernel.key, Trial(schedule=text, samples_s=(s, s)))
                    for text, s in tried
                ]
                if timed:
                    again = Measurement(kernel=kernel.key, how="tuned", samples_s=(2 * tried[0][1],) * 3)
                    store.add_measurement(where, again, trial=ids[0])
            LatencyTable.from_history(History(store, where), self.target.name).save(
                self.folder, made_by="a test"
            )

    def told(self, kernel: Kernel) -> dict[str, tuple[float, ...]]:
        """What others tell, by the schedules' texts."""
        with MeasurementStore.open(self.folder / SAMPLES, create=False) as store:
            found = History.of(store, environment(self.target)).told(kernel)
            return {text: trial.samples_s for text, trial in found.items()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "profile"
    folder.mkdir()
    return Place(folder, load_target(quick_target(tmp_path)))


@pytest.fixture
def elsewhere(place: Place, tmp_path: Path) -> Place:
    """The folder of another profile of the same kernels, in which nothing was searched."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    other = Place(folder, place.target)
    other.fill({}, RELU, CONV)
    return other


def tuned(folder: Path, place: Place, records: Sequence[tuple[Kernel, Any, Sequence[float], Any]]) -> Path:
    """A database as TVM's tuner leaves it: kernel, schedule, seconds and target of each record."""
    folder.mkdir()
    database = ms.database.JSONDatabase(work_dir=str(folder))
    for kernel, schedule, seconds, target in records:
        mod = place.module(kernel)
        told = database.commit_workload(mod), list(seconds), target, arguments_of(mod)
        database.commit_tuning_record(ms.database.TuningRecord(schedule.trace, *told))
    return folder


def spoilt(database: Path, number: int, change: tuple[str, str]) -> None:
    """Change text of a record."""
    lines = (database / RECORDS).read_text(encoding="utf-8").splitlines(keepends=True)
    assert change[0] in lines[number]
    lines[number] = lines[number].replace(*change)
    (database / RECORDS).write_text("".join(lines), encoding="utf-8")


def result(mod: Any, target: Any) -> Any:
    """What a kernel computes from fixed random arguments."""
    random = np.random.default_rng(0)
    shapes = [[int(extent) for extent in param.shape] for param in mod["main"].params]
    tensors = [tvm.runtime.tensor(random.standard_normal(shape).astype("float32")) for shape in shapes]
    tvm.compile(mod, target)["main"](*tensors)
    return tensors[-1].numpy()


def test_tvm_finds_builds_and_runs_what_was_exported(place: Place, tmp_path: Path) -> None:
    slow, fast = (trace_text(place.schedule(RELU, factor)) for factor in (2, 8))
    place.fill({RELU: [(fast, 0.25), (slow, 0.1)], CONV: [(trace_text(place.schedule(CONV)), 0.5)]})
    exported = export_schedules(place.folder, tmp_path / "tuned", place.target)
    assert (exported.schedules, exported.left_out) == ({RELU.key: 1, CONV.key: 1}, {})
    assert exported.faster == [CONV.key]  # 1 s, as the default schedule: nothing is gained
    assert sorted(path.name for path in (tmp_path / "tuned").iterdir()) == [RECORDS, WORKLOADS]
    database = ms.database.JSONDatabase(work_dir=str(tmp_path / "tuned"))
    for kernel, seconds in ((RELU, 0.5), (CONV, 1.0)):
        mod, target = place.module(kernel), place.tvm_target
        record = database.query_tuning_record(mod, target, "main")
        assert [float(s) for s in record.run_secs] == [seconds] * 3  # as it was timed, not as it was tried
        assert str(record.target) == str(target)
        assert [info.as_json() for info in record.args_info] == [i.as_json() for i in arguments_of(mod)]
        scheduled = database.query_schedule(mod, target, "main").mod
        assert structural_hash(scheduled) != structural_hash(mod)
        np.testing.assert_allclose(result(scheduled, target), result(mod, target), rtol=1e-5, atol=1e-5)


def test_without_careful_timings_the_fastest_trials_are_exported(place: Place, tmp_path: Path) -> None:
    texts = [trace_text(place.schedule(RELU, factor)) for factor in (2, 4, 8)]
    place.fill({RELU: list(zip(texts, (0.3, 0.1, 0.2), strict=True))}, timed=False)
    assert export_schedules(place.folder, tmp_path / "tuned", place.target).schedules == {RELU.key: 3}
    lines = (tmp_path / "tuned" / RECORDS).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)[1][1] for line in lines] == [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]


def test_what_no_database_can_hold_is_left_out_by_name(place: Place, tmp_path: Path) -> None:
    foreign = Kernel(OTHER.graph, OTHER.inputs, structural_hash(place.module(OTHER)))
    text, far = trace_text(place.schedule(RELU)), trace_text(place.schedule(CONV))
    misfit, untried = relu(16, 8, 16), relu(8, 4, 4)
    place.fill(
        {RELU: [(text, 0.1)], CONV: [(TILE, 0.1)], foreign: [(text, 0.1)], misfit: [(far, 0.1)]}, untried
    )
    exported = export_schedules(place.folder, tmp_path / "tuned", place.target)
    assert exported.schedules == {RELU.key: 1}
    reasons = {TILES: CONV, FOREIGN: foreign, UNFIT: misfit, UNTRIED: untried}
    assert exported.left_out == {reason: [kernel.key] for reason, kernel in reasons.items()}
    for reason in reasons:
        assert f"1 kernels {reason}" in exported.left_out_text


def test_schedules_and_latencies_come_back_as_what_others_tell(
    place: Place, elsewhere: Place, tmp_path: Path
) -> None:
    texts = [trace_text(place.schedule(RELU, factor)) for factor in (2, 8)]
    place.fill({RELU: list(zip(texts, (0.2, 0.1), strict=True))}, CONV, timed=False)
    export_schedules(place.folder, tmp_path / "tuned", place.target)
    before = LatencyTable.load(elsewhere.folder)
    taken = import_schedules(elsewhere.folder, tmp_path / "tuned", elsewhere.target)
    assert (taken.schedules, taken.skipped, taken.unmatched) == ({RELU.key: 2}, {}, [])
    assert list(elsewhere.told(RELU).items()) == [(texts[1], (0.1, 0.1)), (texts[0], (0.2, 0.2))]
    assert elsewhere.told(CONV) == {}
    with MeasurementStore.open(elsewhere.folder / SAMPLES, create=False) as store:
        here, there = store.environments().values()
        history = History.of(store, environment(elsewhere.target))
        assert history.trials(RELU) == {}
        assert history.fastest(RELU)[0] is None
        assert LatencyTable.from_history(history, before.target).rows == before.rows
    assert there["told_by"]["tvm_database"] == str(tmp_path / "tuned")
    assert {name: value for name, value in there.items() if name != "told_by"} == here
    again = import_schedules(elsewhere.folder, tmp_path / "tuned", elsewhere.target)
    assert (again.schedules, again.skipped) == ({}, {KNOWN: 2})


def test_records_that_are_of_no_use_are_counted(elsewhere: Place, tmp_path: Path) -> None:
    good, target = elsewhere.schedule(RELU), elsewhere.tvm_target
    other = tvm.target.Target({"kind": "llvm", "num-cores": 64})
    records = [
        (OTHER, elsewhere.schedule(OTHER), [1e-3], target),
        (RELU, good, [1e-3], other),
        (RELU, good, [1e10], target),
        (RELU, elsewhere.schedule(CONV), [1e-3], target),  # of another kernel
        (RELU, good, [1e-3], target),
        (RELU, good, [2e-3], target),
        (CONV, elsewhere.schedule(CONV), [1e-3], target),
    ]
    database = tuned(tmp_path / "tuned", elsewhere, records)
    spoilt(database, 6, ('["GetSBlock"', '["UnsafeSetDType"'))
    taken = import_schedules(elsewhere.folder, database, elsewhere.target)
    assert taken.schedules == {RELU.key: 1}
    assert taken.skipped == {NO_KERNEL: 1, OTHER_TARGET: 1, FAILED: 1, NO_SCHEDULE: 2, KNOWN: 1}
    assert taken.unmatched == [1]
    assert f"2 records {NO_SCHEDULE}; 1 records {KNOWN}" in taken.skipped_text
    assert taken.skipped_text.endswith(f"; {WORKLOADS}, no kernel: line 1")
    assert elsewhere.told(RELU) == {trace_text(good): (1e-3,)}


def test_of_many_records_the_fastest_are_taken(elsewhere: Place, tmp_path: Path) -> None:
    target, factors = elsewhere.tvm_target, range(1, 33)
    records = [(RELU, elsewhere.schedule(RELU, factor), [1e-3 / factor], target) for factor in factors]
    taken = import_schedules(
        elsewhere.folder, tuned(tmp_path / "tuned", elsewhere, records), elsewhere.target
    )
    assert (taken.schedules, taken.skipped) == ({RELU.key: 16}, {SLOW: 16})
    assert list(elsewhere.told(RELU).values()) == [(1e-3 / factor,) for factor in range(32, 16, -1)]


def test_code_in_an_annotation_never_gets_into_a_store(elsewhere: Place, tmp_path: Path) -> None:
    schedule = elsewhere.schedule(RELU)
    block = schedule.get_child_blocks(schedule.get_sblock("root"))[-1]
    schedule.annotate(schedule.get_loops(block)[0], "pragma_import_llvm", "define void @f() {ret void}")
    database = tuned(tmp_path / "tuned", elsewhere, [(RELU, schedule, [1e-3], elsewhere.tvm_target)])
    with pytest.raises(UsageError, match=f"nothing in it is of use for .*: 1 records {NO_SCHEDULE}"):
        import_schedules(elsewhere.folder, database, elsewhere.target)
    assert elsewhere.told(RELU) == {}


def test_kernels_of_others_networks_are_known_by_their_hash(place: Place, tmp_path: Path) -> None:
    foreign = Kernel(OTHER.graph, OTHER.inputs, structural_hash(place.module(OTHER)))
    place.fill({}, foreign)
    schedule = place.schedule(OTHER)
    database = tuned(tmp_path / "tuned", place, [(OTHER, schedule, [1e-3], place.tvm_target)])
    assert import_schedules(place.folder, database, place.target).schedules == {foreign.key: 1}
    ((text, seconds),) = place.told(foreign).items()
    assert seconds == (1e-3,)
    replayed = replay_trace(place.module(OTHER), text)  # as a profile of the network does, which has the code
    assert structural_hash(replayed.mod) == structural_hash(schedule.mod)


def test_modules_stay_closed(elsewhere: Place, tmp_path: Path) -> None:
    records = [(RELU, elsewhere.schedule(RELU), [1e-3], elsewhere.tvm_target)]
    database = tuned(tmp_path / "tuned", elsewhere, records)
    (line,) = map(json.loads, (database / WORKLOADS).read_text(encoding="utf-8").splitlines())
    (database / WORKLOADS).write_text(json.dumps([line[0], "no module"]), encoding="utf-8")
    assert import_schedules(elsewhere.folder, database, elsewhere.target).schedules == {RELU.key: 1}


def test_nothing_is_stored_of_a_database_that_is_damaged(elsewhere: Place, tmp_path: Path) -> None:
    records = [(RELU, elsewhere.schedule(RELU), [1e-3], elsewhere.tvm_target)]
    database = tuned(tmp_path / "tuned", elsewhere, records)
    with (database / RECORDS).open("a", encoding="utf-8") as file:
        file.write("[0,[")
    with pytest.raises(UsageError, match=f"{RECORDS}, line 2: no JSON"):
        import_schedules(elsewhere.folder, database, elsewhere.target)
    assert elsewhere.told(RELU) == {}


def test_another_environment_and_folders_without_measurements_are_refused(
    place: Place, tmp_path: Path
) -> None:
    text = trace_text(place.schedule(RELU))
    place.fill({RELU: [(text, 0.1)]})
    database = tuned(tmp_path / "tuned", place, [(RELU, place.schedule(RELU), [1e-3], place.tvm_target)])
    (place.folder / SAMPLES).rename(tmp_path / SAMPLES)
    for work in (export_schedules, import_schedules):
        out = database if work is import_schedules else tmp_path / "new"
        with pytest.raises(StoreError, match=f"{SAMPLES}: no measurements there"):
            work(place.folder, out, place.target)
    table = LatencyTable.load(place.folder)
    LatencyTable(table.target, {**table.fingerprint, "cores": 999}, table.rows).save(
        place.folder, made_by="a test"
    )
    with pytest.raises(IncompatibleTable, match=r"measured in another environment \(cores 999 instead of"):
        export_schedules(place.folder, tmp_path / "new", place.target)


def test_what_is_in_the_way_stays(place: Place, tmp_path: Path) -> None:
    place.fill({RELU: [(trace_text(place.schedule(RELU)), 0.1)]})
    database = tuned(tmp_path / "tuned", place, [(RELU, place.schedule(RELU), [1e-3], place.tvm_target)])
    before = (database / RECORDS).read_bytes()
    with pytest.raises(InTheWay, match=f"{RECORDS}.*name another folder for TVM's database"):
        export_schedules(place.folder, database, place.target)
    assert (database / RECORDS).read_bytes() == before
    (tmp_path / "file").touch()
    with pytest.raises(InTheWay, match="file: there already"):
        export_schedules(place.folder, tmp_path / "file", place.target)


def test_without_any_trace_nothing_is_written(place: Place, tmp_path: Path) -> None:
    place.fill({CONV: [(TILE, 0.1)]}, RELU)
    with pytest.raises(UsageError, match=f"no trace to write: .*1 kernels {TILES}.*profile with --trials 16"):
        export_schedules(place.folder, tmp_path / "tuned", place.target)
    assert not (tmp_path / "tuned").exists()
