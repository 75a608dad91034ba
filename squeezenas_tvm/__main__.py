"""``squeezenas-tvm COMMAND ...``: hands the arguments to the command's own module."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from squeezenas_tvm.cli import dispatch, leave


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` without the program by default). Returns the exit code."""
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["--completion"]:
        from squeezenas_tvm import completion

        return completion.main(given[1:])
    return dispatch(given)


def run() -> NoReturn:
    """The console script."""
    leave(main())


if __name__ == "__main__":
    run()
