"""``squeezenas-tvm COMMAND ...``: hands the arguments to the command's own module."""

import sys
from collections.abc import Sequence

from squeezenas_tvm.cli import dispatch


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` without the program by default). Returns the exit code."""
    return dispatch(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
