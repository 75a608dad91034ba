"""The profiler on this machine: what it stores, and what it does not repeat."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cost_models.database.environment import environment, told_by
from cost_models.database.records import Measurement, ReferenceRun, Trial
from cost_models.database.store import MeasurementStore
from cost_models.database.table import LatencyTable
from cost_models.errors import CostModelError
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.lowering.pipeline import structural_hash
from cost_models.profiling import finalists as careful
from cost_models.profiling import profiler as profiler_module
from cost_models.profiling.context import MeasureContext, measure_context
from cost_models.profiling.profiler import measure
from cost_models.schedules.serialization import Proposal
from cost_models.tuning.effort import Effort
from cost_models.tuning.kernel_search import KernelSearch
from targets import Target, TargetError

from ..measuring import (
    contents,
    failing_for,
    is_kept,
    kernel_of,
    quick_target,
    refused,
    split,
    timings_of,
    trials_of,
)

DEFAULTS = Effort.alone(0)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return quick_target(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path_factory.mktemp("store") / "m.sqlite") as store:
        yield store


@pytest.fixture(scope="module")
def context(target: Target, store: MeasurementStore) -> Iterator[MeasureContext]:
    with measure_context(target, store) as context:
        yield context


def disturbed(context: MeasureContext, kernel: Kernel) -> bool:
    """Whether the machine was so restless that this kernel is to be timed again."""
    _, timing = context.history.store.fastest(context.history.environment, kernel.key)[kernel.key]
    return timing.disturbed


def test_a_kernel_gets_its_default_timing_its_trials_and_timings_of_the_best(context: MeasureContext) -> None:
    kernel, ticks = kernel_of(16), []
    measure(context, [kernel], Effort.alone(3), lambda: ticks.append(context.status.phase))
    trials, timings = trials_of(context, kernel), timings_of(context, kernel)
    measurements = list(context.history.store.measurements(context.history.environment, kernel.key).values())
    assert len(trials) == len({trial.schedule for trial in trials.values()}) == 3
    assert {trial.error for trial in trials.values()} == {None}
    assert context.history.store.kernels()[kernel.key] == kernel.description
    default = measurements[0]
    assert default.how == "default"
    best = sorted(trials, key=lambda id_: trials[id_].median_s)[:2]
    finalists = {id_ for id_ in best if trials[id_].median_s < 1.2 * default.median_s}
    assert timings.keys() == {None, *finalists}
    assert len(timings[None]) >= 1 + bool(finalists)  # beside the finalists, once more
    assert {m.how for id_, found in timings.items() if id_ is not None for m in found} <= {"tuned"}
    (board,) = context.fleet.boards()
    for measurement in measurements:
        assert len(measurement.samples_s) >= 3
        assert len(measurement.reference_s) >= 3
        assert measurement.board == board.name
    assert ticks
    assert set(ticks) >= {"searching"}


def test_the_status_tells_what_was_done(context: MeasureContext) -> None:
    kernels = [kernel_of(32), kernel_of(48)]
    measure(context, kernels, Effort.alone(2))
    status = context.status
    assert (status.done, status.total) == (2, 2)
    assert (status.trials, status.planned) == (4, 4)
    assert status.timed == status.timings >= 2
    assert context.engine.current == ()
    for kernel in kernels:
        work, trials = status.work[kernel], trials_of(context, kernel).values()
        assert (work.trials, work.valid) == (2, 2)
        assert work.best_s == min(trial.median_s for trial in trials)
        assert work.build_s == pytest.approx(sum(trial.build_s for trial in trials))
        assert min(work.sampling_s, work.build_s, work.upload_s, work.run_s) > 0


def test_what_is_stored_is_not_done_again_and_more_trials_are_the_difference(context: MeasureContext) -> None:
    kernel = kernel_of(24)
    measure(context, [kernel], Effort.alone(2))
    before, quiet, timed = (
        contents(context.history.store),
        not disturbed(context, kernel),
        timings_of(context, kernel),
    )
    for effort in (Effort.alone(2), DEFAULTS):
        measure(context, [kernel], effort)
        assert context.status.trials == 0
    after = contents(context.history.store)
    assert after[0] == before[0]
    assert timings_of(context, kernel).keys() == timed.keys()
    assert not quiet or after == before
    measure(context, [kernel], Effort.alone(4))
    assert context.status.trials == context.status.planned == 2
    trials = trials_of(context, kernel)
    assert len(trials) == len({trial.schedule for trial in trials.values()}) == 4
    assert is_kept(after, contents(context.history.store))


def test_no_trials_is_the_default_schedule_alone(context: MeasureContext) -> None:
    kernel = kernel_of(8)
    measure(context, [kernel], DEFAULTS)
    ((how, timings),) = timings_of(context, kernel).items()
    assert how is None
    assert {(timing.how, timing.error) for timing in timings} == {("default", None)}
    assert kernel.key not in context.history.store.trial_counts(context.history.environment)
    _, counts = context.history.store.fastest(context.history.environment, kernel.key)[kernel.key]
    table = LatencyTable.from_history(context.history, "quick-cpu")
    assert table.rows[kernel.key].samples_s == counts.samples_s
    assert (table.rows[kernel.key].how, table.rows[kernel.key].trials) == ("default", 0)


def test_an_effort_may_ask_for_visits_and_more_of_them_are_the_difference(context: MeasureContext) -> None:
    kernels = [kernel_of(112), kernel_of(120)]
    for visits, least in ((1, 1), (3, 3), (3, 3), (2, 3)):  # no schedule is timed more than three times
        measure(context, kernels, replace(DEFAULTS, visits=visits))
        assert all(least <= len(context.history.timings(kernel)[None]) <= 3 for kernel in kernels)
        assert visits == 1 or context.status.phase == f"timing again, visit {visits} of {visits}"


def test_failed_default_timing_is_tried_again(context: MeasureContext) -> None:
    kernel = kernel_of(56)
    failed = Measurement(kernel=kernel.key, how="default", error="device was gone")
    context.history.store.add_kernel(kernel.key, kernel.description)
    context.history.store.add_measurement(context.history.environment, failed)
    measure(context, [kernel], DEFAULTS)
    first, second, *_ = timings_of(context, kernel)[None]
    assert first == failed
    assert second.error is None
    before = contents(context.history.store)
    if not disturbed(context, kernel):
        measure(context, [kernel], DEFAULTS)
        assert contents(context.history.store) == before


def test_a_kernel_whose_default_schedule_fails_gets_a_searched_one(
    context: MeasureContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, other = kernel_of(72), kernel_of(80)
    module = kernel_module(kernel, context.tvm_target)
    monkeypatch.setattr(careful, "schedule_default", failing_for(module, careful.schedule_default))
    measure(context, [kernel, other], Effort.alone(2))
    assert all("nowhere" in str(found.error) for found in timings_of(context, kernel)[None])
    assert len(trials_of(context, kernel)) == 2
    fastest = context.history.store.fastest(context.history.environment)
    assert fastest[kernel.key][1].how == "tuned"
    assert other.key in fastest


def test_what_others_tell_is_tried_and_never_believed(context: MeasureContext) -> None:
    kernel, store, history = kernel_of(104), context.history.store, context.history
    texts = [split(kernel_module(kernel, context.tvm_target), factor) for factor in (2, 4, 8)]
    store.add_kernel(kernel.key, kernel.description)
    there = store.add_environment(told_by(context.fingerprint, {"file": "somebody's"}))
    told = [
        Trial(schedule=text, samples_s=(s,)) for text, s in zip(texts, (3e-12, 1e-12, 2e-12), strict=True)
    ]
    store.add_trials(there, [(kernel.key, trial) for trial in told])
    measure(context, [kernel], DEFAULTS)
    assert trials_of(context, kernel) == {}
    measure(context, [kernel], Effort.alone(2))
    trials = list(trials_of(context, kernel).values())
    assert {trial.schedule for trial in trials} == {texts[1], texts[2]}  # whichever was built first
    assert len(trials) == 2
    assert all(trial.median_s > 1e-9 and trial.board for trial in trials)
    assert history.fastest_s(kernel) > 1e-9
    measure(context, [kernel], Effort.alone(2))
    assert list(trials_of(context, kernel).values()) == trials
    measure(context, [kernel], Effort.alone(5))
    trials = list(trials_of(context, kernel).values())
    assert {trial.schedule for trial in trials[:2]} == {texts[1], texts[2]}
    assert trials[2].schedule == texts[0]
    assert len(trials) == len({trial.schedule for trial in trials}) == 5


class Refused:
    """A search all of whose candidates TVM refuses."""

    sampling_s = evolution_s = 0.0

    def __init__(self, mod: Any) -> None:
        self._mod = mod

    def propose(self, at_most: int) -> list[Proposal]:
        schedules = (str(number) for number in range(at_most))
        return [Proposal(schedule=text, mod=refused(self._mod), origin="tiles") for text in schedules]

    def learn(self, proposals: Sequence[Proposal], trials: Sequence[Trial]) -> None:
        pass


def test_a_kernel_for_which_nothing_works_stays_failed_with_its_reason(
    context: MeasureContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kernel, other = kernel_of(88), kernel_of(96)
    module = kernel_module(kernel, context.tvm_target)
    monkeypatch.setattr(careful, "schedule_default", failing_for(module, careful.schedule_default))
    monkeypatch.setattr(
        profiler_module,
        "KernelSearch",
        lambda mod, *more: (
            Refused(mod) if structural_hash(mod) == structural_hash(module) else KernelSearch(mod, *more)
        ),
    )
    measure(context, [kernel, other], Effort.alone(3))
    trials = list(trials_of(context, kernel).values())
    assert len(trials) == 3
    assert all("nowhere" in str(trial.error) for trial in trials)
    (default,) = timings_of(context, kernel)[None]
    assert "nowhere" in str(default.error)
    assert (context.status.work[kernel].trials, context.status.work[kernel].valid) == (3, 0)
    assert {record.message for record in caplog.records if record.levelno >= logging.WARNING} == {
        f"{kernel.label}, default schedule: {default.error}"
    }
    assert other.key in context.history.store.fastest(context.history.environment)
    assert kernel.key not in context.history.store.fastest(context.history.environment)
    name = context.target.name
    table = LatencyTable.from_history(context.history, name, lambda key, description: 0.25)
    row = table.rows[kernel.key]
    assert (row.how, row.trials, row.estimate_s, row.reason) == ("estimated", 3, 0.25, default.error)


def test_another_speed_of_the_machine_is_told(
    target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with MeasurementStore.open(tmp_path / "m.sqlite") as store, measure_context(target, store) as context:
        store.add_reference(context.history.environment, ReferenceRun(board="earlier", samples_s=(1e-9,)))
        measure(context, [], DEFAULTS)
        (board,) = context.fleet.boards()
        assert [run.board for run in store.references(context.history.environment).values()] == [
            "earlier",
            board.name,
        ]
    (warning,) = [record.message for record in caplog.records if "reference kernel" in record.message]
    assert warning.startswith(f"{board.name} runs the reference kernel in ")
    assert "for earlier results it took 0.000 ms" in warning
    assert warning.endswith("old and new latencies do not compare")


def test_dtypes_that_are_not_measured_are_refused(target: Target, store: MeasurementStore) -> None:
    with pytest.raises(CostModelError, match=r"^dtype int8: this release measures float32 and float16 only$"):
        measure_context(target, store, dtype="int8").__enter__()
    with pytest.raises(TargetError, match="dtype is 'float61', allowed: float32, float16, int8"):
        measure_context(target, store, dtype="float61").__enter__()


def test_results_are_stored_under_the_environment_of_the_target(
    context: MeasureContext, target: Target
) -> None:
    assert context.fingerprint == environment(target)
    assert context.history.store.find_environment(environment(target)) == context.history.environment
