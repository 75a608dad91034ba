"""Ctrl-C in a thread that runs TVM: held back while TVM works.

KeyboardInterrupt must not be raised while TVM's C++ is at work. Thrown into a callback of a schedule search
it comes back as a RuntimeError without a message or, half of the time, ends the process with a segmentation
fault.
"""

import signal
import threading
from types import FrameType, TracebackType


class HeldInterrupts:
    """In ``with HeldInterrupts():``, Ctrl-C waits for the block's end.

    Changes nothing in threads other than the main one, and where SIGINT is ignored or handled by somebody
    else: Python's own handler is the only one that raises.
    """

    def __init__(self) -> None:
        self._installed = self._pending = False

    def __enter__(self) -> "HeldInterrupts":
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._installed = True
            signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            self._installed = False
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._pending = True
