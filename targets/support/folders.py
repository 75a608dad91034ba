"""Folders that are there whole or not at all."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from targets.support.partial import OLD, clear_left, partial_folder

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


@contextlib.contextmanager
def whole_folder(out: Path, check: Callable[[], None]) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of ``out`` and all that is there when the block ends.

    After an error nothing of it is left, and ``out`` is as it was; after SIGKILL too, once the next folder is
    made beside it. Beside the folder that is given, in its parent, there is room for other work.

    Args:
        check: raises where what is at ``out`` must not go; asked at the beginning, and at the end again.

    Raises OSError, and what ``check`` and the block raise.
    """
    place = Path(os.path.realpath(out))  # a link stays one
    clear_left(place.parent)
    check()
    place.parent.mkdir(parents=True, exist_ok=True)
    with partial_folder(place) as work:
        new = work / "new"
        new.mkdir()
        yield new
        check()
        _put(new, place, work / OLD)


def _put(new: Path, place: Path, old: Path) -> None:
    """Move a folder to its place; what is there goes to ``new``, or to ``old`` where that takes two steps."""
    if not os.path.lexists(place):
        os.rename(new, place)
        return
    if _exchanged(new, place):
        return
    try:  # killed between these two lines, it is put back by `clear_left`
        os.rename(place, old)
        os.rename(new, place)
    except BaseException:
        if not os.path.lexists(place):
            os.rename(old, place)
        raise


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system, or this file system, cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    return not renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
