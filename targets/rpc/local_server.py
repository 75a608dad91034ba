"""A TVM tracker and RPC server on this machine, for as long as a ``with`` block lasts.

The server measures with all physical cores that this process may use (TVM_NUM_THREADS), and listens on
127.0.0.1 only: TVM's RPC lets every caller write files and run code.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from targets.errors import DeviceUnavailable, TargetError
from targets.local_machine import LocalMachine
from targets.support.child_python import child_python

STOP, RESTART = b"s", b"r"  # commands to the host, see rpc_host
START_S = 120.0  # importing TVM takes 2 s on a quiet machine
STOP_S = 10.0


class LocalServer:
    """A running tracker and server. Made by `local_rpc`, which also stops it.

    Attributes:
        key: under which the server is registered.
        address: HOST:PORT of the tracker.
    """

    def __init__(self, key: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.key, self.address = key, ""
        self._process, self._log = process, log
        self._commands, self._answers = process.stdin, process.stdout
        self._lock = threading.Lock()

    def wait_until_ready(self) -> None:
        """Read the address. Raises DeviceUnavailable if the server does not come up."""
        self.address = f"127.0.0.1:{self._answer(START_S)}"

    def restart(self) -> None:
        """Kill the server with whatever it is running and start a new one, in well under a second.

        The address stays. Calls in flight fail in the session that held the device. May be called from any
        thread, so also while another waits for a hung kernel.

        Raises:
            DeviceUnavailable: the server's process has died, or was stopped.
        """
        with self._lock:
            if self._commands.closed:
                raise DeviceUnavailable(f"the local RPC server at {self.address} was stopped; start another")
            with contextlib.suppress(OSError):  # a dead host is told from its missing answer
                self._commands.write(RESTART)
            self._answer(STOP_S)

    def stop(self) -> None:
        """End all its processes and wait until they are gone."""
        with self._lock:  # a restart under way is let finish
            with contextlib.suppress(OSError):
                self._commands.write(STOP)
            self._commands.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        finally:
            self._answers.close()

    def _answer(self, timeout_s: float) -> str:
        start, line = time.monotonic(), b""
        while not line.endswith(b"\n"):
            left_s = max(0.0, start + timeout_s - time.monotonic())
            ready = select.select([self._answers], [], [], left_s)[0]
            chunk = os.read(self._answers.fileno(), 100) if ready else b""
            if not chunk:
                what = "ended" if ready else "is silent"
                raise DeviceUnavailable.after(
                    self.key,
                    self.address or "127.0.0.1",
                    time.monotonic() - start,
                    f"the local RPC server {what}, its last words: {self._last_words()}",
                    "try again; if it stays so, check that `import tvm.rpc` works in this Python",
                )
            line += chunk
        return line.decode().strip()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "none"


@contextlib.contextmanager
def local_rpc(key: str = "local-cpu") -> Iterator[LocalServer]:
    """Start a tracker and one server on free ports of 127.0.0.1, and stop them on every way out.

    Nothing stays behind, neither process nor file, after normal exit, an exception or Ctrl-C, and no process
    after SIGTERM or SIGKILL of this process either: see `targets.rpc.local_server_host`.

    Raises:
        DeviceUnavailable: the server could not be started.
    """
    folder = Path(tempfile.mkdtemp(prefix="squeezenas-rpc-"))
    log = folder / "server.log"
    try:
        with log.open("wb") as log_file:
            process = subprocess.Popen(
                child_python("targets.rpc.local_server_host", key, str(os.getpid())),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                bufsize=0,
                cwd=folder,
                env=_environment(folder),
                start_new_session=True,  # a Ctrl-C on the terminal is for the owner alone
            )
        server = LocalServer(key, process, log)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
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
