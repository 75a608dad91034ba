"""Ctrl-C is held back while TVM works."""

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from targets.support.interrupts import HeldInterrupts, Terminated, termination_stops


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


def test_an_error_may_go_first() -> None:
    def failing() -> None:
        with HeldInterrupts(errors_first=True):
            interrupt()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        failing()
    with pytest.raises(KeyboardInterrupt), HeldInterrupts(errors_first=True):
        interrupt()


def test_what_is_told_within_the_block_is_heard_before_ctrl_c() -> None:
    """By a generator that yields inside of it, as steps of a search are told."""
    told = []

    def steps() -> Iterator[int]:
        for step in range(3):
            with HeldInterrupts(errors_first=True):
                if step == 1:
                    interrupt()
                yield step

    def tell() -> None:
        for step in steps():
            told.append(step)

    with pytest.raises(KeyboardInterrupt):
        tell()
    assert told == [0, 1]


def test_sigterm_stops_like_ctrl_c_in_the_block_alone() -> None:
    done = []

    def work() -> None:
        with termination_stops(), HeldInterrupts():
            signal.raise_signal(signal.SIGTERM)
            done.append("work")

    with pytest.raises(Terminated):
        work()
    assert done == ["work"]
    assert issubclass(Terminated, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_that_somebody_else_hears_is_theirs() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with termination_stops(), HeldInterrupts():
            signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
