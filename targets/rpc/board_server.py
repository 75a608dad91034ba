"""The process on a board: TVM's RPC server under a target's key, started anew whenever it dies.

TVM's RPC lets every caller write files and run code, and asks nobody who he is. So the server takes only
those who know a key, and listens on one address, loopback by default, and on all of them only when told so in
as many words; `tunnel_command` gives the SSH command that brings it and the tracker together.
"""

import contextlib
import ipaddress
import logging
import multiprocessing
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from targets.errors import DeviceUnavailable, TargetError
from targets.local_machine import cpu_flags
from targets.rpc.board_check import CPU_FLAGS
from targets.rpc.key import KeyedListener
from targets.rpc.local_server import parse_address
from targets.rpc.processes import adopt_orphans, kill_all, reap, run_in_child, until_stopped
from targets.rpc.tracker import Tracker, start_command
from targets.sensors.readings import FUNCTION, read_board
from targets.spec import TargetSpec
from targets.support.partial import partial_folder

PORT = 9090
EVERYWHERE = "0.0.0.0"
_RESTART_S = 1.0
_POLL_S = 0.1
_log = logging.getLogger(__name__)


def bind_address(bind: str | None, interface: str | None, *, expose: bool) -> str:
    """The address to listen on: loopback, unless something else is given.

    Args:
        bind: an IPv4 address of this machine.
        interface: name of a network interface, whose first IPv4 address is taken.
        expose: whether every address is allowed, which it is then by default.

    Raises:
        TargetError: every address without ``expose``, no such interface, or no address.
    """
    if interface is not None:
        found = psutil.net_if_addrs()
        addresses = [a.address for a in found.get(interface, []) if a.family == socket.AF_INET]
        if not addresses:
            raise TargetError(
                f"interface {interface!r}: not there or without an IPv4 address; allowed: {', '.join(found)}"
            )
        return str(addresses[0])
    address = bind or (EVERYWHERE if expose else "127.0.0.1")
    try:
        everywhere = ipaddress.IPv4Address(address).is_unspecified
    except ValueError:
        raise TargetError(
            f"bind address: found {address!r}, allowed: an IPv4 address of this machine"
        ) from None
    if everywhere and not expose:
        raise TargetError(
            f"bind address: {address} is every address of this machine, and TVM's RPC has no encryption: "
            "whoever listens in may run code as you; allowed: one address or interface, or an SSH tunnel; "
            "add --expose if you trust everybody on its networks"
        )
    return address


def check_route(address: str, tracker: str) -> None:
    """Refuse a server that others are told of but cannot reach.

    Raises TargetError when the server listens on loopback and the tracker is elsewhere.
    """
    host, _ = parse_address(tracker)
    if ipaddress.IPv4Address(address).is_loopback and not is_loopback(host):
        raise TargetError(
            f"the server would listen on {address} only, but the tracker at {tracker} would send others "
            "to this board's own address; bind to an interface, or use an SSH tunnel and its end of it as "
            "tracker"
        )


def is_loopback(host: str) -> bool:
    """Whether a tracker's host is the machine it is named on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tunnel_command(board: str, tracker_port: int, port: int) -> list[str]:
    """The SSH command, given on the host, that joins a board's loopback to the host's.

    What is appended runs on the board: its standard input is the command's, and closed with the connection.

    Args:
        board: USER@HOST as ssh takes it.
        tracker_port: of a tracker on the host's loopback; the board sees it under the same port.
        port: of the board's server; the host sees it under the same port.
    """
    options = ["-T", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=10"]
    forwards = ["-R", f"{tracker_port}:127.0.0.1:{tracker_port}", "-L", f"{port}:127.0.0.1:{port}"]
    return ["ssh", *options, *forwards, board]


def serve(
    spec: TargetSpec,
    tracker: str,
    address: str,
    port: int,
    key: str,
    *,
    ready: Callable[[], None] = lambda: None,
    over: Callable[[], bool] = lambda: False,
) -> None:
    """Register at a tracker and serve until SIGINT, SIGTERM or SIGHUP; leaves no process and no file.

    Args:
        tracker: HOST:PORT.
        address, port: to listen on.
        key: that callers must know, see `targets.rpc.key`.
        ready: called once, when callers can be served.
        over: asked now and then whether to end, too.

    Raises:
        TargetError: the port is taken, or the address is not of this machine.
        DeviceUnavailable: no tracker answers.
    """
    with _listen(address, port) as listener, until_stopped() as stopped:
        _check_tracker(tracker)
        server = _server(spec, tracker, KeyedListener(listener, key, _hosts(address)))
        with partial_folder(Path(tempfile.gettempdir()) / "squeezenas-board") as folder:
            adopt_orphans()
            try:
                pid = run_in_child(lambda: server(str(folder)))
                ready()
                while not stopped() and not over():
                    time.sleep(_POLL_S)
                    if pid in reap() and not stopped():
                        _log.warning(
                            "the RPC server died, as it does when a kernel crashes: it is started anew"
                        )
                        time.sleep(_RESTART_S)
                        _empty(folder)
                        pid = run_in_child(lambda: server(str(folder)))
            finally:
                kill_all()


def _server(spec: TargetSpec, tracker: str, listener: socket.socket) -> Callable[[str], None]:
    """What the server's process does, given a folder for what callers upload. Imports TVM here, once."""
    from targets.tvm_import import tvm, tvm_ffi

    address, port = listener.getsockname()
    named = "" if address == EVERYWHERE else address  # for the tracker; it takes the sender's where none is

    def run(folder: str) -> None:
        tempfile.tempdir = folder
        multiprocessing.set_start_method("fork", force=True)  # it hands its workers an open socket
        logging.getLogger("RPCServer").setLevel(logging.WARNING)
        tvm_ffi.register_global_func(FUNCTION, lambda: read_board(spec.readings).to_json(), override=True)
        tvm_ffi.register_global_func(CPU_FLAGS, lambda: " ".join(sorted(cpu_flags())), override=True)
        try:
            tvm.rpc.server._listen_loop(listener, port, spec.rpc.key, parse_address(tracker), "", named)
        except RuntimeError as error:  # a worker crashed, or the tracker has been gone for a minute
            _log.warning("the RPC server ends: %s", error)

    return run


def _check_tracker(tracker: str) -> None:
    try:
        with Tracker(tracker):
            pass
    except OSError as error:
        raise DeviceUnavailable(
            f"tracker {tracker}: {error.strerror or error}; start it on your host with: "
            + start_command(parse_address(tracker)[1])
        ) from None


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise TargetError(
            f"{address}:{port}: {error.strerror}; give another --port, or an address of this machine"
        ) from None
    return listener


def _hosts(address: str) -> list[str]:
    """The names that callers may have for what listens on an address."""
    if address != EVERYWHERE:
        return [address]
    every = [one for addresses in psutil.net_if_addrs().values() for one in addresses]
    return [one.address for one in every if one.family == socket.AF_INET]


def _empty(folder: Path) -> None:
    """A server that died has left what was uploaded."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            shutil.rmtree(path)
