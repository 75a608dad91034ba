"""A bundle that runs: on this machine, or on a board that a tracker knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from squeezenas_tvm.bundles.on_board import open_bundle
from squeezenas_tvm.bundles.runner import Bundle
from squeezenas_tvm.errors import UsageError


@contextmanager
def opened_bundle(
    folder: Path, *, tracker: str | None = None, target: str | None = None, timeout_s: float = 3600.0
) -> Iterator[Bundle]:
    """The bundle on this machine, or on a board.

    Args:
        tracker: HOST:PORT at which the board is registered; this machine when None.
        target: name or file of the board's target; the one that the bundle names when None.
        timeout_s: after that a board takes itself back.

    Raises:
        UsageError: a target without a tracker.
        BundleError, TargetError, FailedWork: as `Bundle.load` and `on_board.open_bundle`.
    """
    if tracker is not None:
        with open_bundle(folder, target, tracker, timeout_s) as bundle:
            yield bundle
        return
    if target is not None:
        raise UsageError("--target is for --tracker HOST:PORT; without one the bundle runs on this machine")
    yield Bundle.load(folder)
