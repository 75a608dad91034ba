"""How benchmarks end: with one line where what they were given cannot be used, as the commands do."""

import sys
from collections.abc import Callable
from typing import NoReturn

from squeezenas_tvm.cli import leave


def run_benchmark(main: Callable[[], None]) -> NoReturn:
    """Run a benchmark and end the process. Errors that carry ``exit_code``, and files that cannot be read or
    written, are one line; all others are bugs and pass through."""
    try:
        main()
    except KeyboardInterrupt:
        _complain("stopped")
        leave(130)
    except OSError as error:
        if error.filename is None:
            raise
        _complain(f"error: {error.filename}: {error.strerror}; give another place")
        leave(2)
    except Exception as error:
        exit_code = getattr(error, "exit_code", None)
        if not isinstance(exit_code, int):
            raise
        _complain(f"error: {error}")
        leave(exit_code)
    leave(0)


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
