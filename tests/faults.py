"""What goes wrong while files are written: processes that are killed, disks that are full."""

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator


def kill() -> None:
    """As SIGKILL does it, to the process that calls this."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_killed(work: Callable[[], object]) -> None:
    """Run a function in a fork, which it must have killed before it returns."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


@contextlib.contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """In this block no file grows larger; the error is EFBIG, "File too large"."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
