"""Child processes that never outlive this one, and signals that end it in order. Linux only."""

import contextlib
import ctypes
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None)  # loaded here, since nothing should be between fork and work


def adopt_orphans() -> None:
    """From now on a process below this one whose parent dies becomes a child of this one."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def run_in_child(run: Callable[[], None]) -> int:
    """Run a function in a child without stdin and stdout; returns its process id.

    The kernel kills the child when this process dies, and so on with all that is forked below. Nobody may
    leave a Python handler for SIGTERM there: TVM ends a hung worker with it, and the worker, busy in machine
    code, would never get to run an inherited handler.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's, for the owner
            signal.signal(number, signal.SIG_IGN)
        _die_with_parent()
        os.register_at_fork(after_in_child=_die_with_parent)
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        run()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def reap() -> set[int]:
    """Process ids of children that have died since the last call."""
    dead = set()
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            dead.add(pid)
    return dead


def kill_children(but: int | None = None) -> None:
    """SIGKILL for everything below this process, except for one."""
    for child in psutil.Process().children(recursive=True):
        if child.pid != but:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def kill_all() -> None:
    """Kill and reap until no descendant is left; adopted orphans arrive one generation at a time."""
    with contextlib.suppress(ChildProcessError):
        while True:
            kill_children()
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.005)


@contextlib.contextmanager
def until_stopped() -> Iterator[Callable[[], bool]]:
    """Whether this process was asked to end; in the block SIGINT, SIGTERM and SIGHUP do nothing else."""
    stopped = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in numbers}
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
