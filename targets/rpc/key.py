"""The key by which a board knows who may call it: TVM's RPC itself asks nobody.

Both ends have the same file, or `board --ssh` passes the host's key through the tunnel. It never travels with
a call: what a caller shows is made of the key and of what TVM's tracker granted, good for one session
with one server.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import socket
import struct
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from targets.errors import TargetError

_OPTION = "-proof="
_FORM = re.compile(r"[0-9a-f]{32,128}")
_WRONG_KEY = 0xFF271 + 3  # none of the codes of TVM
_MAX_HEADER_BYTES = 1024
_HEADER_S = 5


def key_file() -> Path:
    """Where this user's key stands."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "squeezenas-tvm" / "board.key"


def read_key(path: Path) -> str:
    """The key in a file. Raises TargetError when it cannot be read, is no key, or others may read it."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            others = os.fstat(file.fileno()).st_mode & 0o077
            text = file.read(200)
    except OSError as error:
        raise TargetError(f"{path}: the key of boards cannot be read ({error.strerror or error})") from None
    if others:
        raise TargetError(f"{path}: others may read this key of boards; chmod 600 it, or delete it")
    return checked_key(text, str(path))


def checked_key(text: str, source: str) -> str:
    """A key without the end of its line. Raises TargetError for what is none."""
    key = text.strip()
    if not _FORM.fullmatch(key):
        raise TargetError(f"{source}: no key of boards; allowed: one line of 32 to 128 digits 0-9a-f")
    return key


def own_key() -> str:
    """This user's key, which is made if there is none yet. Raises TargetError."""
    try:
        _make(key_file())
    except OSError as error:
        raise TargetError(
            f"{key_file()}: no key of boards can be written ({error.strerror or error})"
        ) from None
    return read_key(key_file())


def with_proof(match_key: str, host: str, port: int) -> str:
    """What a caller sends for a grant of the tracker: with the proof, unless he can keep no key.

    Raises TargetError for a key that is none.
    """
    with contextlib.suppress(OSError):  # the board may be one that asks for none
        _make(key_file())
    if not key_file().exists():
        return match_key
    return f"{match_key} {_OPTION}{_proof(read_key(key_file()), match_key, host, port)}"


def _make(path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:  # of mode 0600
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(file.name, path)


def _proof(key: str, match_key: str, host: str, port: int) -> str:
    """The address is in it, so that no server can use it on another."""
    return hmac.new(key.encode(), f"{match_key} {host} {port}".encode(), hashlib.sha256).hexdigest()


class KeyedListener(socket.socket):
    """A listening socket that hands TVM's server only callers who know a key; it takes the place of another.

    Args:
        listener: which is detached.
        hosts: addresses under which callers may have come.
    """

    def __init__(self, listener: socket.socket, key: str, hosts: Collection[str]) -> None:
        self._port = listener.getsockname()[1]
        super().__init__(fileno=listener.detach())
        self._key, self._hosts = key, hosts

    def accept(self) -> tuple[socket.socket, Any]:
        """A caller. ConnectionRefusedError for one without the key: TVM's server then registers anew."""
        connection, peer = super().accept()
        with contextlib.suppress(OSError, ValueError):
            if self._is_known(_header(connection)):
                return connection, peer
            connection.sendall(struct.pack("<i", _WRONG_KEY))
        connection.close()
        raise ConnectionRefusedError("a caller without the key")

    def _is_known(self, header: str) -> bool:
        first, *options = header.split()
        match_key = first.removeprefix("client:")
        shown = [option.removeprefix(_OPTION) for option in options if option.startswith(_OPTION)]
        good = [_proof(self._key, match_key, host, self._port) for host in self._hosts]
        return any(hmac.compare_digest(one, other) for one in shown for other in good)


def _header(connection: socket.socket) -> str:
    """What a caller says first, left there for TVM. Raises OSError or ValueError if it is not all there."""
    fields = struct.Struct("<ii")
    seconds = struct.Struct("ll")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds.pack(_HEADER_S, 0))
    start = connection.recv(fields.size, socket.MSG_PEEK | socket.MSG_WAITALL)
    if len(start) < fields.size:
        raise ValueError("too short")
    size = fields.size + fields.unpack(start)[1]
    if not fields.size < size <= _MAX_HEADER_BYTES:
        raise ValueError("too long")
    text = connection.recv(size, socket.MSG_PEEK | socket.MSG_WAITALL)[fields.size :].decode("ascii")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds.pack(0, 0))
    return text
