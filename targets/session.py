"""One caller's hold on a device: a TVM RPC session that is always given back."""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from targets.errors import DeviceUnavailable, TargetError
from targets.rpc import LocalServer, local_rpc, parse_address
from targets.target import Target

_POLL_S = 0.02


class Session:
    """A device of its own until `close`. Made by `open_session`.

    A lost session shows as the exception of the call that it hit, of whatever type TVM has for it.
    `reconnect` then gets a fresh one; all modules, functions and arrays of the old one are dead.

    Attributes:
        target: what is at the other end.
        server: the local server behind the session; None for a board.
        timeout_s: the device ends the session when it is this old, hung or not. A call in flight then fails.
    """

    def __init__(
        self, target: Target, address: str, server: LocalServer | None, timeout_s: float, wait_s: float
    ) -> None:
        self.target, self.server, self.timeout_s = target, server, timeout_s
        self._address, self._wait_s = address, wait_s
        self._device_type = target.tvm_target().get_target_device_type()
        self._remote: Any = None
        self._uploaded: set[str] = set()
        self._connect(wait_s)

    @property
    def remote(self) -> Any:
        """The ``tvm.rpc.RPCSession``. Raises TargetError once closed."""
        if self._remote is None:
            raise TargetError(f"session with {self.target.name} is closed; call reconnect() or open another")
        return self._remote

    @property
    def device(self) -> Any:
        """The remote ``tvm.runtime.Device`` that fits the target's kind: CPU or GPU 0."""
        return self.remote.device(self._device_type, 0)

    def upload(self, path: str | Path) -> Any:
        """Copy an exported library to the device and load it there; returns the remote module.

        A file of the same name is replaced; the module loaded from it stays usable.
        """
        name = Path(path).name
        if name in self._uploaded:  # TVM would write into the file that is mapped: a crash
            self.remove(name)
        self._uploaded.add(name)
        self.remote.upload(str(path))
        return self.remote.load_module(name)

    def remove(self, name: str) -> None:
        """Delete an uploaded file from the device's folder."""
        self.remote.remove(name)
        self._uploaded.discard(name)

    def reconnect(self) -> None:
        """Drop this session, dead or alive, and get a new one.

        A local server is restarted, which ends a hung kernel at once: a call that waits for it in another
        thread gets an exception. A board ends it when the old session is ``timeout_s`` old, so this may wait
        that long.

        Raises:
            DeviceUnavailable: no new session in time.
        """
        if self.server is not None:
            self.server.restart()  # before closing, which waits for a call under way
        self.close()
        self._connect(self._wait_s if self.server else self._wait_s + self.timeout_s)

    def close(self) -> None:
        """Give the device back, even while modules of the session are still referenced. May be repeated."""
        remote, self._remote = self._remote, None
        self._uploaded.clear()
        if remote is not None:
            with contextlib.suppress(Exception):  # the other end may be gone, which is as good as closed
                remote.get_function("CloseRPCConnection")()

    def _connect(self, wait_s: float) -> None:
        self._remote = _request(self._address, self.target.rpc.key, wait_s=wait_s, timeout_s=self.timeout_s)


@contextlib.contextmanager
def open_session(
    target: Target,
    tracker: str | LocalServer | None = None,
    *,
    timeout_s: float = 600.0,
    wait_s: float = 30.0,
) -> Iterator[Session]:
    """Hold a device of the target's kind for the ``with`` block; it is given back on every way out.

    Args:
        tracker: HOST:PORT, or a server from `local_rpc`. Without it a board's tracker is taken from the
            variable that the target names, and for a local target a server is started and stopped here.
        timeout_s: the longest a session may last, see `Session`.
        wait_s: how long to wait for a device that is busy or not yet registered.

    Raises:
        DeviceUnavailable: no tracker, or no device in time.
        TargetError: no address, or not of the form HOST:PORT.
    """
    with contextlib.ExitStack() as stack:
        if tracker is None and target.kind == "local":
            tracker = stack.enter_context(local_rpc(target.rpc.key))
        server = tracker if isinstance(tracker, LocalServer) else None
        address = server.address if server else str(tracker or _address_from_environment(target))
        session = Session(target, address, server, timeout_s, wait_s)
        stack.callback(session.close)
        yield session


def _address_from_environment(target: Target) -> str:
    variable = target.rpc.tracker_env
    if variable is None:
        raise TargetError(f"target {target.name}: no tracker address; pass HOST:PORT or give rpc.tracker_env")
    address = os.environ.get(variable)
    if not address:
        raise TargetError(f"target {target.name}: no tracker address; pass HOST:PORT or set {variable} to it")
    return address


def _request(address: str, key: str, *, wait_s: float, timeout_s: float) -> Any:
    """A new ``tvm.rpc.RPCSession`` for ``key``. TVM's own client would wait for ever."""
    from targets.tvm_import import tvm

    host, port = parse_address(address)
    start = time.monotonic()
    reason, advice = "the tracker does not answer", "is the address right and the tracker up?"
    while True:
        left_s = start + wait_s - time.monotonic()
        if left_s <= 0:
            raise DeviceUnavailable(key, address, time.monotonic() - start, reason, advice)
        try:
            with socket.create_connection((host, port), timeout=left_s) as connection:
                registered = _handshake(connection)
                if key in registered:
                    reason, advice = (
                        "all of them are busy",
                        "wait for them, raise wait_s or register more boards",
                    )
                    url, device_port, match_key = _take(connection, key)
                    return tvm.rpc.connect(url, device_port, match_key, session_timeout=timeout_s)
                names = ", ".join(registered) or "none"
                reason, advice = (
                    f"the tracker has these keys: {names}",
                    "start the board's RPC server with that key",
                )
        except TimeoutError:
            continue
        except OSError as error:
            reason, advice = f"{error.strerror or error}", "is the address right and the tracker up?"
            raise DeviceUnavailable(key, address, time.monotonic() - start, reason, advice) from error
        except RuntimeError as error:  # a server that was restarted meanwhile no longer knows the match key
            reason, advice = f"the device refused: {str(error).splitlines()[0]}", "restart its RPC server"
        time.sleep(_POLL_S)


def _handshake(connection: socket.socket) -> list[str]:
    """Greet the tracker; returns the registered keys."""
    from targets.tvm_import import tvm

    base = tvm.rpc.base
    connection.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
    if struct.unpack("<i", base.recvall(connection, 4))[0] != base.RPC_TRACKER_MAGIC:
        raise OSError("what answers there is no TVM tracker")
    base.sendjson(connection, [base.TrackerCode.SUMMARY])
    _, summary = base.recvjson(connection)
    return sorted({info["key"].removeprefix("server:") for info in summary["server_info"]})


def _take(connection: socket.socket, key: str) -> tuple[str, int, str]:
    """Wait for a free device; returns its host, port and the key that opens it once."""
    from targets.tvm_import import tvm

    base = tvm.rpc.base
    base.sendjson(connection, [base.TrackerCode.REQUEST, key, "", 1])
    _, (url, port, match_key) = base.recvjson(connection)
    return url, port, match_key
