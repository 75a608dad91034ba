"""The server on a board: where it listens, what it survives, and that nothing of it is left behind."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from targets import Target, TargetError, load_target, open_session
from targets.rpc.board_server import bind_address, check_route, tunnel_command

from ..boards import BoardFiles, below, gone, start
from ..conftest import LONG_S, Yard, free_port, wait_until


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> BoardFiles:
    return BoardFiles(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def target(board: BoardFiles) -> Target:
    return load_target(board.path)


def in_thread(hang: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        with contextlib.suppress(RuntimeError):
            hang()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def refusal(board: BoardFiles, tracker: str, port: int) -> str:
    with start(board.path, tracker, port) as process:
        _, said = process.communicate(timeout=LONG_S)
    assert process.returncode == 1
    return said


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    assert bind_address(None, None, expose=False) == "127.0.0.1"
    assert bind_address("10.0.0.7", None, expose=False) == "10.0.0.7"
    assert bind_address(None, "lo", expose=False) == "127.0.0.1"
    assert bind_address(None, None, expose=True) == "0.0.0.0"
    assert bind_address("10.0.0.7", None, expose=True) == "10.0.0.7"
    assert bind_address("0.0.0.0", None, expose=True) == "0.0.0.0"


@pytest.mark.parametrize(
    ("bind", "interface", "fault"),
    [
        (
            "0.0.0.0",
            None,
            "bind address: 0.0.0.0 is every address of this machine, and TVM's RPC has no encryp",
        ),
        ("localhost", None, "bind address: found 'localhost', allowed: an IPv4 address of this machine"),
        ("::1", None, "bind address: found '::1', allowed: an IPv4 address of this machine"),
        (None, "eth99", r"interface 'eth99': not there or without an IPv4 address; allowed: (.*, )?lo\b"),
    ],
)
def test_what_is_no_place_to_listen_is_refused(bind: str | None, interface: str | None, fault: str) -> None:
    with pytest.raises(TargetError, match=f"^{fault}"):
        bind_address(bind, interface, expose=False)


def test_a_server_that_others_cannot_reach_is_refused() -> None:
    for address, tracker in [
        ("127.0.0.1", "127.0.0.1:9190"),
        ("127.0.0.1", "localhost:9190"),
        ("127.0.0.1", "[::1]:9190"),
        ("10.0.0.7", "10.0.0.5:9190"),
        ("0.0.0.0", "host.example:9190"),
    ]:
        check_route(address, tracker)
    for tracker in ("10.0.0.5:9190", "host.example:9190"):
        with pytest.raises(TargetError) as caught:
            check_route("127.0.0.1", tracker)
        assert str(caught.value) == (
            f"the server would listen on 127.0.0.1 only, but the tracker at {tracker} would send others "
            "to this board's own address; bind to an interface, or use an SSH tunnel and its end of it as "
            "tracker"
        )


def test_one_ssh_connection_carries_both_ways() -> None:
    command = tunnel_command("nvidia@xavier", 9190, 9091)
    assert command[0] == "ssh"
    assert command[-5:] == ["-R", "9190:127.0.0.1:9190", "-L", "9091:127.0.0.1:9091", "nvidia@xavier"]
    assert {"-T", "ExitOnForwardFailure=yes"} <= set(command)


def test_a_port_that_is_taken_is_named(board: BoardFiles) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(board, "127.0.0.1:1", port)
    assert said == (
        f"127.0.0.1:{port}: Address already in use; give another --port, or an address of this machine\n"
    )


def test_no_tracker_is_told_with_the_way_to_start_one(board: BoardFiles) -> None:
    port = free_port()
    assert refusal(board, f"127.0.0.1:{port}", free_port()) == (
        f"tracker 127.0.0.1:{port}: Connection refused; start it on your host with: "
        f"python -m tvm.exec.rpc_tracker --host 127.0.0.1 --port {port} --port-end {port + 1}\n"
    )


def test_something_else_at_the_trackers_address_is_told(board: BoardFiles) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with listener.accept()[0]:
                pass

        threading.Thread(target=hang_up, daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert refusal(board, address, free_port()).startswith(f"tracker {address}: ")


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """For what a board's server keeps on disk: it must be empty when the server has ended."""
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_crash_is_survived_and_costs_no_disk(
    board: BoardFiles, target: Target, yard: Yard, bad_library: Path, temporary: Path
) -> None:
    with start(board.path, yard.address, free_port(), temporary) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(2):
            with open_session(target, yard.address, wait_s=LONG_S) as session:
                crash = session.upload(bad_library)["crash"]
                assert list(temporary.rglob(bad_library.name))
                with pytest.raises(RuntimeError):
                    crash()
        with open_session(target, yard.address, wait_s=LONG_S) as session:
            session.upload(bad_library)["count"]()
            assert len(list(temporary.rglob(bad_library.name))) == 1
        process.terminate()
        _, said = process.communicate(timeout=LONG_S)
    assert process.returncode == 0
    assert said.count("the RPC server died, as it does when a kernel crashes: it is started anew") == 2
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)]
)
def test_it_ends_in_order_with_all_that_it_started(
    board: BoardFiles,
    target: Target,
    yard: Yard,
    bad_library: Path,
    temporary: Path,
    number: signal.Signals,
) -> None:
    """Also in the middle of a kernel that hangs; and a terminal sends Ctrl-C to every process."""
    with start(board.path, yard.address, free_port(), temporary) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with open_session(target, yard.address, wait_s=LONG_S) as session:
            spin = session.upload(bad_library)["spin"]
            hung = in_thread(spin)
            processes = below(process)
            assert len(processes) == 3
            os.killpg(process.pid, number)
            _, said = process.communicate(timeout=LONG_S)
            hung.join(LONG_S)
    assert (process.returncode, said) == (0, "")
    assert gone(processes)


def test_nothing_outlives_a_server_that_is_killed(
    board: BoardFiles, target: Target, yard: Yard, bad_library: Path
) -> None:
    with start(board.path, yard.address, free_port()) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with open_session(target, yard.address, wait_s=LONG_S) as session:
            spin = session.upload(bad_library)["spin"]
            hung = in_thread(spin)
            processes = below(process)
            process.kill()
            process.communicate(timeout=LONG_S)
            assert wait_until(lambda: gone(processes))
            hung.join(LONG_S)
