"""JSON as it is read and written: bounded, each key once, numbers finite."""

import json
import math

import pytest

from targets.support.strict_json import MOST_DEEP, NotFinite, json_text, parse_json


def test_plain_data_comes_back() -> None:
    document = {"a": [1, -2.5, 1e-300, (1 << 64) - 1, None, True, 'text with [ and "quotes"'], "b": {"c": {}}}
    assert parse_json(json_text(document)) == document
    assert parse_json(json_text(document, indent=2).encode()) == document
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]  # a byte order mark


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"a":' * 100_000, "nested more than 64 deep"),
        ("[" * (MOST_DEEP + 1) + "]" * (MOST_DEEP + 1), "nested more than 64 deep"),
        ('{"a": 1, "a": 2}', "the key 'a' is given twice"),
        ("[NaN]", "NaN is no finite number"),
        ("[-Infinity]", "-Infinity is no finite number"),
        ("[1e999]", "1e999 is no finite number"),
        ("[1" + "0" * 30 + "]", "is beyond 64 bits"),
        ("[" + "9" * 10_000 + "]", "is beyond 64 bits"),
        ("", "Expecting value"),
        (b"\xff\xfe", "can't decode"),
    ],
)
def test_other_text_is_a_value_error(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_brackets_in_text_are_not_counted() -> None:
    text = json.dumps(["[" * 1000, '"' + "{" * 1000])
    assert parse_json(text) == json.loads(text)
    assert parse_json("[" * MOST_DEEP + "]" * MOST_DEEP) is not None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_written(value: float) -> None:
    with pytest.raises(NotFinite, match=r"^not written, .*: score\.miou\[1\] is (nan|-?inf)") as caught:
        json_text({"score": {"miou": [1.0, value]}})
    assert caught.value.exit_code == 1
