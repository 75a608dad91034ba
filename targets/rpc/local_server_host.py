"""The process behind `local_server.local_rpc`: a TVM tracker and RPC server that cannot outlive their owner.

    owner ──stdin/stdout──> host (this process) ──> tracker
                                                └─> server ──> one worker for each session

The host imports TVM once and forks the others. It ends, and kills all below it, when the owner says so, when
the owner closes the pipe or dies, even by SIGKILL, or when the tracker dies. If the host is killed,
the kernel kills the tracker and the server, and the worker after the server, with a parent-death signal that
every fork sets. As a "child subreaper" the host inherits orphans, so that no process escapes its sweep.

A server is also replaced when it dies: TVM's server stops for good once a worker has crashed, and a kernel
under trial may well crash. The listening sockets belong to the host, so the ports stay.
"""

import logging
import multiprocessing
import os
import select
import shutil
import socket
import sys
from collections.abc import Callable

from targets.rpc.local_server import RESTART, STOP
from targets.rpc.processes import adopt_orphans, kill_all, kill_children, reap, run_in_child

_POLL_S = 0.2


def main() -> None:
    """Run with KEY and OWNER_PID, and a TMPDIR to delete at the end.

    Prints the tracker's port, then ``restarted`` for each `RESTART` on stdin.
    """
    key, owner_pid, folder = sys.argv[1], int(sys.argv[2]), os.environ["TMPDIR"]
    adopt_orphans()
    multiprocessing.set_start_method("fork")  # TVM's server hands its workers an open socket
    from targets.tvm_import import tvm  # noqa: F401  (first, see there)

    from tvm.rpc import server, tracker  # isort: skip

    logging.getLogger("RPCServer").setLevel(logging.WARNING)
    logging.getLogger("RPCTracker").setLevel(logging.WARNING)
    tracker_socket, server_socket = _listen(), _listen()
    address, port = tracker_socket.getsockname(), server_socket.getsockname()[1]

    def run_tracker() -> None:
        server_socket.close()
        tracker._tracker_server(tracker_socket, "no-stop-key")

    def run_server() -> None:
        tracker_socket.close()
        server._listen_loop(server_socket, port, key, address, "", None)

    try:
        tracker_pid = run_in_child(run_tracker)
        _say(str(address[1]))
        _supervise(owner_pid, tracker_pid, run_server)
    finally:
        kill_all()
        shutil.rmtree(folder, ignore_errors=True)  # the owner may be dead
    os._exit(0)  # there is nothing to tidy in the interpreter, and TVM takes long at it


def _supervise(owner_pid: int, tracker_pid: int, run_server: Callable[[], None]) -> None:
    """Keep one server alive until the owner is gone or wants it so, or the tracker has died."""
    server_pid = run_in_child(run_server)
    while os.getppid() == owner_pid:  # the pipe alone is not enough: a fork of the owner may hold it open
        command = os.read(0, 1) if select.select([0], [], [], _POLL_S)[0] else None
        if command in (b"", STOP):
            return
        if command == RESTART:
            kill_children(but=tracker_pid)
            os.waitpid(server_pid, 0)
            server_pid = run_in_child(run_server)
            _say("restarted")
        dead = reap()
        if tracker_pid in dead:
            return
        if server_pid in dead:
            server_pid = run_in_child(run_server)


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    return listener


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
