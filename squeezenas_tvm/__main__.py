"""``squeezenas-tvm COMMAND ...``: hands the arguments to the command's own module."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from squeezenas_tvm.cli import dispatch, leave


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` without the program by default). Returns the exit code."""
    return dispatch(sys.argv[1:] if argv is None else argv)


def run() -> NoReturn:
    """The console script."""
    leave(main())


if __name__ == "__main__":
    run()
