"""Serves the device of a board to profiles and deployments that run elsewhere."""

import contextlib
import logging
import os
import select
import shlex
import subprocess
import time
from collections.abc import Sequence

from squeezenas_tvm.errors import FailedWork, UsageError
from targets import Target, parse_address
from targets.rpc.board_server import bind_address, check_route, is_loopback, serve, tunnel_command
from targets.rpc.key import checked_key, own_key
from targets.rpc.processes import until_stopped
from targets.sensors.readings import read_board

_POLL_S = 0.1
_MAX_LINE_BYTES = 200
_NOT_FOUND = 127  # of a shell

log = logging.getLogger(__name__)


def serve_board(
    target: Target,
    tracker: str,
    port: int,
    *,
    bind: str | None = None,
    interface: str | None = None,
    expose: bool = False,
    through_ssh: bool = False,
) -> str:
    """Serve this machine's device until Ctrl-C; returns the address that it listened on.

    Args:
        tracker: HOST:PORT to register at.
        bind, interface: IPv4 address, or network interface, to listen on; the loopback without either.
        expose: listen on every address.
        through_ssh: the key is the first line of standard input, not this user's own; the end of standard
            input ends it, too.

    Raises:
        TargetError: no such address, no way from there to the tracker and back, or no key.
    """
    address = bind_address(bind, interface, expose=expose)
    check_route(address, tracker)
    place = f"{address}:{port}"
    key = checked_key(_first_line(), "standard input") if through_ssh else own_key()

    def ready() -> None:
        state = read_board(target.readings)
        log.info("%s serves %s at tracker %s; %s; Ctrl-C ends it", place, target.rpc.key, tracker, state)

    serve(target, tracker, address, port, key, ready=ready, over=_hung_up if through_ssh else lambda: False)
    return place


def serve_through_ssh(target: Target, tracker: str, port: int, *, host: str, program: str) -> str:
    """Start the server on a board and reach it through a tunnel, until Ctrl-C; returns its address here.

    One SSH connection carries both ways, and this user's key; with it the server on the board ends, too.

    Args:
        target: of a name that the board knows as well.
        tracker: HOST:PORT on this machine's loopback.
        host: USER@HOST of the board.
        program: name or path of this program there.

    Raises:
        UsageError: a tracker elsewhere, or no SSH here.
        TargetError: no key can be made here.
        FailedWork: the program there is missing, or failed.
    """
    tracker_host, tracker_port = parse_address(tracker)
    if not is_loopback(tracker_host):
        raise UsageError(
            f"--ssh: found the tracker {tracker}, allowed: one on this machine, given as 127.0.0.1:PORT"
        )
    there = f"127.0.0.1:{tracker_port}"
    remote = [program, "board", "--target", target.name, "--tracker", there, "--port", str(port)]
    command = [*tunnel_command(host, tracker_port, port), shlex.join([*remote, "--stdin-key"])]
    code = _run_until_stopped(command, own_key())
    if code == _NOT_FOUND:
        raise FailedWork(f"{host}: no {program} in its PATH; give its place there with --program")
    if code:
        raise FailedWork(f"{shlex.join(command)} ended with {code}; the reason is above")
    return f"127.0.0.1:{port}"


def _first_line() -> str:
    """Of standard input, of which no more is read; empty without one."""
    try:
        with open(0, "rb", buffering=0, closefd=False) as stdin:
            return stdin.readline(_MAX_LINE_BYTES).decode("ascii", "replace")
    except OSError:
        return ""


def _hung_up() -> bool:
    """Whether standard input is at its end."""
    return bool(select.select([0], [], [], 0)[0]) and not os.read(0, 1)


def _run_until_stopped(command: Sequence[str], line: str) -> int:
    """Exit code of a program; 0 when this one was asked to end, which ends the program first.

    Args:
        line: the first of its standard input, which stays open until it ends.
    """
    with until_stopped() as stopped:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
        except FileNotFoundError:
            raise UsageError(f"--ssh: no program {command[0]} here; install an OpenSSH client") from None
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{line}\n".encode())
        while process.poll() is None and not stopped():
            time.sleep(_POLL_S)
        process.terminate()
        code = process.wait()
        process.stdin.close()
        return 0 if stopped() else code
