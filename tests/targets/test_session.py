"""Sessions over a real tracker and server: they work, they end, and a lost one comes back."""

import contextlib
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
    load_target,
    open_session,
)

LONG_S = 20.0  # a bound that only a failure reaches


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
        assert session.server is not None


def test_the_device_is_free_after_the_block_though_its_objects_live_on(
    server: LocalServer, local_cpu: Target, add_library: Path
) -> None:
    with pytest.raises(ZeroDivisionError), open_session(local_cpu, server) as session:  # noqa: PT012
        _, kept = add_one(session, add_library)
        raise ZeroDivisionError
    with pytest.raises(TargetError, match="session with local-cpu is closed"):
        _ = session.remote
    with open_session(local_cpu, server.address, wait_s=LONG_S) as session:
        assert add_one(session, add_library)[0] == RIGHT
        with pytest.raises(RuntimeError):
            kept[0]["main"](*kept[1:])


def test_a_second_caller_waits_for_the_first(
    server: LocalServer, local_cpu: Target, add_library: Path
) -> None:
    order: list[str] = []

    def second() -> None:
        with open_session(local_cpu, server.address, wait_s=LONG_S) as session:
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
        open_session(local_cpu, server.address, wait_s=0.3),
    ):
        pass
    with open_session(local_cpu, server.address) as session:  # the request that was given up takes nothing
        assert session.remote is not None


def test_a_key_that_nobody_registered(server: LocalServer) -> None:
    with (
        pytest.raises(DeviceUnavailable) as caught,
        open_session(load_target("jetson-xavier"), server.address, wait_s=0.3),
    ):
        pass
    text = str(caught.value)
    assert text.startswith(f"no device with key 'jetson-xavier' from tracker {server.address} after 0.")
    assert text.endswith("the tracker has these keys: local-cpu; start the board's RPC server with that key")
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
        pytest.raises(TargetError, match="pass HOST:PORT or set SQUEEZENAS_TRACKER to it"),
        open_session(xavier),
    ):
        pass
    monkeypatch.setenv("SQUEEZENAS_TRACKER", "nonsense")
    with pytest.raises(TargetError, match="found 'nonsense', allowed: HOST:PORT"), open_session(xavier):
        pass


def test_a_hung_kernel_is_ended_and_the_session_comes_back(
    server: LocalServer, local_cpu: Target, add_library: Path, bad_library: Path
) -> None:
    with open_session(local_cpu, server) as session:
        spin = session.upload(bad_library)["spin"]
        ends: list[BaseException] = []

        def call() -> None:
            try:
                spin()
            except Exception as error:
                ends.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        time.sleep(0.2)
        assert caller.is_alive()
        session.reconnect()
        caller.join(LONG_S)
        assert not caller.is_alive()
        assert len(ends) == 1
        assert add_one(session, add_library)[0] == RIGHT


def test_the_device_itself_ends_a_session_that_is_too_old(
    server: LocalServer, local_cpu: Target, add_library: Path, bad_library: Path
) -> None:
    """The only limit that a board has."""
    with open_session(local_cpu, server.address, timeout_s=1.0) as session:
        assert session.server is None
        spin = session.upload(bad_library)["spin"]
        with pytest.raises(RuntimeError, match=r"1\.0s session has expired"):
            spin()
        session.reconnect()
        assert add_one(session, add_library)[0] == RIGHT


def test_a_crash_on_the_device_does_not_end_the_server(
    server: LocalServer, local_cpu: Target, add_library: Path, bad_library: Path
) -> None:
    with open_session(local_cpu, server.address) as session:
        crash = session.upload(bad_library)["crash"]
        with pytest.raises(RuntimeError):
            crash()
        session.reconnect()
        assert add_one(session, add_library)[0] == RIGHT
