"""What became of work that a fleet was given: a timing, the kernel's own error, or what ends everything."""

from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from cost_models.runner.runner import RunResult, Timing
from targets import Done, WorkFailed

_Result = TypeVar("_Result", RunResult, Timing)


def checked(result: _Result) -> _Result:
    """A timing without error, or WorkFailed: the fleet then looks whether the board survived it."""
    if result.error is not None:
        raise WorkFailed(result.error)
    return result


def outcome(future: "Future[Done[_Result]]") -> tuple[_Result | None, str | None, str]:
    """(timing, error, board) of finished work; no timing where there is an error.

    Raises what is not the kernel's fault, such as NoBoardLeft.
    """
    try:
        done = future.result()
    except WorkFailed as failed:
        return None, str(failed), ""
    return done.value, None, done.board


def remove(path: Path | None) -> None:
    """Delete a built file; it may be gone already."""
    if path is not None:
        path.unlink(missing_ok=True)
