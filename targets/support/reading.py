"""Files that come from outside, read whole and bounded: a device, a pipe, a giant, no text are refused."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

Refusal = Callable[[str], Exception]

KEPT_BYTES = 1 << 28  # far above any document or table of ours
TEXT_BYTES = 1 << 18  # what people write by hand: 255 classes with colours take a tenth of it


def read_bytes(path: Path, refusal: Refusal, *, what: str = "", most_bytes: int = KEPT_BYTES) -> bytes:
    """The content of a file.

    Args:
        refusal: what is raised where it cannot be read, is no regular file, or is larger than ``most_bytes``.
        what: names the content in errors, such as ``a latency table``.
    """
    try:
        # Without O_NONBLOCK a named pipe that nobody writes to is waited for, for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(0, "no regular file")
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise refusal(f"{path}:{what and f' {what}'} cannot be read ({error.strerror})") from None
    except ValueError as error:  # a zero byte, or half of a character
        raise refusal(f"{path}:{what and f' {what}'} cannot be read ({error})") from None
    if len(content) > most_bytes:
        raise refusal(f"{path}: larger than {most_bytes >> 10} KiB, the most that is read of {what or 'it'}")
    return content


def read_text(path: Path, refusal: Refusal, *, what: str = "", most_bytes: int = KEPT_BYTES) -> str:
    """As ``read_bytes``, of text in UTF-8, with or without a byte order mark."""
    content = read_bytes(path, refusal, what=what, most_bytes=most_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal(f"{path}: damaged, no text in UTF-8 (byte {error.start})") from None
