"""Words of errors: near misses, and long messages of others in one line."""

import difflib
import re
from collections.abc import Iterable

MAX_ERROR_CHARS = 300
_END_CHARS = 90  # of a line that is cut: what to do next stands there

# What moves a cursor, begins a line, turns the direction of writing or is half of a character.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, kept: str = "") -> str:
    """Text with its control characters written as ``\\n`` and ``\\x1b``, but for those in ``kept``."""
    return _CONTROLS.sub(lambda m: m[0] if m[0] in kept else ascii(m[0])[1:-1], text)


def one_line(text: str, most_chars: int = MAX_ERROR_CHARS) -> str:
    """What leaves for people's eyes: one line, no longer than that; of longer ones the middle is left out."""
    text = text.strip()
    if len(text) > 8 * most_chars:  # most of it is cut anyway
        text = text[: 4 * most_chars] + text[-4 * most_chars :]
    line = printable(text)
    if len(line) <= most_chars:
        return line
    return f"{line[: most_chars - _END_CHARS - 5]} ... {line[-_END_CHARS:]}"


def near_miss(word: object, allowed: Iterable[str]) -> str:
    """``, did you mean X?`` for the closest of the allowed words, else nothing."""
    near = difflib.get_close_matches(str(word)[:80], sorted(allowed), n=1)
    return f", did you mean {near[0]}?" if near else ""


def brief(error: BaseException) -> str:
    """One line for people: the kind of error and the last thing that TVM's long message says."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Command line:")]  # the linker's
    said = lines[-1] if lines else "no message"
    return one_line(f"{type(error).__name__}: {said}")
