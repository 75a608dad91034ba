"""The protocol of TVM's tracker. TVM's own client would wait for a board for ever, deaf to everything else.

Frames are a length (int32) and JSON. A server that is free registers itself with a key that opens it once;
the tracker hands that key to the client that has waited longest. A key that nobody uses is replaced by its
server after 8 s, so a board that was granted and is not wanted costs nobody anything.
"""

import os
import select
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from targets.errors import DeviceUnavailable, TargetError
from targets.rpc.local_server import parse_address
from targets.support.commands import module_line
from targets.target import Target

_ANSWER_S = 10.0  # a tracker that is up answers in milliseconds


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to open one session with one board."""

    host: str
    port: int
    match_key: str

    @property
    def board(self) -> str:
        """The board's name, ``host:port`` of its RPC server: the same for all of its sessions."""
        return f"{self.host}:{self.port}"


class Tracker:
    """A connection to a tracker, closed at the end of its ``with`` block.

    Raises:
        OSError: nobody is there, it is no tracker, or it does not answer (TimeoutError). Every method may.
        TargetError: the address is not HOST:PORT.
    """

    def __init__(self, address: str, timeout_s: float = _ANSWER_S) -> None:
        from targets.tvm_import import tvm

        self._base: Any = tvm.rpc.base
        self._socket = socket.create_connection(parse_address(address), timeout=timeout_s)
        try:
            self._greet()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def registered(self) -> list[str]:
        """The key of every registered server, so one key as often as it has boards. Not while requesting."""
        self._send([self._base.TrackerCode.SUMMARY])
        _, summary = self._base.recvjson(self._socket)
        return sorted(info["key"].removeprefix("server:") for info in summary["server_info"])

    def request(self, key: str) -> None:
        """Queue for a free board; `grant` fetches it. Closing the connection takes the request back."""
        self._send([self._base.TrackerCode.REQUEST, key, "", 1])

    def grant(self, timeout_s: float) -> Grant | None:
        """The board that was requested, or None if there is none yet."""
        if not select.select([self._socket], [], [], max(0.0, timeout_s))[0]:
            return None
        _, (host, port, match_key) = self._base.recvjson(self._socket)
        return Grant(host, port, match_key)

    def _greet(self) -> None:
        magic = struct.pack("<i", self._base.RPC_TRACKER_MAGIC)
        self._socket.sendall(magic)
        if self._base.recvall(self._socket, len(magic)) != magic:
            raise OSError("what answers there is no TVM tracker")

    def _send(self, message: list[Any]) -> None:
        self._base.sendjson(self._socket, message)


def no_board(key: str, address: str, waited_s: float, error: OSError | None = None) -> DeviceUnavailable:
    """Why there is none: what the connection failed with, or what the tracker says when asked once more."""
    names: list[str] = []
    if error is None:
        try:
            with Tracker(address) as tracker:
                names = tracker.registered()
        except OSError as silent:
            error = silent
    if error is not None:
        reason = "the tracker does not answer" if isinstance(error, TimeoutError) else _spell(error)
        advice = "is the address right and the tracker up?"
    elif key in names:
        reason, advice = "all of them are busy", "wait for them, or register more boards"
    else:
        reason = f"the tracker has these keys: {', '.join(sorted(set(names))) or 'none'}"
        advice = "start the board's RPC server with that key"
    return DeviceUnavailable.after(key, address, waited_s, reason, advice)


def tracker_address(target: Target) -> str:
    """What the variable that the target names says. Raises TargetError if there is none."""
    variable = target.rpc.tracker_env
    if variable is None:
        raise TargetError(f"target {target.name}: no tracker address; give --tracker HOST:PORT")
    address = os.environ.get(variable)
    if not address:
        raise TargetError(
            f"target {target.name}: no tracker address; give --tracker HOST:PORT, or set {variable} to it"
        )
    return address


def start_command(port: int) -> str:
    """Shell command that starts a tracker on loopback. Without --port-end TVM takes no port above 9198."""
    ports = ("--port", port, "--port-end", port + 1)
    return module_line("tvm.exec.rpc_tracker", "--host", "127.0.0.1", *ports)


def _spell(error: OSError) -> str:
    return error.strerror or str(error)
