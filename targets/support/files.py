"""Files that are there whole or not at all, and what is known of them."""

import contextlib
import hashlib
import os
from datetime import datetime, timezone
from pathlib import Path

_CHUNK_BYTES = 1 << 20


class FailedWrite(Exception):
    """A file that could not be written. The message says what it was to hold, why, and what to do."""

    exit_code = 1


def write_whole(path: Path, content: str | bytes, what: str) -> None:
    """Write a file and its folder so that, whatever happens, the old or the new content is there, whole.

    The content is on the disk before it takes the old one's place, and so is the place before this returns.

    Args:
        what: names the content in an error, such as ``the table of latencies``.

    Raises FailedWrite when there is no room, or the place cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise FailedWrite(
            f"{path}: {what} cannot be written ({error.strerror}); "
            "make room there, or name another place, and give the same command again"
        ) from error


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def now_utc() -> str:
    """ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems know no fsync of folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
