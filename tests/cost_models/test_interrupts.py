"""Ctrl-C is held back where TVM works and let through where Python waits."""

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from cost_models.interrupts import HeldInterrupts


@pytest.fixture(autouse=True)
def python_handles_ctrl_c() -> Iterator[None]:
    """As in a command on a terminal, whoever started pytest and how."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def stopped(work: Callable[[HeldInterrupts, list[str]], None]) -> list[str]:
    """What the work had done when KeyboardInterrupt ended the block around it."""
    done: list[str] = []

    def run() -> None:
        with HeldInterrupts() as held:
            work(held, done)

    with pytest.raises(KeyboardInterrupt):
        run()
    return done


def test_interrupt_waits_for_the_end_of_the_block() -> None:
    def work(held: HeldInterrupts, done: list[str]) -> None:
        interrupt()
        done.append("work of TVM")

    assert stopped(work) == ["work of TVM"]


def test_interrupt_is_raised_at_once_where_it_is_released() -> None:
    def work(held: HeldInterrupts, done: list[str]) -> None:
        with held.released():
            interrupt()
            done.append("never")
        done.append("never")

    assert stopped(work) == []


def test_interrupt_that_came_before_is_raised_on_release() -> None:
    def work(held: HeldInterrupts, done: list[str]) -> None:
        interrupt()
        done.append("held")
        with held.released():
            done.append("never")

    assert stopped(work) == ["held"]


def test_cleaning_up_is_not_interrupted_again() -> None:
    def work(held: HeldInterrupts, done: list[str]) -> None:
        try:
            with held.released():
                interrupt()
        finally:
            interrupt()  # an impatient second Ctrl-C
            done.append("cleaned up")

    assert stopped(work) == ["cleaned up"]


def test_interrupt_wins_over_the_error_that_it_caused() -> None:
    def work(held: HeldInterrupts, done: list[str]) -> None:
        interrupt()
        raise RuntimeError

    assert stopped(work) == []


def test_interrupt_is_raised_once_and_the_next_block_starts_afresh() -> None:
    held = HeldInterrupts()
    with pytest.raises(KeyboardInterrupt), held, held.released():
        interrupt()
    with held, held.released():
        pass


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="mine"), HeldInterrupts() as held, held.released():
        raise ValueError("mine")


def test_handler_of_somebody_else_stays() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    with HeldInterrupts() as held, held.released():
        interrupt()
    assert seen == [signal.SIGINT]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_other_threads_may_use_it() -> None:
    done = []

    def work() -> None:
        with HeldInterrupts() as held, held.released():
            done.append("work")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["work"]
