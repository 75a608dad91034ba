"""Work that is not done: files and folders beside the place that they are to take.

They bear a name of our own, ``.NAME-xxxxxxxx.squeezenas-tvm``, and a lock for as long as their process lives.
What a killed process left is cleared by the next one that works in the same folder; nothing else is.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO

OLD = "old"  # in a folder of work: what was at its place, for the moment in which nothing is there
_LOCK = "squeezenas-tvm.lock"  # in a folder of work
_NAME = re.compile(r"\.(.+)-[0-9a-f]{8}\.squeezenas-tvm", re.DOTALL)
_LONGEST = 50  # characters of a file's own name that are kept: the whole must not be too long


@contextlib.contextmanager
def partial_file(place: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file beside ``place``, open for writing; removed after the block unless it was moved.

    Raises OSError.
    """
    _clear_once(place.parent)
    path, descriptor = _new_file(place)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def partial_folder(place: Path) -> Iterator[Path]:
    """A new folder beside ``place``, for this user alone; removed after the block with all that is in it.

    Raises OSError.
    """
    clear_left(place.parent)
    path, descriptor = _new_folder(place)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def clear_left(folder: Path) -> None:
    """Remove what killed processes of this user left here; what they were about to replace is put back."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (match := _NAME.fullmatch(entry.name)) and not entry.is_symlink():
                with contextlib.suppress(OSError):
                    _clear(Path(entry.path), folder / match[1])


@cache
def _clear_once(folder: Path) -> None:
    """As ``clear_left``, once in a process: files are written in great numbers."""
    clear_left(folder)


def _clear(path: Path, place: Path) -> None:
    """Raises OSError where its process lives, or where it is not ours."""
    lock = path / _LOCK if path.is_dir() else path
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        path.rmdir()  # as empty as it was made; if its process lives, it makes another one
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_uid != os.geteuid():
            return
        if lock is path:
            path.unlink()
            return
        if (path / OLD).exists() and not os.path.lexists(place):
            os.rename(path / OLD, place)
        shutil.rmtree(path)
    finally:
        os.close(descriptor)


def _new_file(place: Path) -> tuple[Path, int]:
    while True:
        path = _new_name(place, place.name[:_LONGEST])
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if _lock(descriptor):
            return path, descriptor
        os.close(descriptor)


def _new_folder(place: Path) -> tuple[Path, int]:
    while True:
        path = _new_name(place, place.name)
        path.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):  # cleared already
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            if _lock(descriptor):
                return path, descriptor
            os.close(descriptor)


def _new_name(place: Path, name: str) -> Path:
    return place.with_name(f".{name}-{secrets.token_hex(4)}.squeezenas-tvm")


def _lock(descriptor: int) -> bool:
    """Lock what was just made; False where another process took it for something left, and cleared it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where nobody clears anything
        return True
    return os.fstat(descriptor).st_nlink > 0
