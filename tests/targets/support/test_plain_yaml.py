"""YAML as plain data: what people write is understood, bombs and oddities are refused with their line."""

from typing import Any

import pytest

from targets.support.plain_yaml import MOST_DEEP, dump_yaml, load_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        ("1.e3", 1000.0),
        (".5", 0.5),
        ("1_000", 1000),
        ("0x10", 16),
        ("1:30", "1:30"),
        ("e3", "e3"),
        ("1e", "1e"),
        ("'1e-3'", "1e-3"),
        ("yes", True),
    ],
)
def test_numbers_as_people_write_them(text: str, value: object) -> None:
    found = load_yaml(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "value", ["1e-3", "1E5", "12", ".5", "1:30", "yes", "0x1", "a: b", 1e-5, 0.5, 3, None]
)
def test_what_is_written_comes_back(value: Any) -> None:
    assert load_yaml(dump_yaml({"a": value})) == {"a": value}


def test_aliases_stand_for_what_they_name() -> None:
    assert load_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}") == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": {"b": 1, "e": 2},
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "line 5: more than 20000 values, with what aliases stand for"),
        ("a: &x [*x]", "line 1: an alias in what it stands for"),
        ("a: " + "[" * 20_000, f"line 1: nested more than {MOST_DEEP} deep"),
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' is given twice"),
        ("a: 2020-13-45", "line 1: '2020-13-45' is no timestamp"),
        ("a: 0x_", "line 1: '0x_' is no int"),
        ("a: !!int abc", "line 1: 'abc' is no int"),
        ("a: !!timestamp foo", "line 1: 'foo' is no timestamp"),
        ("a: !!bool maybe", "line 1: 'maybe' is no bool"),
        ("a: " + "9" * 6000, "line 1: a number of 6000 characters"),
        ("a: 0x" + "f" * 20_000, "line 1: a number of 20002 characters"),
        ("!!map [1]", "line 1: expected a mapping node"),
        ("a: !!python/object/apply:os.getpid []", "could not determine a constructor"),
        ("a: \x01", "special characters are not allowed"),
    ],
)
def test_others_are_value_errors(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_yaml(text)
