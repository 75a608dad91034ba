"""The profiler with several boards, real servers under one key of a real tracker, and their ends."""

import json
import logging
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cost_models.database.store import MeasurementStore
from cost_models.ir.fusion import Kernel
from cost_models.profiling.context import MeasureContext, measure_context
from cost_models.profiling.profiler import measure
from cost_models.tuning.effort import Effort
from targets import BoardState, NoBoardLeft, Target, load_target

from ...targets.conftest import Board, Yard, wait_until, whole_yard, yard
from ..measuring import MEASURE, contents, is_kept, kernel_of, quick_target, timings_of, trials_of

__all__ = ["whole_yard", "yard"]  # fixtures
TIMEOUT_S = 2
WAIT_S = 5.0  # so long all boards must be gone before it ends
EFFORT = Effort.alone(4)
BOARDS = f"""
schema_version: 1
name: quick-board
summary: servers on this machine that are reached as boards are
kind: board
model: test board
tvm: TVM
rpc: {{key: board, slower_by: 2.5}}
dtypes: [float32]
measure: {MEASURE.replace("TIMEOUT", str(TIMEOUT_S))}
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    here = json.loads(str(load_target("local-cpu").tvm_target()))
    attributes = {name: here[name] for name in ("kind", "mcpu", "mattr") if name in here} | {"num-cores": 1}
    text = BOARDS.replace("TVM\n", json.dumps(attributes) + "\n", 1)
    return quick_target(tmp_path_factory.mktemp("target"), text)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    with MeasurementStore.open(tmp_path / "m.sqlite") as store:
        yield store


@contextmanager
def context_of(target: Target, store: MeasurementStore, yard: Yard, boards: int) -> Iterator[MeasureContext]:
    """A context that has so many boards."""
    with measure_context(target, store, tracker=yard.address, wait_s=WAIT_S) as context:
        assert wait_until(lambda: [board.state for board in context.fleet.boards()] == ["ready"] * boards)
        yield context


def kernels() -> list[Kernel]:
    return [kernel_of(channels) for channels in (8, 16, 24, 32)]


def state_of(context: MeasureContext, board: Board) -> BoardState:
    return next(state for state in context.fleet.boards() if state.name == board.name)


def states(context: MeasureContext) -> list[tuple[str, str]]:
    return [(board.name, board.state) for board in context.fleet.boards()]


def in_the_middle(context: MeasureContext, act: Callable[[], None]) -> Callable[[], None]:
    """A display that calls ``act`` once, after two trials."""
    acted: list[bool] = []

    def tick() -> None:
        if context.status.trials >= 2 and not acted:
            acted.append(True)
            act()

    return tick


def assert_complete(context: MeasureContext) -> None:
    """Every kernel has all that the effort asks for, and nothing was blamed on it."""
    for kernel in kernels():
        trials = trials_of(context, kernel).values()
        assert len(trials) == len({trial.schedule for trial in trials}) == EFFORT.trials
        assert {trial.error for trial in trials} == {None}
        timings = [timing for all_ in timings_of(context, kernel).values() for timing in all_]
        assert {timing.error for timing in timings} == {None}
        assert kernel.key in context.history.store.fastest(context.history.environment)


def stored_by_board(context: MeasureContext) -> Counter[str]:
    trials, measurements = contents(context.history.store)
    return Counter(
        one.board for of in (*trials.values(), measurements) for one in of.values() if one.error is None
    )


def assert_all_is_stored(context: MeasureContext) -> None:
    """What a board has done is in the store, every single piece of it."""
    assert stored_by_board(context) == {
        state.name: state.done for state in context.fleet.boards() if state.done
    }


def test_boards_share_the_work(target: Target, store: MeasurementStore, yard: Yard) -> None:
    names = {yard.board().name, yard.board().name}
    with context_of(target, store, yard, boards=2) as context:
        measure(context, kernels(), EFFORT)
        assert_complete(context)
        assert_all_is_stored(context)
        assert stored_by_board(context).keys() == names
        assert {run.board for run in store.references(context.history.environment).values()} == names


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_board_that_vanishes_is_survived(
    target: Target,
    store: MeasurementStore,
    yard: Yard,
    number: signal.Signals,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    good, bad = yard.board(), yard.board()
    with context_of(target, store, yard, boards=2) as context:
        measure(context, kernels(), EFFORT, in_the_middle(context, lambda: bad.signal(number)))
        assert_complete(context)
        assert_all_is_stored(context)
        assert (state_of(context, bad).state, state_of(context, good).state) == ("lost", "ready")
    blamed = [record.message for record in caplog.records if f"board {bad.name} lost: " in record.message]
    assert blamed
    if number == signal.SIGSTOP:
        assert f"board {bad.name} lost: no answer within {TIMEOUT_S} s" in blamed


def test_without_boards_it_ends_in_order_and_goes_on_when_one_is_back(
    target: Target, store: MeasurementStore, yard: Yard
) -> None:
    boards = [yard.board(), yard.board()]

    def kill_all() -> None:
        for board in boards:
            board.kill()

    with context_of(target, store, yard, boards=2) as context:
        with pytest.raises(NoBoardLeft) as caught:
            measure(context, kernels(), EFFORT, in_the_middle(context, kill_all))
        before = contents(store)
        assert_all_is_stored(context)
        with pytest.raises(NoBoardLeft):  # at once, the fleet is over
            measure(context, kernels(), EFFORT)
    text = str(caught.value)
    assert text.startswith(f"no board is left under key 'board' at tracker {yard.address}: ")
    assert all(f"{board.name} (" in text for board in boards)
    assert text.endswith("all results are kept: restart the boards, then the same command goes on")
    assert "\n" not in text
    assert caught.value.exit_code == 1
    assert sum(map(len, before[0].values())) >= 2
    assert [one.error for one in before[1].values() if one.error] == []
    yard.clear()
    again = yard.board()
    with context_of(target, store, yard, boards=1) as context:
        measure(context, kernels(), EFFORT)
        assert_complete(context)
        assert is_kept(before, contents(store))
        assert stored_by_board(context)[again.name] == state_of(context, again).done > 0


def test_a_slow_board_is_set_aside_and_nothing_of_it_is_stored(
    target: Target, store: MeasurementStore, yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    good = yard.board()
    with context_of(target, store, yard, boards=1) as context:
        slow = yard.board(slower=20)  # more than others on its core leave the good one
        assert wait_until(lambda: (slow.name, "set aside") in states(context)), states(context)
        measure(context, kernels(), EFFORT)
        assert_complete(context)
        assert_all_is_stored(context)
        assert stored_by_board(context).keys() == {good.name}
        state = state_of(context, slow)
        assert (state.state, state.done) == ("set aside", 0)
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    (warning,) = [message for message in told if message.startswith(f"board {slow.name} is ")]
    assert f"times slower than {good.name}" in warning
    assert "gets no work until it is at speed" in warning
