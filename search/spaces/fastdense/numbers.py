"""Genotypes as the papers write them: numbers in nested lists, ``[[op, [p1, p2, o1, o2], ...], [[i, j], ...]]``."""

from collections.abc import Sequence

from search.errors import InvalidArchitecture


def rows_of(options: Sequence[str], lengths: Sequence[int], space: str, form: str) -> list[list[int]]:
    """Numbers of a short form: a text a row, numbers between blanks.

    Raises InvalidArchitecture where there are more or fewer of them, or others than numbers.
    """
    rows = [text.split() for text in options]
    if [len(row) for row in rows] != list(lengths) or not all(n.isdecimal() for row in rows for n in row):
        raise InvalidArchitecture(f"space {space}: blocks are {form}; found {', '.join(options)[:120] or 'none'}")
    return [[int(number) for number in row] for row in rows]


def chosen(options: Sequence[str], number: int, where: str) -> str:
    """The option of a number. Raises InvalidArchitecture for numbers that there are not."""
    if not 0 <= number < len(options):
        raise InvalidArchitecture(
            f"{where} is {number}; allowed: 0 to {len(options) - 1} ({', '.join(options[:12])})"
        )
    return options[number]
