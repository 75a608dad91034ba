"""What a training writes beside its weights: curves.csv and TensorBoard event files."""

import csv
import io
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from torch.utils.tensorboard import SummaryWriter

from targets.support.files import put_whole

CURVES = "curves.csv"

Row: TypeAlias = Mapping[str, str | int | float | None]


class Records:
    """Of one folder; ``close`` it.

    Args:
        columns: of curves.csv.
        purge_step: events of this step and later ones, which a stopped run left, do not count any more.
    """

    def __init__(self, folder: Path, columns: Sequence[str], *, purge_step: int | None = None) -> None:
        self._path, self._columns = folder / CURVES, columns
        if not isinstance(threading.excepthook, _UnlessEvents):
            threading.excepthook = _UnlessEvents(threading.excepthook)
        events = folder / "tensorboard"
        _wait_for_a_new_second(events)
        self._events = SummaryWriter(str(events), purge_step=purge_step)

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Points of TensorBoard's curves, by name, such as ``train/loss``; none where there is no value."""
        for name, value in values.items():
            if value is not None:
                self._events.add_scalar(name, value, step)

    def rows(self, rows: Sequence[Row]) -> None:
        """Write curves.csv, all of it: a run that goes on from a checkpoint does some rows again."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        put_whole(self._path, text.getvalue().encode())
        self._events.flush()

    def close(self) -> None:
        """Write the last events. Raises OSError, as all that writes, also for what failed before."""
        self._events.close()


def _wait_for_a_new_second(events: Path) -> None:
    """TensorBoard reads event files by their names, whose only order is the second of their beginning."""
    while any(events.glob(f"events.out.tfevents.{int(time.time())}.*")):
        time.sleep(0.02)


class _UnlessEvents:
    """Shows failures of threads, but for those of TensorBoard, which are raised in the next call as well."""

    def __init__(self, shown: Callable[[threading.ExceptHookArgs], Any]) -> None:
        self._shown = shown

    def __call__(self, told: threading.ExceptHookArgs) -> None:
        if type(told.thread).__name__ != "_AsyncWriterThread":
            self._shown(told)
