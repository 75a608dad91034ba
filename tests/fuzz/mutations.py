"""Sound documents and bytes with something wrong in them, as Hypothesis draws them."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from targets.support.text import one_line

ODD = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            False,
            "",
            "x" * 300,
            "\0",
            "a\nb",
            "\x1b[2J",
            "\ud800",
            "nan",
            "1e-3",
            "2020-13-45",
            "../x",
        ]
    ),
    st.sampled_from(
        [0, -1, 1, 255, 256, 1 << 31, 1 << 63, 1 << 70, 1.5, -0.0, 1e308, float("nan"), float("inf")]
    ),
    st.sampled_from([[], {}, [[]], {"": None}, [0] * 300, {"a": {"b": {"c": []}}}]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
)


def fuzz(examples: int) -> Callable[[Any], Any]:
    """The same examples in every run; none is too slow or too large."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def is_one_line(error: Exception, where: object) -> None:
    """An error as a user may see it: it says where, and leaves as one line."""
    assert str(where) in str(error)
    assert "\n" not in one_line(str(error))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in plain data, with each of its keys or indices."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


@st.composite
def documents(draw: st.DrawFn, sound: Any) -> Any:
    """Plain data like ``sound``, but for one to three values that are gone, doubled, moved or odd."""
    document = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            return draw(ODD)
        container, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["odd", "odd", "gone", "new", "moved"])):
            case "odd":
                container[key] = copy.deepcopy(draw(ODD))
            case "gone":
                del container[key]
            case "new" if isinstance(container, dict):
                container[draw(st.text(max_size=8))] = copy.deepcopy(draw(ODD))
            case "new":
                container.insert(key, copy.deepcopy(draw(ODD)))
            case "moved":
                other, place = draw(st.sampled_from(places))
                container[key] = copy.deepcopy(other[place]) if place in _keys(other) else None
    return document


def _keys(container: Any) -> Any:
    return container if isinstance(container, dict) else range(len(container))


@st.composite
def bytes_like(draw: st.DrawFn, sound: bytes) -> bytes:
    """Bytes like ``sound``, with slices that are gone, doubled, or others."""
    content = sound
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.sampled_from([0, 1, 1, 2, 8, 100, 10_000])))
        piece = draw(st.one_of(st.just(b""), st.binary(max_size=8), st.just(content[begin:end] * 2)))
        content = content[:begin] + piece + content[end:]
    return content


def json_like(sound: Any) -> st.SearchStrategy[bytes]:
    """JSON, mostly, of a document that is almost ``sound``."""
    text = json.dumps(sound).encode()
    spelled = documents(sound).map(lambda document: json.dumps(document).encode())
    return st.one_of(
        spelled, spelled, spelled, bytes_like(text), st.sampled_from([b'{"a":' * 100_000, b"[" * 99])
    )
