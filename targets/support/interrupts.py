"""Ctrl-C and SIGTERM: held back while something must not stop in its middle.

KeyboardInterrupt must not be raised while TVM's C++ is at work: thrown into a callback of a schedule search
it comes back as a RuntimeError without a message or, half of the time, ends the process with a segmentation
fault. Nor within a step of a training, whose checkpoint would be of half a step.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM, where ``termination_stops`` makes it a Ctrl-C."""

    exit_code = 128 + signal.SIGTERM


@contextlib.contextmanager
def termination_stops() -> Iterator[None]:
    """In the block, SIGTERM stops as Ctrl-C does, by raising Terminated: Slurm, ``docker stop`` and torchrun
    send it, and end the process some seconds later.

    Changes nothing in threads other than the main one, and where SIGTERM is ignored or handled by others.
    """
    if not _in_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class HeldInterrupts:
    """In ``with HeldInterrupts():``, Ctrl-C waits for the block's end; so does SIGTERM where it raises.

    Changes nothing in threads other than the main one, and where signals are ignored or handled by somebody
    else: Python's own handler and that of ``termination_stops`` are the only ones that raise.

    Args:
        errors_first: what the block raises passes, and the signal is forgotten. Else the signal wins over an
            error, which it may have caused.
    """

    def __init__(self, *, errors_first: bool = False) -> None:
        self._errors_first = errors_first
        self._installed: list[int] = []
        self._pending: int | None = None

    def __enter__(self) -> "HeldInterrupts":
        if _in_main_thread():
            self._installed = [n for n, (handler, _) in _RAISING.items() if signal.getsignal(n) is handler]
            for number in self._installed:
                signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._installed:
            signal.signal(number, _RAISING[number][0])
        pending, self._installed, self._pending = self._pending, [], None
        if pending is not None and not (self._errors_first and error is not None):
            raise _RAISING[pending][1]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._pending = number


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_RAISING: dict[int, tuple[Any, type[KeyboardInterrupt]]] = {
    signal.SIGINT: (signal.default_int_handler, KeyboardInterrupt),
    signal.SIGTERM: (_terminate, Terminated),
}
