"""Genotypes as the papers write them, in rows of numbers; and as short forms, a text a row."""

from collections.abc import Mapping, Sequence

from search.errors import InvalidArchitecture
from search.spaces.space import Genotype

_NAMED = 12  # of the options that a number could mean, in errors
_SHOWN = 120  # characters of a short form, in errors


def numbers_of(
    genotype: Genotype, rows: Sequence[Sequence[str]], options: Mapping[str, Sequence[str]]
) -> list[list[int]]:
    """The number of each option among its decision's. ``rows``: names of the decisions."""
    return [[options[name].index(genotype[name]) for name in row] for row in rows]


def genotype_of(
    numbers: Sequence[Sequence[int]],
    rows: Sequence[Sequence[str]],
    options: Mapping[str, Sequence[str]],
    space: str,
) -> dict[str, str]:
    """What such numbers mean.

    Raises InvalidArchitecture where there are more or fewer, or some that there are not, such as those of
    what comes later.
    """
    if [len(row) for row in numbers] != [len(row) for row in rows]:
        raise InvalidArchitecture(f"space {space}: a genotype has rows of {_lengths(rows)} numbers")
    found = {}
    for names, row in zip(rows, numbers, strict=True):
        for name, number in zip(names, row, strict=True):
            allowed = options[name]
            if not 0 <= number < len(allowed):
                raise InvalidArchitecture(
                    f"space {space}: {name} is {number}; "
                    f"allowed: 0 to {len(allowed) - 1} ({', '.join(allowed[:_NAMED])})"
                )
            found[name] = allowed[number]
    return found


def rows_of(texts: Sequence[str], rows: Sequence[Sequence[str]], space: str) -> list[list[int]]:
    """Numbers of a short form. Raises InvalidArchitecture where it has more, fewer or no numbers."""
    found = [text.split() for text in texts]
    fits = [len(row) for row in found] == [len(row) for row in rows]
    if not fits or not all(number.isdecimal() and len(number) < 4 for row in found for number in row):
        raise InvalidArchitecture(
            f"space {space}: blocks are rows of {_lengths(rows)} numbers with blanks between; "
            f"found {', '.join(texts)[:_SHOWN] or 'none'}"
        )
    return [[int(number) for number in row] for row in found]


def _lengths(rows: Sequence[Sequence[str]]) -> str:
    return ", ".join(str(len(row)) for row in rows)
