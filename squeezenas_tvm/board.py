"""``board``: on a board, serve its device to profiles and deployments that run elsewhere."""

import argparse
import logging
import shlex
import subprocess
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from squeezenas_tvm.cli import PROGRAM, Result, leave, run_command
from squeezenas_tvm.errors import FailedWork, UsageError

if TYPE_CHECKING:
    from targets import Target

EXAMPLE = (
    "squeezenas-tvm board --target jetson-xavier --tracker 10.0.0.5:9190 --interface eth0\n"
    "squeezenas-tvm board --target jetson-xavier --tracker 127.0.0.1:9190 --ssh nvidia@xavier"
)
_POLL_S = 0.1
_NOT_FOUND = 127  # of a shell

log = logging.getLogger("squeezenas_tvm.board")  # also when run with -m


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--target", required=True, help="what this board is: a name, or a YAML file")
    parser.add_argument(
        "--tracker", metavar="HOST:PORT", required=True, help="TVM RPC tracker to register at"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=9090,
        help="to listen on (default %(default)s); one of its own for each board behind --ssh",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--bind", metavar="ADDRESS", help="IPv4 address to listen on (default 127.0.0.1)")
    where.add_argument("--interface", metavar="NAME", help="listen on this network interface, such as eth0")
    where.add_argument(
        "--ssh",
        metavar="USER@HOST",
        help="given on the host: open an SSH tunnel to the board and start the server there",
    )
    parser.add_argument(
        "--program",
        metavar="PATH",
        default=PROGRAM,
        help="of this program on the board, for --ssh (default: %(default)s in the board's PATH)",
    )
    parser.add_argument(
        "--expose", action="store_true", help="listen on every address: TVM's RPC has no authentication"
    )


def execute(args: argparse.Namespace) -> Result:
    """Serve until Ctrl-C, here or, through a tunnel, on the board."""
    from targets import load_target

    if not 0 < args.port < 65536:
        raise UsageError(f"--port: found {args.port}, allowed: 1 to 65535")
    target = load_target(args.target)
    if args.ssh:
        return _through_ssh(args, target)
    return _serve(args, target)


def _serve(args: argparse.Namespace, target: "Target") -> Result:
    from targets.rpc.board_server import bind_address, check_route, serve
    from targets.sensors.readings import read_board

    address = bind_address(args.bind, args.interface, expose=args.expose)
    check_route(address, args.tracker)
    place = f"{address}:{args.port}"

    def ready() -> None:
        state = read_board(target.readings)
        log.info("%s serves %s at tracker %s; %s; Ctrl-C ends it", place, target.rpc.key, args.tracker, state)

    serve(target, args.tracker, address, args.port, ready)
    return Result(document={"board": place, "key": target.rpc.key}, text=f"{place} is stopped")


def _through_ssh(args: argparse.Namespace, target: "Target") -> Result:
    """One SSH connection carries both ways; with it the server on the board ends, too."""
    from targets import list_targets, parse_address
    from targets.rpc.board_server import is_loopback, tunnel_command

    host, tracker_port = parse_address(args.tracker)
    if not is_loopback(host):
        raise UsageError(
            f"--ssh: found the tracker {args.tracker}, allowed: one on this machine, given as 127.0.0.1:PORT"
        )
    if args.expose:
        raise UsageError("--ssh: the server listens on the board's loopback; leave --expose out")
    if args.target not in list_targets():
        raise UsageError(
            f"--ssh: found the file {args.target}, allowed: the name of a shipped target, which the board "
            "has, too; for a file of your own start this command there, with an SSH tunnel of your own"
        )
    tracker = f"127.0.0.1:{tracker_port}"
    remote = [args.program, "board", "--target", target.name, "--tracker", tracker, "--port", str(args.port)]
    command = [*tunnel_command(args.ssh, tracker_port, args.port), shlex.join(remote)]
    code = _run_until_stopped(command)
    if code == _NOT_FOUND:
        raise FailedWork(f"{args.ssh}: no {args.program} in its PATH; give its place there with --program")
    if code:
        raise FailedWork(f"{shlex.join(command)} ended with {code}; the reason is above")
    place = f"127.0.0.1:{args.port}"
    return Result(document={"board": place, "key": target.rpc.key}, text=f"{place} is stopped")


def _run_until_stopped(command: Sequence[str]) -> int:
    """Exit code of a program; 0 when this one was asked to end, which ends the program first."""
    from targets.rpc.processes import until_stopped

    with until_stopped() as stopped:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # it may run in the background
        except FileNotFoundError:
            raise UsageError(f"--ssh: no program {command[0]} here; install an OpenSSH client") from None
        while process.poll() is None and not stopped():
            time.sleep(_POLL_S)
        process.terminate()
        code = process.wait()
        return 0 if stopped() else code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("board", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
