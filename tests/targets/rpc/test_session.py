"""Sessions over a real tracker and server: they work, they end, and a lost one comes back."""

import contextlib
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets import (
    DeviceUnavailable,
    LocalServer,
    Session,
    Target,
    TargetError,
    WrongVersion,
    load_target,
    open_session,
)
from targets.rpc.session import NoAnswer, call_within, reason_of
from targets.rpc.tracker import Tracker

from ..conftest import LONG_S, Yard, wait_until


def add_one(session: Session, library: Path) -> tuple[list[float], Any]:
    """Upload, run on the device, fetch; also returns what refers to the session."""
    from targets.tvm_import import tvm

    module = session.upload(library)
    x = tvm.runtime.tensor(np.arange(8, dtype="float32"), device=session.device)
    y = tvm.runtime.empty((8,), "float32", session.device)
    module["main"](x, y)
    return y.numpy().tolist(), (module, x, y)


RIGHT = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


def test_a_compiled_library_runs_and_may_be_replaced_while_loaded(
    server: LocalServer, local_cpu: Target, add_library: Path
) -> None:
    with open_session(local_cpu, server) as session:
        first, kept = add_one(session, add_library)
        second, _ = add_one(session, add_library)
        module, x, y = kept
        module["main"](y, x)
        assert (first, second, x.numpy()[0]) == (RIGHT, RIGHT, 2.0)
        session.remove(add_library.name)
        with pytest.raises(RuntimeError):
            session.remote.download(add_library.name)


def test_without_a_tracker_a_local_target_brings_its_own(local_cpu: Target, add_library: Path) -> None:
    with open_session(local_cpu) as session:
        assert add_one(session, add_library)[0] == RIGHT
        assert session.board == "localhost"


def test_the_device_is_free_after_the_block_though_its_objects_live_on(
    server: LocalServer, local_cpu: Target, add_library: Path
) -> None:
    with pytest.raises(ZeroDivisionError), open_session(local_cpu, server) as session:  # noqa: PT012
        _, kept = add_one(session, add_library)
        raise ZeroDivisionError
    with pytest.raises(TargetError, match="session with local-cpu at localhost is closed; open another"):
        _ = session.remote
    with open_session(local_cpu, server, wait_s=LONG_S) as session:
        assert add_one(session, add_library)[0] == RIGHT
        with pytest.raises(RuntimeError):
            kept[0]["main"](*kept[1:])


def test_a_second_caller_waits_for_the_first(
    server: LocalServer, local_cpu: Target, add_library: Path
) -> None:
    order: list[str] = []

    def second() -> None:
        with open_session(local_cpu, server, wait_s=LONG_S) as session:
            order.append("second")
            assert add_one(session, add_library)[0] == RIGHT
            order.append("second worked")

    with open_session(local_cpu, server) as session:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        assert add_one(session, add_library)[0] == RIGHT
        order.append("first")
    thread.join(LONG_S)
    assert order == ["first", "second", "second worked"]


def test_a_busy_device_is_waited_for_no_longer_than_asked(server: LocalServer, local_cpu: Target) -> None:
    with (
        open_session(local_cpu, server),
        pytest.raises(DeviceUnavailable, match=r"after 0\.\d s: all of them are busy; wait for them"),
        open_session(local_cpu, server, wait_s=0.3),
    ):
        pass
    with open_session(local_cpu, server) as session:  # the request that was given up takes nothing
        assert session.remote is not None


def test_a_key_that_nobody_registered(yard: Yard) -> None:
    yard.board()
    with Tracker(yard.address) as tracker:
        assert wait_until(lambda: tracker.registered() == ["board"])
    with (
        pytest.raises(DeviceUnavailable) as caught,
        open_session(load_target("jetson-xavier"), yard.address, wait_s=0.3),
    ):
        pass
    text = str(caught.value)
    assert text.startswith(f"no device with key 'jetson-xavier' from tracker {yard.address} after 0.")
    assert text.endswith("the tracker has these keys: board; start the board's RPC server with that key")
    assert caught.value.exit_code == 1


def test_no_tracker_at_the_address(local_cpu: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        pytest.raises(DeviceUnavailable, match=f"{address} .*refused; is the address right"),
        open_session(local_cpu, address),
    ):
        pass


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_at_the_address(local_cpu: Target, answer: bytes) -> None:
    """A port that is silent, and one that speaks another language."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                if answer:
                    connection.sendall(answer)
                else:
                    time.sleep(1.0)

        threading.Thread(target=serve, daemon=True).start()
        reason = "no TVM tracker" if answer else "the tracker does not answer"
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(DeviceUnavailable, match=reason), open_session(local_cpu, address, wait_s=0.5):
            pass


def test_a_board_needs_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    xavier = load_target("jetson-xavier")
    monkeypatch.delenv("SQUEEZENAS_TRACKER", raising=False)
    with (
        pytest.raises(TargetError, match="give --tracker HOST:PORT, or set SQUEEZENAS_TRACKER to it"),
        open_session(xavier),
    ):
        pass
    monkeypatch.setenv("SQUEEZENAS_TRACKER", "nonsense")
    with pytest.raises(TargetError, match="found 'nonsense', allowed: HOST:PORT"), open_session(xavier):
        pass


def test_a_call_that_hangs_is_cut_off(
    server: LocalServer, local_cpu: Target, add_library: Path, bad_library: Path
) -> None:
    """On this side at once; on the device by a restart of the server, if it is a local one."""
    ends: list[BaseException] = []
    with open_session(local_cpu, server) as session:

        def spin() -> None:
            try:
                session.upload(bad_library)["spin"]()
            except BaseException as error:
                ends.append(error)
                raise

        with pytest.raises(NoAnswer, match=r"^no answer within 0\.5 s$"):
            session.within(0.5, spin)
        assert wait_until(lambda: len(ends) == 1)
    with pytest.raises(TargetError, match="is closed; open another"):
        _ = session.device
    server.restart()
    with open_session(local_cpu, server) as session:
        assert add_one(session, add_library)[0] == RIGHT


def test_no_wait_for_a_stopped_board_is_for_ever(yard: Yard, board_target: Target) -> None:
    """TVM releases an object of the device with Python's lock held: no thread here could end that wait."""
    from targets.tvm_import import tvm

    board = yard.board()
    with open_session(board_target, yard.address, wait_s=LONG_S, timeout_s=1.0) as session:
        tensor = tvm.runtime.empty((8,), "float32", session.device)
        board.signal(signal.SIGSTOP)
        del tensor
        assert session.age_s >= 1.0
    board.signal(signal.SIGCONT)


def test_sessions_leave_no_sockets(server: LocalServer, local_cpu: Target) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with open_session(local_cpu, server):
        pass
    before = count()
    for _ in range(3):
        with open_session(local_cpu, server):
            pass
    assert count() == before


def test_the_device_itself_ends_a_session_that_is_too_old(
    server: LocalServer, local_cpu: Target, add_library: Path, bad_library: Path
) -> None:
    """The only limit that a board has."""
    with open_session(local_cpu, server, timeout_s=1.0) as session:
        spin = session.upload(bad_library)["spin"]
        with pytest.raises(RuntimeError, match=r"1\.0s session has expired"):
            spin()
    with open_session(local_cpu, server) as session:
        assert add_one(session, add_library)[0] == RIGHT


def test_a_crash_on_the_device_does_not_end_the_server(
    server: LocalServer, local_cpu: Target, add_library: Path, bad_library: Path
) -> None:
    with open_session(local_cpu, server) as session:
        crash = session.upload(bad_library)["crash"]
        with pytest.raises(RuntimeError):
            crash()
    with open_session(local_cpu, server) as session:
        assert add_one(session, add_library)[0] == RIGHT


def test_scratch_is_emptied_with_the_session(server: LocalServer, local_cpu: Target) -> None:
    from targets.tvm_import import tvm

    with open_session(local_cpu, server) as session:
        session.scratch["tensor"] = tvm.runtime.empty((8,), "float32", session.device)
        assert session.board == "localhost"
    assert session.scratch == {}


def test_a_board_with_another_tvm_is_refused(yard: Yard, board_target: Target) -> None:
    from targets.tvm_import import tvm

    board = yard.board(version="0.99.0")
    with (
        pytest.raises(WrongVersion) as caught,
        open_session(board_target, yard.address, wait_s=LONG_S),
    ):
        pass
    assert str(caught.value) == (
        f"board {board.name} speaks TVM 0.99.0, allowed: TVM {tvm.__version__}, as here; "
        f"install apache-tvm=={tvm.__version__} on the board and restart its RPC server"
    )
    assert caught.value.exit_code == 1


def test_a_stopped_board_is_not_waited_for_longer_than_asked(yard: Yard, board_target: Target) -> None:
    """TVM itself would hang in connecting to it."""
    board = yard.board()
    with open_session(board_target, yard.address, wait_s=LONG_S):
        pass
    time.sleep(0.5)  # it registers again
    board.signal(signal.SIGSTOP)
    with (
        pytest.raises(
            DeviceUnavailable, match=f"board {board.name} refused: no answer within .*; restart its"
        ),
        open_session(board_target, yard.address, wait_s=1.0),
    ):
        pass


def test_a_call_that_comes_too_late_is_told_so() -> None:
    ended, late = threading.Event(), threading.Event()

    def call() -> None:
        ended.wait(LONG_S)
        raise ZeroDivisionError

    with pytest.raises(NoAnswer):
        call_within(0.01, call, late=late.set)
    assert not late.is_set()
    ended.set()
    assert late.wait(LONG_S)


def test_a_call_in_time_gives_what_the_function_gives() -> None:
    late = threading.Event()

    def fail() -> None:
        raise TimeoutError("its own")

    assert call_within(LONG_S, lambda: 42, late=late.set) == 42
    with pytest.raises(TimeoutError, match="its own"):
        call_within(LONG_S, fail, late=late.set)
    assert not late.is_set()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (ValueError(), "ValueError:"),
        (
            RuntimeError("RuntimeError: caught from RPC:\n  bad shape\n  at 0x7f"),
            "RuntimeError: caught from RPC: bad shape",
        ),
        (TargetError("one line"), "one line"),
    ],
)
def test_errors_become_one_line(error: Exception, text: str) -> None:
    assert reason_of(error).strip() == text
