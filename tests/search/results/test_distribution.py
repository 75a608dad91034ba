"""The way of a distribution: a line an epoch, read strictly."""

from pathlib import Path

import pytest

from search.errors import InvalidSearch
from search.results.distribution import FILE, EpochChoices, distribution_line, read_distribution

TOLD = [{"a": 0.123456789, "b": 0.876543211}, {"c": 1.0}]


def test_lines_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text("".join(distribution_line(epoch, TOLD) for epoch in (3, 4)))
    rounded = [{"a": 0.12346, "b": 0.87654}, {"c": 1.0}]
    assert read_distribution(path) == [EpochChoices(3, rounded), EpochChoices(4, rounded)]


def test_where_there_is_no_file_nothing_is_told(tmp_path: Path) -> None:
    assert read_distribution(tmp_path / FILE) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"epoch": 1', "line 2: not what a search writes of its choices; the search command with --resume"),
        ('{"epoch": 1, "choices": [{"a": 2.0}, {}]}', "line 2: not what a search writes"),
        ('{"epoch": -1, "choices": [{}, {}]}', "line 2: not what a search writes"),
        ('{"epoch": 1, "choices": [{"a": NaN}, {}]}', "line 2: not what a search writes"),
        ('{"epoch": 1, "choices": [{}]}', "line 2: does not follow the line before"),
        ('{"epoch": 2, "choices": [{}, {}]}', "line 2: does not follow the line before"),
        ("[]", "line 2: not what a search writes"),
    ],
)
def test_what_is_damaged_is_refused(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text(distribution_line(0, TOLD) + line + "\n")
    with pytest.raises(InvalidSearch, match=said):
        read_distribution(path)
