"""Words of errors: near misses, and long messages of others in one line."""

import difflib
from collections.abc import Iterable

MAX_ERROR_CHARS = 300


def near_miss(word: object, allowed: Iterable[str]) -> str:
    """``, did you mean X?`` for the closest of the allowed words, else nothing."""
    near = difflib.get_close_matches(str(word), sorted(allowed), n=1)
    return f", did you mean {near[0]}?" if near else ""


def brief(error: BaseException) -> str:
    """One line for people: the kind of error and the last thing that TVM's long message says."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Command line:")]  # the linker's
    said = lines[-1] if lines else "no message"
    return f"{type(error).__name__}: {said}"[:MAX_ERROR_CHARS]
