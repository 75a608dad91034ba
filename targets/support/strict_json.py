"""JSON as it is read and written here: bounded in depth, each key once, numbers finite."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

MOST_DEEP = 64  # lists and objects in each other; ours stay below 12
MOST_INT = 1 << 64

_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


class NotFinite(Exception):
    """A number that is none would have been written. The message says where in the document it stands."""

    exit_code = 1


def parse_json(text: str | bytes | bytearray) -> Any:
    """What JSON text holds; bytes are UTF-8.

    Raises ValueError: no JSON, deeper than ``MOST_DEEP``, a key given twice, a number that is not finite, or
    an integer beyond 64 bits.
    """
    if isinstance(text, bytes | bytearray):
        text = text.decode("utf-8-sig")
    if text.count("[") + text.count("{") > MOST_DEEP and _depth(text) > MOST_DEEP:
        raise ValueError(f"nested more than {MOST_DEEP} deep")
    return _DECODER.decode(text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The text of plain data, in one line where there is no ``indent``. Raises NotFinite."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        found = ", ".join(_not_finite(value))
        raise NotFinite(
            f"not written, since a number in it is none: {found}; this is a fault of the program or of what "
            "it was given: look at the weights and the data, then give the command again"
        ) from None


def _depth(text: str) -> int:
    depth = deepest = 0
    for mark in _BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark.group(), 0)
        deepest = max(deepest, depth)
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no finite number")
    return value


def _integer(text: str) -> int:
    value = int(text) if len(text) <= 21 else MOST_INT
    if abs(value) >= MOST_INT:
        raise ValueError(f"{text[:40]} is beyond 64 bits")
    return value


def _not_finite(value: Any, where: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _not_finite(inner, f"{where}.{name}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where or 'it'} is {value}"


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_number, parse_int=_integer, parse_constant=_number
)
