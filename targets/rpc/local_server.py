"""TVM's RPC server on this machine, for as long as a ``with`` block lasts, and for this process alone.

The server measures with all physical cores that this process may use (TVM_NUM_THREADS). It listens nowhere
and no tracker knows it, for TVM's RPC lets every caller write files and run code: see `local_tracker`.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from targets.emulated_cuda.libraries import VARIABLE
from targets.errors import DeviceUnavailable, TargetError
from targets.local_machine import LocalMachine
from targets.rpc.local_tracker import LocalTracker
from targets.support.child_python import child_python

STOP, RESTART, REQUEST = b"s", b"r", b"q"  # to the host, see there; with the last comes a socket
START_S = 120.0  # importing TVM takes 2 s on a quiet machine
STOP_S = 10.0


class LocalServer:
    """A running server. Made by `local_rpc`, which also stops it.

    Attributes:
        key: of the targets that it serves.
        place: what it is called in messages.
    """

    place = "this machine's own RPC server"

    def __init__(
        self, key: str, process: "subprocess.Popen[bytes]", control: socket.socket, log: Path
    ) -> None:
        self.key = key
        self._process, self._control, self._log = process, control, log
        self._lock = threading.Lock()

    def wait_until_ready(self) -> None:
        """Raises DeviceUnavailable if the server does not come up."""
        self._answer(START_S)

    def tracker(self) -> LocalTracker:
        """Where its device is requested."""
        return LocalTracker(self.key, self._enqueue)

    def restart(self) -> None:
        """Kill what the server is running, in well under a second. Those who wait for it keep their turn.

        Calls in flight fail in the session that held the device. May be called from any thread, so also while
        another waits for a hung kernel.

        Raises:
            DeviceUnavailable: the server's process has died, or was stopped.
        """
        with self._lock:
            if self._control.fileno() < 0:
                raise DeviceUnavailable(f"{self.place} was stopped; start another")
            with contextlib.suppress(OSError):  # a dead host is told from its missing answer
                self._control.sendall(RESTART)
            self._answer(STOP_S)

    def stop(self) -> None:
        """End all its processes and wait until they are gone."""
        with self._lock:  # a restart under way is let finish
            with contextlib.suppress(OSError):
                self._control.sendall(STOP)
            self._control.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _enqueue(self, request: socket.socket) -> None:
        """Raises OSError when the host is gone."""
        socket.send_fds(self._control, [REQUEST], [request.fileno()])

    def _answer(self, timeout_s: float) -> None:
        """Wait for the byte that says done."""
        start = time.monotonic()
        ready = select.select([self._control], [], [], timeout_s)[0]
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = self._control.recv(1) if ready else b""
        if not answer:
            what = "ended" if ready else "is silent"
            raise DeviceUnavailable.after(
                self.key,
                self.place,
                time.monotonic() - start,
                f"it {what}, its last words: {self._last_words()}",
                "try again; if it stays so, check that `import tvm.rpc` works in this Python",
            )

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "none"


@contextlib.contextmanager
def local_rpc(key: str = "local-cpu", emulated_gpu: str | None = None) -> Iterator[LocalServer]:
    """Start a server that this process alone can reach, and stop it on every way out.

    Nothing stays behind, neither process nor file, after normal exit, an exception or Ctrl-C, and no process
    after SIGTERM or SIGKILL of this process either: see `targets.rpc.local_server_host`.

    Args:
        emulated_gpu: architecture of the GPU that its process emulates; None for what the machine has.

    Raises:
        DeviceUnavailable: the server could not be started.
    """
    folder = Path(tempfile.mkdtemp(prefix="squeezenas-rpc-"))
    log = folder / "server.log"
    ours, theirs = socket.socketpair()
    try:
        with theirs, log.open("wb") as log_file:
            process = subprocess.Popen(
                child_python("targets.rpc.local_server_host", str(os.getpid())),
                stdin=theirs.fileno(),
                stdout=log_file,
                stderr=log_file,
                cwd=folder,
                env=_environment(folder, emulated_gpu),
                start_new_session=True,  # a Ctrl-C on the terminal is for the owner alone
            )
        server = LocalServer(key, process, ours, log)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()
    finally:
        ours.close()
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path, emulated_gpu: str | None) -> dict[str, str]:
    return {
        **os.environ,
        **({VARIABLE: emulated_gpu} if emulated_gpu else {}),
        "TMPDIR": str(folder),  # uploads of a killed worker go with the folder
        "TVM_NUM_THREADS": str(LocalMachine.detect().physical_cores),
    }


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT` of a tracker as (host, port); an IPv6 host stands in brackets.

    Raises:
        TargetError: anything else.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", text)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise TargetError(
            f"tracker address: found {text!r}, allowed: HOST:PORT with port 1 to 65535, as in 10.0.0.5:9190"
        )
    return match[1] or match[2], int(match[3])
