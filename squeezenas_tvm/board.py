"""``board``: on a board, serve its device to profiles and deployments that run elsewhere."""

import argparse
from collections.abc import Sequence

from squeezenas_tvm.cli import PROGRAM, Result, leave, run_command
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import port_number

EXAMPLE = (
    "squeezenas-tvm board --target jetson-xavier --tracker 10.0.0.5:9190 --interface eth0\n"
    "squeezenas-tvm board --target jetson-xavier --tracker 127.0.0.1:9190 --ssh nvidia@xavier"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--target", required=True, help="what this board is: a name, or a YAML file")
    parser.add_argument(
        "--tracker", metavar="HOST:PORT", required=True, help="TVM RPC tracker to register at"
    )
    parser.add_argument(
        "--port",
        type=port_number,
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
        "--expose", action="store_true", help="listen on every address: TVM's RPC has no encryption"
    )
    parser.add_argument(
        "--stdin-key",
        action="store_true",
        help="take the key that callers must know from standard input, and end with that, as --ssh does it "
        "(default: the key in ~/.config/squeezenas-tvm/board.key, which is made if there is none)",
    )


def execute(args: argparse.Namespace) -> Result:
    """Serve until Ctrl-C, here or, through a tunnel, on the board."""
    from squeezenas_tvm.serving.board import serve_board, serve_through_ssh
    from targets import load_target

    if not 0 < args.port < 65536:
        raise UsageError(f"--port: found {args.port}, allowed: 1 to 65535")
    target = load_target(args.target)
    if args.ssh:
        _check_ssh(args)
        place = serve_through_ssh(target, args.tracker, args.port, host=args.ssh, program=args.program)
    else:
        place = serve_board(
            target,
            args.tracker,
            args.port,
            bind=args.bind,
            interface=args.interface,
            expose=args.expose,
            through_ssh=args.stdin_key,
        )
    return Result(document={"board": place, "key": target.rpc.key}, text=f"{place} is stopped")


def _check_ssh(args: argparse.Namespace) -> None:
    """Raises UsageError for options that mean nothing on a board that is reached by SSH."""
    from targets import list_targets

    if args.stdin_key:
        raise UsageError("--ssh: it passes this user's key; leave --stdin-key out")
    if args.expose:
        raise UsageError("--ssh: the server listens on the board's loopback; leave --expose out")
    if args.target not in list_targets():
        raise UsageError(
            f"--ssh: found the file {args.target}, allowed: the name of a shipped target, which the board "
            "has, too; for a file of your own start this command there, with an SSH tunnel of your own"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("board", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


if __name__ == "__main__":
    leave(main())
