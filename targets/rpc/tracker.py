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

from targets.errors import DeviceUnavailable, TargetError, WrongKey
from targets.rpc.connections import connections_to
from targets.rpc.key import key_file, with_proof
from targets.rpc.local_server import LocalServer, parse_address
from targets.rpc.local_tracker import LocalTracker
from targets.support.commands import module_line
from targets.support.strict_json import parse_json
from targets.target import Target

_ANSWER_S = 10.0  # a tracker that is up answers in milliseconds
_MOST_BYTES = 1 << 22  # of an answer: thousands of boards
_NO_TRACKER = "what answers there is no TVM tracker: its message is none of the protocol's"


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

    def connect(self, timeout_s: float) -> Any:
        """A ``tvm.rpc.RPCSession``, which the board ends after ``timeout_s``.

        Raises:
            RuntimeError: the board is gone.
            WrongKey: it does not take this user's key, or is no RPC server.
            TargetError: the user's key cannot be read.
        """
        from targets.tvm_import import tvm

        key = with_proof(self.match_key, self.host, self.port)
        try:
            return tvm.rpc.connect(self.host, self.port, key, session_timeout=timeout_s)
        except RuntimeError as error:
            if "is not TVM RPC server" in str(error):
                raise WrongKey(self.board, str(key_file())) from None
            raise

    def connections(self) -> list[socket.socket]:
        """Duplicates of this process's sockets that are connected to the board."""
        return connections_to((self.host, self.port))

    def close(self) -> None:
        """Nothing: the board replaces a key that nobody uses."""


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
        match self._receive():
            case [_, {"server_info": list(servers)}]:
                keys = [server.get("key") for server in servers if isinstance(server, dict)]
                return sorted(key.removeprefix("server:") for key in keys if isinstance(key, str))
        raise OSError(_NO_TRACKER)

    def request(self, key: str) -> None:
        """Queue for a free board; `grant` fetches it. Closing the connection takes the request back."""
        self._send([self._base.TrackerCode.REQUEST, key, "", 1])

    def grant(self, timeout_s: float) -> Grant | None:
        """The board that was requested, or None if there is none yet."""
        if not select.select([self._socket], [], [], max(0.0, timeout_s))[0]:
            return None
        match self._receive():
            case [_, [str(host), int(port), str(match_key)]] if 0 < port < 1 << 16:
                return Grant(host, port, match_key)
        raise OSError(_NO_TRACKER)

    def _greet(self) -> None:
        magic = struct.pack("<i", self._base.RPC_TRACKER_MAGIC)
        self._socket.sendall(magic)
        if self._base.recvall(self._socket, len(magic)) != magic:
            raise OSError("what answers there is no TVM tracker")

    def _receive(self) -> Any:
        """A message, bounded. Raises OSError for what is none."""
        (length,) = struct.unpack("<i", self._base.recvall(self._socket, 4))
        if not 0 <= length <= _MOST_BYTES:
            raise OSError(_NO_TRACKER)
        try:
            return parse_json(self._base.recvall(self._socket, length))
        except ValueError:
            raise OSError(_NO_TRACKER) from None

    def _send(self, message: list[Any]) -> None:
        self._base.sendjson(self._socket, message)


def tracker_at(place: str | LocalServer, timeout_s: float = _ANSWER_S) -> Tracker | LocalTracker:
    """A connection to a tracker at HOST:PORT, or to where a local server's device is requested."""
    return place.tracker() if isinstance(place, LocalServer) else Tracker(place, timeout_s)


def place_name(place: str | LocalServer) -> str:
    """What it is called in messages."""
    return place.place if isinstance(place, LocalServer) else f"tracker {place}"


def no_board(
    key: str, place: str | LocalServer, waited_s: float, error: OSError | None = None
) -> DeviceUnavailable:
    """Why there is none: what the connection failed with, or what the tracker says when asked once more."""
    names: list[str] = []
    if error is None:
        try:
            with tracker_at(place) as tracker:
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
    return DeviceUnavailable.after(key, place_name(place), waited_s, reason, advice)


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
