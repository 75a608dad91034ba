"""The process behind `local_server.local_rpc`: an RPC server that cannot outlive its owner.

    owner ──socket pair──> host (this process) ──> a child for each session ──> its worker

The host imports TVM once and forks the others. It ends, and kills all below it, when the owner says so, when
the owner closes the socket or dies, even by SIGKILL. If the host is killed, the kernel kills the child, and
the worker after the child, with a parent-death signal that every fork sets. As a "child subreaper" the host
inherits orphans, so that no process escapes its sweep.

Requests come over the owner's socket, each as a socket of its own, and are served one after the other: a
kernel under trial may well crash its child, and takes nothing with it.
"""

import collections
import contextlib
import logging
import multiprocessing
import os
import select
import shutil
import socket
import struct
import sys

from targets.rpc.local_server import RESTART, STOP
from targets.rpc.local_tracker import BOARD, GRANTED
from targets.rpc.processes import adopt_orphans, kill_all, run_in_child

DONE = b"d"
_POLL_S = 0.2
_UNUSED_S = 60.0  # its owner may have to load TVM first


def main() -> None:
    """Run with OWNER_PID, the owner's socket as stdin, and a TMPDIR to delete at the end.

    Writes `DONE` to the socket when it is ready, and for each `RESTART`.
    """
    owner_pid, folder = int(sys.argv[1]), os.environ["TMPDIR"]
    adopt_orphans()
    multiprocessing.set_start_method("fork")  # TVM's server hands its workers an open socket
    from targets.tvm_import import tvm  # noqa: F401  (once, before all forks)

    logging.getLogger("RPCServer").setLevel(logging.WARNING)
    try:
        owner = socket.socket(fileno=0)
        owner.sendall(DONE)
        _supervise(owner, owner_pid)
    finally:
        kill_all()
        shutil.rmtree(folder, ignore_errors=True)  # the owner may be dead
    os._exit(0)  # there is nothing to tidy in the interpreter, and TVM takes long at it


def _supervise(owner: socket.socket, owner_pid: int) -> None:
    """Serve one request at a time until the owner is gone or wants it so."""
    waiting: collections.deque[socket.socket] = collections.deque()
    life: int | None = None  # of the child: can be read when that has died
    while os.getppid() == owner_pid:  # the socket alone is not enough: a fork of the owner may hold it open
        ready = select.select([0, *([life] if life is not None else [])], [], [], _POLL_S)[0]
        command, files = _read(owner) if 0 in ready else (None, [])
        if command == STOP:
            return
        waiting.extend(socket.socket(fileno=file) for file in files)
        if life is not None and (life in ready or command == RESTART):
            kill_all()
            os.close(life)
            life = None
        if command == RESTART:
            owner.sendall(DONE)
        if life is None and waiting:
            with waiting.popleft() as request:
                life = _start(request)


def _read(owner: socket.socket) -> tuple[bytes, list[int]]:
    """A command and the file that came with it; `STOP` when the owner has closed its end."""
    try:
        command, files, _, _ = socket.recv_fds(owner, 1, 1)
    except ConnectionResetError:
        return STOP, []
    return command or STOP, files


def _start(request: socket.socket) -> int:
    """A child that serves; returns what can be read when it has died."""
    ours, theirs = os.pipe()

    def run() -> None:
        os.close(ours)
        os.register_at_fork(after_in_child=lambda: os.close(theirs))
        _serve(request)

    run_in_child(run)
    os.close(theirs)
    return ours


def _serve(request: socket.socket) -> None:
    """Grant a request and serve its connection, if it is still wanted."""
    from tvm.rpc import server

    request.settimeout(_UNUSED_S)
    files: list[int] = []
    with request, contextlib.suppress(OSError):  # closed, or nothing came
        request.sendall(GRANTED)
        _, files, _, _ = socket.recv_fds(request, 1, 1)
    for file in files:
        with socket.socket(fileno=file) as connection:
            options = server._parse_server_opt(_greet(connection).split()[1:])
            server._serving(connection, "its owner", options, "")


def _greet(connection: socket.socket) -> str:
    """The server's part of TVM's handshake; returns the client's key, with the time limit behind it."""
    from tvm.rpc import base

    _, size = struct.unpack("<ii", base.recvall(connection, 8))
    key = base.recvall(connection, size).decode()
    name = b"server:" + BOARD.encode()
    connection.sendall(struct.pack("<ii", base.RPC_CODE_SUCCESS, len(name)) + name)
    return str(key)


if __name__ == "__main__":
    main()
