"""What is written beside the weights, where there is room and where there is none."""

import contextlib
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.training.records import Records


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Files must not grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_curves_are_written_whole(tmp_path: Path) -> None:
    records = Records(tmp_path, ("epoch", "loss"))
    records.rows([{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": None}])
    records.close()
    assert (tmp_path / "curves.csv").read_text() == "epoch,loss\n1,2.5\n2,\n"


def test_events_without_room_are_an_error_and_no_traceback_of_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    before = set(threading.enumerate())
    with no_room():
        with pytest.raises(OSError, match="File too large"):
            Records(tmp_path, ("epoch",))
        for thread in set(threading.enumerate()) - before:
            thread.join(20)
    assert shown == []
    own = threading.Thread(target=lambda: 1 / 0)
    own.start()
    own.join()
    assert [told.exc_type for told in shown] == [ZeroDivisionError]
