"""The local server: that nobody else reaches it, and that nothing of it is ever left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from targets import LocalServer, Target, TargetError, local_rpc, open_session, parse_address
from targets.local_machine import LocalMachine

from ..conftest import LONG_S, ROOT, wait_until

# The forked child inherits the socket to the host: an owner's death does not close it then.
OWNER = """
import os, sys, threading, time
from targets import load_target, local_rpc, open_session

def spin():
    with open_session(load_target("local-cpu"), server) as session:
        module = session.upload(sys.argv[1])
        started.set()
        module["spin"]()

with local_rpc("local-cpu") as server:
    if not (child := os.fork()):
        time.sleep(600)
    started = threading.Event()
    threading.Thread(target=spin, daemon=True).start()
    started.wait()
    print(child, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other runs on this machine leave or take in the common one is not ours to count."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    left = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("squeezenas-rpc-*"))


def below(server: LocalServer) -> list[psutil.Process]:
    """Every process of a server, its host first."""
    host = psutil.Process(server._process.pid)
    return [host, *host.children(recursive=True)]


@contextlib.contextmanager
def spinning(target: Target, server: LocalServer, library: Path) -> Iterator[list[BaseException]]:
    """An endless loop on the device for the length of the block; yields what its caller got in the end."""
    ends: list[BaseException] = []

    def spin() -> None:
        try:
            with open_session(target, server) as session:
                module = session.upload(library)
                started.set()
                module["spin"]()
        except Exception as error:
            ends.append(error)
            started.set()

    started = threading.Event()
    thread = threading.Thread(target=spin)
    thread.start()
    assert started.wait(LONG_S)
    try:
        yield ends
    finally:
        thread.join(LONG_S)
        assert not thread.is_alive()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_signalled_owner(signal_number: signal.Signals, bad_library: Path) -> None:
    """Even with a worker of the server in an endless loop of machine code."""
    before = folders()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(bad_library)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with owner:
        assert owner.stdout is not None
        forked = int(owner.stdout.readline())
        processes = [p for p in psutil.Process(owner.pid).children(recursive=True) if p.pid != forked]
        assert len(processes) == 3, "host, the session's process and the worker that spins"
        os.kill(owner.pid, signal_number)
        owner.wait(LONG_S)
        assert wait_until(lambda: not alive(processes)), alive(processes)
        assert psutil.pid_exists(forked)
        os.kill(forked, signal.SIGKILL)
    assert wait_until(lambda: folders() == before)


def test_nothing_outlives_an_exception_in_the_block(local_cpu: Target, bad_library: Path) -> None:
    before = folders()
    with contextlib.ExitStack() as stack:
        with pytest.raises(ZeroDivisionError), local_rpc("local-cpu") as server:  # noqa: PT012
            stack.enter_context(spinning(local_cpu, server, bad_library))
            processes = below(server)
            assert len(processes) == 3
            raise ZeroDivisionError
        assert alive(processes) == []
    assert folders() == before


def test_nothing_outlives_the_host_when_it_is_killed(local_cpu: Target, bad_library: Path) -> None:
    before = folders()
    with local_rpc("local-cpu") as server, spinning(local_cpu, server, bad_library):
        processes = below(server)
        processes[0].kill()
        assert wait_until(lambda: not alive(processes))
        with pytest.raises(
            TargetError,
            match=r"'local-cpu' from this machine's own RPC server after .* s: it ended, its last",
        ):
            server.restart()
    assert folders() == before


def test_a_host_that_is_stuck_is_killed_with_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.rpc.local_server.STOP_S", 0.2)
    with local_rpc("local-cpu") as server:
        processes = below(server)
        processes[0].suspend()
    assert wait_until(lambda: not alive(processes))


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tvm.py").write_text("raise ImportError('no TVM in here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = folders()
    with (
        pytest.raises(
            TargetError, match=r"after .* s: it ended, its last words: ImportError: no TVM in here"
        ),
        local_rpc("local-cpu"),
    ):
        pass
    assert folders() == before


def test_it_runs_nothing_of_the_current_folder(traps: Path) -> None:
    with local_rpc("local-cpu") as server:
        assert server.tracker().registered() == ["local-cpu"]


def test_two_servers_of_the_same_key_do_not_collide(
    server: LocalServer, local_cpu: Target, add_library: Path
) -> None:
    with (
        local_rpc("local-cpu") as other,
        open_session(local_cpu, server) as first,
        open_session(local_cpu, other) as second,
    ):
        first.upload(add_library)
        second.upload(add_library)
    assert alive(below(server))


def test_it_measures_with_all_usable_cores(server: LocalServer) -> None:
    environments = [process.environ() for process in below(server)]
    cores = str(LocalMachine.detect().physical_cores)
    assert {environment["TVM_NUM_THREADS"] for environment in environments} == {cores}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.5:9190", ("10.0.0.5", 9190)),
        ("board-1.lab:1", ("board-1.lab", 1)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_tracker_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":9190", "host:0", "host:65536", "host:9x", "::1:9190", "tcp://h:1", "h:1\n"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_address(text)
    assert str(caught.value) == (
        f"tracker address: found {text!r}, allowed: HOST:PORT with port 1 to 65535, as in 10.0.0.5:9190"
    )
