"""How this process gets at the device of its own `LocalServer`: by sockets without a name, no serving port.

    request ──a socket pair──> host ──> the child that is to serve        (queued until the device is free)
    grant   <──one byte──────────────── child
    connect ──a connection──>           child ──> worker

TVM's client can only connect by TCP. So for each session a port of loopback is open for the moment in which
TVM connects to it; whoever else connects there is hung up on, by the one thing that nobody can forge: the
connection's other end is a socket of this very process. Its end is then handed to the child.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from targets.rpc.connections import connections_to

GRANTED = b"g"
BOARD = "localhost"
_HAND_OVER_S = 20.0


class LocalGrant:
    """Leave to open one session with a local server; the counterpart of `tracker.Grant`."""

    board = BOARD

    def __init__(self, key: str, request: socket.socket) -> None:
        self._key, self._request = key, request
        self._address: tuple[str, int] | None = None

    def connect(self, timeout_s: float) -> Any:
        """A ``tvm.rpc.RPCSession``, which the server ends after ``timeout_s``. Raises RuntimeError."""
        from targets.tvm_import import tvm

        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        self._address = listener.getsockname()
        threading.Thread(target=self._hand_over, args=(listener,), name="hand-over", daemon=True).start()
        return tvm.rpc.connect(*self._address, self._key, session_timeout=timeout_s)

    def connections(self) -> list[socket.socket]:
        """Duplicates of this process's sockets of the session."""
        return connections_to(self._address) if self._address else []

    def close(self) -> None:
        """Give it back unused; after `connect` without effect."""
        self._request.close()

    def _hand_over(self, listener: socket.socket) -> None:
        """Give the child the first connection that is ours. If that fails, TVM sees its connection end."""
        with listener, self._request, contextlib.suppress(OSError):
            listener.settimeout(_HAND_OVER_S)
            while True:
                connection, peer = listener.accept()
                with connection:
                    if self._is_ours(peer):
                        listener.close()
                        socket.send_fds(self._request, [GRANTED], [connection.fileno()])
                        return

    def _is_ours(self, peer: tuple[str, int]) -> bool:
        names = []
        for candidate in self.connections():
            with candidate:
                names.append(candidate.getsockname())
        return peer in names


class LocalTracker:
    """What `tracker.Tracker` is for boards, for one local server; closed at the end of its ``with`` block.

    Args:
        key: of the server.
        enqueue: hands one end of a socket pair to the server's host.

    Raises:
        OSError: the server is gone. Every method may.
    """

    def __init__(self, key: str, enqueue: Callable[[socket.socket], None]) -> None:
        self._key, self._enqueue = key, enqueue
        self._request: socket.socket | None = None

    def __enter__(self) -> "LocalTracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._take_back()

    def registered(self) -> list[str]:
        """The key of the server."""
        return [self._key]

    def request(self, key: str) -> None:
        """Queue for the device; `grant` fetches it. Another key than the server's is never granted."""
        self._take_back()
        if key == self._key:
            self._request, theirs = socket.socketpair()
            with theirs:
                self._enqueue(theirs)

    def grant(self, timeout_s: float) -> LocalGrant | None:
        """The device that was requested, or None if it is not free yet."""
        waiting = [self._request] if self._request else []
        if not select.select(waiting, [], [], max(0.0, timeout_s))[0] or self._request is None:
            return None
        if self._request.recv(1) != GRANTED:  # a restart of the server hit the child
            self.request(self._key)
            return None
        granted, self._request = self._request, None
        return LocalGrant(self._key, granted)

    def _take_back(self) -> None:
        if self._request is not None:
            self._request.close()
            self._request = None
