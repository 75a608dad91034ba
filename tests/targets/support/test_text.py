"""Messages leave as one line of bounded length, whatever is in them."""

import pytest

from targets.support.text import MAX_ERROR_CHARS, brief, near_miss, one_line, printable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nerror: forged", r"a\nerror: forged"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("right\u202eto left", r"right\u202eto left"),
        ("b\udce4r", r"b\udce4r"),
        ("tab\there", r"tab\there"),
        ("Straße 東京", "Straße 東京"),
    ],
)
def test_control_characters_are_spelled(text: str, line: str) -> None:
    assert one_line(text) == line


def test_tables_keep_their_lines() -> None:
    assert printable("a\tb\n\x1b[2Jc", kept="\n\t") == "a\tb\n\\x1b[2Jc"


@pytest.mark.parametrize("character", ["x", "\n", "\udce4"])
def test_of_long_lines_the_middle_is_left_out(character: str) -> None:
    line = one_line("error: which file" + character * 3_000_000 + "; what to do next")
    assert len(line) == MAX_ERROR_CHARS
    assert line.startswith("error: which file")
    assert line.endswith("; what to do next")


def test_a_near_miss_of_a_page_is_not_searched_for() -> None:
    assert near_miss("x" * 1_000_000, ["alpha", "beta"]) == ""
    assert len(brief(ValueError("x" * 1_000_000))) <= MAX_ERROR_CHARS
