"""Careful timings: which schedules get one, which get another, and that none is lost."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from cost_models.database.history import History
from cost_models.database.records import Measurement, Trial
from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel
from cost_models.lowering.best_schedules import kernel_module
from cost_models.profiling.context import MeasureContext, measure_context
from cost_models.profiling.finalists import time_again, time_defaults, time_disturbed, time_finalists
from cost_models.profiling.status import Status
from cost_models.runner.runner import Timing
from cost_models.schedules.serialization import Proposal
from cost_models.tuning.kernel_search import KernelSearch, SearchSettings
from cost_models.tuning.scheduler import Engine, Stopped
from targets import Done, NoBoardLeft, Target

from ..builds import stopped, until, workers_of
from ..measuring import kernel_of, quick_target

DRIFT = ("drift: the reference took up to 1.31 times its fastest",)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return quick_target(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def shared(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasureContext]:
    path = tmp_path_factory.mktemp("shared") / "m.sqlite"
    with MeasurementStore.open(path) as store, measure_context(target, store) as context:
        yield context


@pytest.fixture
def context(shared: MeasureContext, tmp_path: Path) -> Iterator[MeasureContext]:
    """The shared pool and boards, with an empty store."""
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        history = History(store, store.add_environment(shared.fingerprint))
        yield replace(shared, history=history, status=Status())


@pytest.fixture
def history(context: MeasureContext) -> History:
    return context.history


def known(history: History, *channels: int) -> list[Kernel]:
    kernels = [kernel_of(number) for number in channels]
    for kernel in kernels:
        history.store.add_kernel(kernel.key, kernel.description)
    return kernels


def proposals(kernel: Kernel, target: Target, count: int) -> list[Proposal]:
    mod = kernel_module(kernel, target.tvm_target())
    return KernelSearch(mod, target.tvm_target(), SearchSettings.for_trials(count)).propose(count)


def add_default(history: History, kernel: Kernel, seconds: float, notes: tuple[str, ...] = ()) -> None:
    found = Measurement(kernel=kernel.key, how="default", samples_s=(seconds,), notes=notes)
    history.store.add_measurement(history.environment, found)


def add_trials(
    history: History, kernel: Kernel, target: Target, seconds: Sequence[float], origin: str = "tiles"
) -> list[int]:
    """Trials of real schedules with given latencies."""
    return [
        history.store.add_trial(
            history.environment,
            kernel.key,
            Trial(schedule=proposal.schedule, samples_s=(latency_s,), origin=origin),
        )
        for proposal, latency_s in zip(proposals(kernel, target, len(seconds)), seconds, strict=True)
    ]


def test_default_schedules_are_timed_beside_the_reference(context: MeasureContext, history: History) -> None:
    kernels = known(history, 8, 16, 24)
    time_defaults(context, kernels)
    assert context.status.timed == context.status.timings == 3
    for kernel in kernels:
        assert list(history.timings(kernel)) == [None]
        (found,) = history.timings(kernel)[None]
        assert (found.how, found.error) == ("default", None)
        assert len(found.samples_s) >= 4  # two rounds of half of what the target says
        assert len(found.reference_s) >= 3
        assert found.board


def test_the_best_trials_that_were_not_timed_are_timed_beside_the_default_schedule(
    context: MeasureContext, history: History, target: Target
) -> None:
    (kernel,) = known(history, 8)
    add_default(history, kernel, 1.0)
    _, first, second, _ = add_trials(history, kernel, target, [0.9, 0.5, 0.6, 0.7])
    time_finalists(context, [kernel])
    timings = history.timings(kernel)
    assert list(timings) == [None, first, second]
    assert [len(timings[id_]) for id_ in (None, first, second)] == [2, 1, 1]
    assert {timings[id_][0].how for id_ in (first, second)} == {"tuned"}
    assert context.status.timed == context.status.timings == 3
    time_finalists(context, [kernel])
    assert history.timings(kernel) == timings


def test_trials_that_are_much_slower_than_the_default_schedule_are_not_timed(
    context: MeasureContext, history: History, target: Target
) -> None:
    slow, near, adapted = known(history, 8, 16, 24)
    for kernel in (slow, near, adapted):
        add_default(history, kernel, 1.0)
    add_trials(history, slow, target, [1.3])
    (little_slower,) = add_trials(history, near, target, [1.1])
    (of_another,) = add_trials(history, adapted, target, [0.5], origin="transfer")
    time_finalists(context, [slow, near, adapted])
    assert list(history.timings(slow)) == [None]
    assert list(history.timings(near)) == [None, little_slower]
    assert [found.how for found in history.timings(adapted)[of_another]] == ["transferred"]


def test_what_counts_is_timed_again_where_the_device_was_disturbed(
    context: MeasureContext, history: History, target: Target
) -> None:
    disturbed, quiet, beaten, hopeless = known(history, 8, 16, 24, 32)
    add_default(history, disturbed, 1e-9, DRIFT)
    add_default(history, quiet, 1e-9, ("few samples: 3",))
    add_default(history, beaten, 1.0, DRIFT)
    (trial,) = add_trials(history, beaten, target, [1e-9])
    better = Measurement(kernel=beaten.key, how="tuned", samples_s=(1e-9,))
    history.store.add_measurement(history.environment, better, trial=trial)
    for _ in range(3):  # so often, and no more
        add_default(history, hopeless, 1e-9, DRIFT)
    time_disturbed(context, [disturbed, quiet, beaten, hopeless])
    assert context.status.timed == context.status.timings == 1
    counts = [len(history.timings(kernel)[None]) for kernel in (disturbed, quiet, beaten, hopeless)]
    assert counts == [2, 1, 1, 3]


def test_the_fastest_schedule_is_visited_again(
    context: MeasureContext, history: History, target: Target
) -> None:
    """As often as is asked for, what is there counted; where the default schedule is beaten, the other."""
    fresh, visited, beaten = known(history, 8, 16, 24)
    for kernel, count in ((fresh, 1), (visited, 2), (beaten, 1)):
        for _ in range(count):
            add_default(history, kernel, 1.0)
    (trial,) = add_trials(history, beaten, target, [1e-9])
    better = Measurement(kernel=beaten.key, how="tuned", samples_s=(1e-9,))
    history.store.add_measurement(history.environment, better, trial=trial)
    for visits in (2, 2, 3):
        time_again(context, [fresh, visited, beaten], visits, 0.01)
    assert [len(history.timings(kernel)[None]) for kernel in (fresh, visited, beaten)] == [3, 3, 1]
    assert len(history.timings(beaten)[trial]) == 3
    assert context.status.timed == context.status.timings == 5


def test_of_a_searched_schedule_it_is_that_one(
    context: MeasureContext, history: History, target: Target
) -> None:
    (kernel,) = known(history, 8)
    add_default(history, kernel, 1.0)
    (trial,) = add_trials(history, kernel, target, [1e-9])
    found = Measurement(kernel=kernel.key, how="tuned", samples_s=(1e-9,), notes=DRIFT)
    history.store.add_measurement(history.environment, found, trial=trial)
    time_disturbed(context, [kernel])
    timings = history.timings(kernel)
    assert [len(timings[id_]) for id_ in (None, trial)] == [1, 2]
    assert timings[trial][1].how == "tuned"


def test_an_effort_may_limit_what_a_timing_costs(
    context: MeasureContext, history: History, target: Target
) -> None:
    """Two rounds are made in any case, more only within the budget."""
    (kernel,) = known(history, 8)
    strict = target.measure.model_copy(update={"interval_width": 1e-9, "budget_s": 3.0})
    strictly = replace(context, target=target.model_copy(update={"measure": strict}))
    time_defaults(strictly, [kernel])
    time_defaults(strictly, [kernel], 1e-9)
    long, short = history.timings(kernel)[None]
    assert len(short.reference_s) < len(long.reference_s)


def test_nothing_is_built_meanwhile_on_the_device_itself(context: MeasureContext, target: Target) -> None:
    pids = workers_of(psutil.Process())
    workers = [psutil.Process(pid) for pid in pids]
    assert workers
    with context.quiet():
        until(lambda: stopped(pids))
    until(lambda: psutil.STATUS_STOPPED not in {worker.status() for worker in workers})
    with replace(context, target=target.model_copy(update={"kind": "board"})).quiet():
        assert psutil.STATUS_STOPPED not in {worker.status() for worker in workers}


class Scripted:
    """Boards that do with the work, once all of it is there, what a test says."""

    def __init__(self, count: int, ends: Callable[[list["Future[Any]"]], None]) -> None:
        self.futures: list[Future[Any]] = []
        self._count, self._ends = count, ends

    def submit(self, work: object, *, timeout_s: float) -> "Future[Any]":
        self.futures.append(Future())
        if len(self.futures) == self._count:
            self._ends(self.futures)
        return self.futures[-1]


def done(seconds: float) -> Done[Timing]:
    return Done(Timing(samples_s=(seconds,)), "board:1", 0.1)


def test_a_board_that_is_lost_does_not_cost_what_others_have_measured(
    context: MeasureContext, history: History
) -> None:
    def end(futures: list["Future[Any]"]) -> None:
        futures[0].set_exception(NoBoardLeft("all are gone"))
        futures[1].set_result(done(1.0))
        futures[2].set_result(done(2.0))

    boards: Any = Scripted(3, end)
    kernels = known(history, 8, 16, 24)
    with pytest.raises(NoBoardLeft, match="all are gone"):
        time_defaults(replace(context, fleet=boards), kernels)
    assert [history.default_s(kernel) for kernel in kernels[1:]] == [1.0, 2.0]
    assert history.timings(kernels[0]) == {}
    assert (context.status.timed, context.status.timings) == (2, 3)


def test_it_stops_while_a_board_is_busy(context: MeasureContext, history: History) -> None:
    def end(futures: list["Future[Any]"]) -> None:
        futures[1].set_result(done(1.0))  # the first one never comes
        engine.stop()

    boards: Any = Scripted(2, end)
    engine = Engine(context.pool, boards, context.tvm_target, lambda *_: None, in_turns=True)
    kernels, stopped = known(history, 8, 16), replace(context, fleet=boards, engine=engine)
    with pytest.raises(Stopped):
        time_defaults(stopped, kernels)
    assert history.default_s(kernels[1]) == 1.0
    with pytest.raises(Stopped):  # before anything is built
        time_defaults(stopped, kernels)
    assert len(boards.futures) == 2
