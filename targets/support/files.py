"""Files that are there whole or not at all, that take no other's place, and what is known of them."""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from targets.support.partial import partial_file

_CHUNK_BYTES = 1 << 20
_NAMED = 5  # of the files in the way


class FailedWrite(Exception):
    """A file that could not be written. The message says what it was to hold, why, and what to do."""

    exit_code = 1


class InTheWay(Exception):
    """Files that would be overwritten, and that are not this program's. The message names them."""

    exit_code = 2


def write_whole(path: Path, content: str | bytes, what: str) -> None:
    """Write a file and its folder so that, whatever happens, the old or the new content is there, whole.

    Args:
        what: names the content in an error, such as ``the table of latencies``.

    Raises FailedWrite when there is no room, or the place cannot be written.
    """
    try:
        put_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise FailedWrite(
            f"{path}: {what} cannot be written ({error.strerror}); "
            "make room there, or name another place, and give the same command again"
        ) from error


def put_whole(path: Path, *parts: bytes) -> None:
    """As ``write_whole``: raises OSError, for callers who know more to say.

    The content is on the disk before it takes the old one's place, and so is the place before this returns.
    A link stays one: what it points to is replaced.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_file(path) as (partial, file):
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
        os.replace(partial, path)
    _sync_folder(path.parent)


def refuse_others(paths: Iterable[Path], advice: str) -> None:
    """Refuse to begin where files that are to be written are there already: they are somebody's.

    Args:
        advice: what to do about them.

    Raises InTheWay, which names them.
    """
    found = [str(path) for path in paths if os.path.lexists(path)]
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise InTheWay(
            f"{', '.join(found[:_NAMED])}{more}: there already, and would be overwritten; {advice}"
        )


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
