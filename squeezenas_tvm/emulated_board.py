"""A board for those who have none: an arm64 user space in a folder, run by qemu on this machine.

    python -m squeezenas_tvm.emulated_board build
    python -m squeezenas_tvm.emulated_board serve --tracker 127.0.0.1:9190
    python -m squeezenas_tvm.emulated_board python BUNDLE/run.py IMAGE

``build`` makes the folder, 0.5 GiB in the user's cache folder, once. ``serve`` runs the ``board`` command
there, ``python`` any script. Timings mean nothing. qemu-user-static must be installed, and the system must be
a Debian whose archive has arm64.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from squeezenas_tvm.about import SIBLINGS
from squeezenas_tvm.cli import Parser
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import port_number
from targets.emulated_board import NAME, SAFE, build, command, default_folder, environment
from targets.errors import TargetError
from targets.support.text import one_line

_HERE = Path(__file__).resolve().parent
PACKAGES = (*(_HERE.parent / name for name in SIBLINGS), _HERE)
"""Folders of all that the ``board`` command and a bundle's ``run.py`` may import."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code of ``build``, the others become the process on the board."""
    try:
        options = _parser().parse_args(argv)
        build(options.folder)
        if options.what == "build":
            return 0
        arguments = _server(options) if options.what == "serve" else options.arguments
        line = command(options.folder, arguments)
        variables = environment(options.folder, PACKAGES) | (SAFE if options.what == "serve" else {})
        os.execve(line[0], line, variables)  # signals reach the board itself
    except (TargetError, UsageError) as error:
        sys.stderr.write(one_line(f"error: {error}") + "\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("stopped: nothing was changed\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--folder", type=Path, default=default_folder(), help="default %(default)s")
    commands = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    commands.add_parser("build", help="make the board's folder, if it is not there")
    serve = commands.add_parser("serve", help="build, then serve it to profiles and deployments")
    serve.add_argument("--tracker", metavar="HOST:PORT", default="127.0.0.1:9190", help="default %(default)s")
    serve.add_argument("--port", type=port_number, default=9090, help="default %(default)s")
    python = commands.add_parser(
        "python",
        help="build, then run Python on it, as in: python run.py IMAGE",
        prefix_chars="\0",  # all options are Python's
        add_help=False,
    )
    python.add_argument("arguments", nargs="*")
    return parser


def _server(options: argparse.Namespace) -> list[str]:
    """Arguments of Python on the board that serve it."""
    board = ["-m", "squeezenas_tvm", "board", "--target", NAME, "--tracker", options.tracker]
    return [*board, "--port", str(options.port)]


if __name__ == "__main__":
    sys.exit(main())
