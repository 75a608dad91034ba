"""Ctrl-C is held back while TVM works."""

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from targets.support.interrupts import HeldInterrupts


@pytest.fixture(autouse=True)
def python_handles_ctrl_c() -> Iterator[None]:
    """As in a command on a terminal, whoever started pytest and how."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def stopped(work: Callable[[list[str]], None]) -> list[str]:
    """What the work had done when KeyboardInterrupt ended the block around it."""
    done: list[str] = []

    def run() -> None:
        with HeldInterrupts():
            work(done)

    with pytest.raises(KeyboardInterrupt):
        run()
    return done


def test_interrupt_waits_for_the_end_of_the_block() -> None:
    def work(done: list[str]) -> None:
        interrupt()
        done.append("work of TVM")

    assert stopped(work) == ["work of TVM"]


def test_cleaning_up_is_not_interrupted_again() -> None:
    def work(done: list[str]) -> None:
        try:
            interrupt()
        finally:
            interrupt()  # an impatient second Ctrl-C
            done.append("cleaned up")

    assert stopped(work) == ["cleaned up"]


def test_interrupt_wins_over_the_error_that_it_caused() -> None:
    def work(done: list[str]) -> None:
        interrupt()
        raise RuntimeError

    assert stopped(work) == []


def test_interrupt_is_raised_once_and_the_next_block_starts_afresh() -> None:
    held = HeldInterrupts()
    with pytest.raises(KeyboardInterrupt), held:
        interrupt()
    with held:
        pass


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="mine"), HeldInterrupts():
        raise ValueError("mine")


def test_handler_of_somebody_else_stays() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    with HeldInterrupts():
        interrupt()
    assert seen == [signal.SIGINT]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_other_threads_may_use_it() -> None:
    done = []

    def work() -> None:
        with HeldInterrupts():
            done.append("work")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["work"]
