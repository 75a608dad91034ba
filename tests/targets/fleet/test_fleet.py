"""Fleets of real boards: they share work, and what happens to one of them is survived."""

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from targets import (
    DeviceUnavailable,
    Fleet,
    NoBoardLeft,
    Session,
    Target,
    TargetError,
    WorkFailed,
)

from ..conftest import LONG_S, ROOT, Board, Yard, nothing, slowed, state_of, wait_until

# Its only board is killed or stopped under it. It must come to an end, with the exit code of the error.
LONELY = """
import os, sys
from targets import Fleet, NoBoardLeft, load_target
address, library, group, number = sys.argv[1:]
target = load_target("local-cpu")
target = target.model_copy(update={"rpc": target.rpc.model_copy(update={"key": "board"})})
with Fleet(target, address, session_s=2.0, wait_s=1.0) as fleet:
    spin = fleet.submit(lambda session: session.upload(library)["spin"](), timeout_s=1.0)
    later = fleet.submit(lambda session: session.device.sync(), timeout_s=1.0)
    os.killpg(int(group), int(number))
    try:
        later.result()
    except NoBoardLeft as error:
        print(error)
        sys.exit(error.exit_code)
"""


def lasting(seconds: float) -> Callable[[Session], str]:
    def work(session: Session) -> str:
        time.sleep(seconds)
        return nothing(session)

    return work


def all_ready(fleet: Fleet, count: int) -> bool:
    return [state.state for state in fleet.boards()] == ["ready"] * count


@contextmanager
def fleet_of(
    yard: Yard, target: Target, count: int, session_s: float = 60.0, wait_s: float = LONG_S
) -> Iterator[tuple[Fleet, list[Board]]]:
    boards = [yard.board() for _ in range(count)]
    with Fleet(target, yard.address, wait_s=wait_s, session_s=session_s) as fleet:
        assert wait_until(lambda: all_ready(fleet, count))
        yield fleet, boards


def on_first_try(board: Board, act: Callable[[Session], None]) -> Callable[[Session], str]:
    """Work that calls ``act`` when it gets to ``board``, and else succeeds."""

    def work(session: Session) -> str:
        if session.board == board.name:
            act(session)
        return lasting(0.02)(session)

    return work


def test_two_boards_share_the_work(yard: Yard, board_target: Target) -> None:
    events: list[str] = []
    names = {yard.board().name, yard.board().name}
    with Fleet(board_target, yard.address, wait_s=LONG_S, on_event=events.append) as fleet:
        assert wait_until(lambda: all_ready(fleet, 2))
        done = [future.result() for future in [fleet.submit(lasting(0.02), timeout_s=5.0) for _ in range(20)]]
        assert {one.board for one in done} == names
        assert [one.value for one in done] == [one.board for one in done]
        assert min(one.seconds for one in done) >= 0.02
        assert sum(state.done for state in fleet.boards()) == 20
    assert sorted(events) == sorted(f"board {name} joined" for name in names)


def test_a_board_that_is_killed_costs_only_what_it_was_at(
    yard: Yard, board_target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    with fleet_of(yard, board_target, 2) as (fleet, (good, bad)):
        work = on_first_try(bad, lambda session: bad.kill())
        futures = [fleet.submit(work, timeout_s=5.0) for _ in range(20)]
        assert {future.result(LONG_S).board for future in futures} == {good.name}
        state = state_of(fleet, bad)
        assert (state.state, state.failures, state.done) == ("lost", 1, 0)
        assert state.reason
        yard.board(bad.port)
        assert wait_until(lambda: state_of(fleet, bad).state == "ready")
        futures = [fleet.submit(lasting(0.02), timeout_s=5.0) for _ in range(20)]
        assert {future.result(LONG_S).board for future in futures} == {good.name, bad.name}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_board_that_is_stopped_is_given_up_and_may_come_back(yard: Yard, board_target: Target) -> None:
    with fleet_of(yard, board_target, 2) as (fleet, (good, bad)):
        work = on_first_try(bad, lambda session: bad.signal(signal.SIGSTOP))
        futures = [fleet.submit(work, timeout_s=1.0) for _ in range(20)]
        assert {future.result(LONG_S).board for future in futures} == {good.name}
        state = state_of(fleet, bad)
        assert (state.state, state.failures, state.reason) == ("lost", 1, "no answer within 1 s")
        bad.signal(signal.SIGCONT)
        assert wait_until(lambda: state_of(fleet, bad).state == "ready")
        assert wait_until(lambda: fleet.submit(nothing, timeout_s=5.0).result(LONG_S).board == bad.name)


def test_a_board_that_fails_where_others_do_not_is_set_aside(
    yard: Yard, board_target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    def hang_up(session: Session) -> None:
        session.remote.get_function("CloseRPCConnection")()

    with fleet_of(yard, board_target, 2) as (fleet, (good, bad)):
        work = on_first_try(bad, hang_up)

        def is_set_aside() -> bool:
            assert fleet.submit(work, timeout_s=5.0).result(LONG_S).board == good.name
            return state_of(fleet, bad).state == "set aside"

        assert wait_until(is_set_aside)
        assert state_of(fleet, bad).failures == 3
        assert {fleet.submit(nothing, timeout_s=5.0).result(LONG_S).board for _ in range(5)} == {good.name}
    (warning,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.startswith(f"board {bad.name} failed 3 times in a row (")
    assert warning.count("connection was previously closed") == 3
    assert warning.endswith(
        "it gets no more work in this run, since other boards get theirs done; restart its RPC server"
    )


def test_work_that_hangs_everywhere_is_its_own_fault(
    yard: Yard, board_target: Target, bad_library: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with fleet_of(yard, board_target, 2, session_s=2.0) as (fleet, boards):
        future = fleet.submit(lambda session: session.upload(bad_library)["spin"](), timeout_s=0.5)
        with pytest.raises(WorkFailed) as caught:
            future.result(LONG_S)
        assert str(caught.value).startswith("no answer within 0.5 s (tried on 127.0.0.1:")
        assert all(board.name in str(caught.value) for board in boards)
        # the boards themselves end the sessions, and come back
        assert fleet.submit(nothing, timeout_s=1.0).result(LONG_S).value
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_work_that_raises_on_a_healthy_board_is_not_tried_again(yard: Yard, board_target: Target) -> None:
    tries: list[str] = []

    def fail(session: Session) -> None:
        tries.append(session.board)
        session.remote.get_function("tvm.rpc.server.load_module")("absent.so")

    with fleet_of(yard, board_target, 2) as (fleet, _):
        with pytest.raises(WorkFailed, match=r"cannot find file .*absent\.so"):
            fleet.submit(fail, timeout_s=5.0).result(LONG_S)
        assert len(tries) == 1
        with pytest.raises(WorkFailed, match=r"^ZeroDivisionError: division by zero$"):
            fleet.submit(lambda session: 1 / 0, timeout_s=5.0).result(LONG_S)
        assert [state.failures for state in fleet.boards()] == [0, 0]
        assert all_ready(fleet, 2)


def test_a_hung_local_server_is_restarted_for_the_second_try(local_cpu: Target, bad_library: Path) -> None:
    tries: list[str] = []

    def hang_once(session: Session) -> str:
        tries.append(session.board)
        session.scratch["tries"] = len(tries)
        if len(tries) == 1:
            session.upload(bad_library)["spin"]()
        return nothing(session)

    with Fleet(local_cpu, wait_s=LONG_S) as fleet:
        done = fleet.submit(hang_once, timeout_s=1.0).result(LONG_S)
        assert tries == [done.board, done.board]
        assert fleet.submit(lambda session: dict(session.scratch), timeout_s=1.0).result().value == {
            "tries": 2
        }
        (state,) = fleet.boards()
        assert (state.state, state.done, state.failures) == ("ready", 2, 1)


def test_a_crash_is_survived_by_the_local_server(local_cpu: Target, bad_library: Path) -> None:
    with Fleet(local_cpu, wait_s=LONG_S) as fleet:
        crash = fleet.submit(lambda session: session.upload(bad_library)["crash"](), timeout_s=5.0)
        others = [fleet.submit(nothing, timeout_s=5.0) for _ in range(3)]
        assert [other.result(LONG_S).board for other in others]
        with pytest.raises(WorkFailed, match="tried on"):
            crash.result(LONG_S)


def test_sessions_are_renewed_between_work(yard: Yard, board_target: Target) -> None:
    """More often than TVM has room for sessions (32), so none is kept."""
    sessions = []

    def remember(session: Session) -> None:
        from targets.tvm_import import tvm

        if "tensor" not in session.scratch:
            sessions.append(session)
            session.scratch["tensor"] = tvm.runtime.empty((8,), "float32", session.device)
        session._since -= 20.0  # as if it had been open for a while

    with fleet_of(yard, board_target, 1, session_s=30.0) as (fleet, _):
        for _ in range(36):
            fleet.submit(remember, timeout_s=15.0).result(LONG_S)
        (state,) = fleet.boards()
        assert (state.done, state.failures) == (36, 0)
    assert len(sessions) > 32
    assert not any(session.scratch for session in sessions)


def test_when_all_boards_are_gone_everything_ends_in_order(yard: Yard, board_target: Target) -> None:
    boards = [yard.board(), yard.board()]
    with Fleet(board_target, yard.address, wait_s=1.0) as fleet:
        assert wait_until(lambda: all_ready(fleet, 2))
        assert fleet.submit(nothing, timeout_s=5.0).result(LONG_S)
        futures = [fleet.submit(lasting(0.5), timeout_s=5.0) for _ in range(6)]
        for board in boards:
            board.kill()
        assert not wait(futures, LONG_S).not_done
        late = fleet.submit(nothing, timeout_s=5.0)
        for future in (futures[-1], late):
            with pytest.raises(NoBoardLeft) as caught:
                future.result(0)
            text = str(caught.value)
            assert text.startswith(
                f"no board is left under key 'board' at tracker {yard.address}: 127.0.0.1:"
            )
            assert all(f"{state.name} ({state.done} done): " in text for state in fleet.boards())
            assert text.endswith("all results are kept: restart the boards, then the same command goes on")
            assert caught.value.exit_code == 1
    assert isinstance(caught.value, DeviceUnavailable)


def test_work_is_not_blamed_for_boards_that_do_not_come_back(yard: Yard, board_target: Target) -> None:
    tries: list[str] = []
    with fleet_of(yard, board_target, 2, wait_s=1.0) as (fleet, boards):

        def board_dies(session: Session) -> None:
            tries.append(session.board)
            next(board for board in boards if board.name == session.board).kill()
            session.device.sync()

        with pytest.raises(NoBoardLeft, match="no board is left"):
            fleet.submit(board_dies, timeout_s=5.0).result(LONG_S)
        assert set(tries) == {board.name for board in boards}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_whose_board_is_gone_ends(yard: Yard, bad_library: Path, number: signal.Signals) -> None:
    """Threads that hang in TVM do not keep the interpreter."""
    board = yard.board()
    arguments = [yard.address, str(bad_library), str(board.pid), str(int(number))]
    lonely = subprocess.run(
        [sys.executable, "-c", LONELY, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (lonely.returncode, lonely.stderr) == (1, "")
    assert lonely.stdout.startswith("no board is left under key 'board'")
    if number == signal.SIGSTOP:
        assert f"{board.name} (0 done): no answer within 1 s" in lonely.stdout


def test_closing_cancels_what_has_not_begun_and_waits_for_nobody(yard: Yard, board_target: Target) -> None:
    with fleet_of(yard, board_target, 1) as (fleet, _):
        first = fleet.submit(lasting(4.0), timeout_s=30.0)
        second = fleet.submit(nothing, timeout_s=5.0)
        assert wait_until(first.running)
    assert not first.done()
    assert second.cancelled()
    with pytest.raises(TargetError, match="the fleet is closed; open another"), fleet:
        pass
    with pytest.raises(TargetError, match="the fleet is closed; open another"):
        fleet.submit(nothing, timeout_s=5.0)


def test_nothing_of_a_local_fleet_is_left(local_cpu: Target, bad_library: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    with Fleet(local_cpu, wait_s=LONG_S) as fleet:
        spin = fleet.submit(lambda session: session.upload(bad_library)["spin"](), timeout_s=60.0)
        assert wait_until(spin.running)
        assert set(psutil.Process().children(recursive=True)) - before
    assert set(psutil.Process().children(recursive=True)) <= before
    with pytest.raises(TargetError, match="the fleet is closed; open another"):  # its work is not blamed
        spin.result(LONG_S)
    assert wait_until(lambda: not any(thread.name == "fleet" for thread in threading.enumerate()))


def test_a_slow_board_is_set_aside_until_it_is_at_speed(
    yard: Yard, board_target: Target, bad_library: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def probe(session: Session) -> float:
        if "count" not in session.scratch:
            session.scratch["count"] = session.upload(bad_library)["count"]
        samples_s = []
        for _ in range(5):
            start = time.perf_counter()
            session.scratch["count"]()
            samples_s.append(time.perf_counter() - start)
        return sum(samples_s)

    good, slow = yard.board(), yard.board()
    with (
        slowed(slow, 0.06),  # less than others on its core leave the good one, by more than slower_by
        Fleet(
            board_target,
            yard.address,
            probe=probe,
            wait_s=LONG_S,
            probe_every_s=0.2,
            recheck_s=0.2,
        ) as fleet,
    ):

        def is_set_aside() -> bool:
            fleet.submit(nothing, timeout_s=5.0).result(LONG_S)
            return any(state.name == slow.name and state.state == "set aside" for state in fleet.boards())

        assert wait_until(is_set_aside)
        state = state_of(fleet, slow)
        assert state.probe_s is not None
        assert f"times slower than {good.name}" in state.reason
        assert {fleet.submit(nothing, timeout_s=5.0).result(LONG_S).board for _ in range(5)} == {good.name}
        warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert warnings == [warning for warning in warnings if warning.startswith(f"board {slow.name} is ")]
        assert len(warnings) == 1
        assert "set both to the same power mode, or give it a key and a target of its own" in warnings[0]
        # the fast one is gone: alone, the slow one is good enough
        good.kill()
        assert fleet.submit(nothing, timeout_s=5.0).result(LONG_S).board == slow.name
