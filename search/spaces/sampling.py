"""Draws random networks of a space, for whoever needs some: the one place where that is done."""

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from search.errors import SearchError
from search.spaces.space import SearchSpace

Names = Sequence[Sequence[str]]  # candidates by position
Choices = npt.NDArray[np.int64]  # (networks, positions): the candidate's number at each
Array = npt.NDArray[np.float64]


def draw(
    candidates: Names, count: int, generator: np.random.Generator, chances: Sequence[Array] | None = None
) -> Choices:
    """Independent random networks; the same may come twice.

    The generator gives one number for each position, network after network: more networks of the same
    generator go on where these end.

    Args:
        candidates: names by position.
        chances: how likely each candidate is, by position: (candidates) or (count, candidates), above 0 in
            sum; all alike when None.
    """
    if chances is None:
        chances = [np.ones(len(names)) for names in candidates]
    uniform = generator.random((count, len(candidates)))
    choices = np.zeros((count, len(candidates)), dtype=np.int64)
    for position, row in enumerate(chances):
        levels = np.cumsum(row, axis=-1)
        levels = levels / levels[..., -1:]
        if levels.ndim == 1:
            choices[:, position] = levels.searchsorted(uniform[:, position], side="right")
        else:
            choices[:, position] = (levels <= uniform[:, [position]]).sum(axis=1)
    return choices


def draw_by_seed(candidates: Names, count: int, seed: int) -> Choices:
    """As ``draw``, all candidates alike, by Python's generator: its numbers are those of version 0.1.

    A profile that goes on finds the networks that it drew then on record, and times none anew.
    """
    chance = random.Random(seed)
    rows = [[chance.randrange(len(names)) for names in candidates] for _ in range(count)]
    return np.array(rows, dtype=np.int64).reshape(count, len(candidates))


def names_of(candidates: Names, choice: Sequence[int] | Choices) -> tuple[str, ...]:
    """The blocks of one network."""
    return tuple(names[index] for names, index in zip(candidates, choice, strict=True))


def candidates_of(space: SearchSpace) -> Names:
    """The options of each decision."""
    return [decision.options for decision in space.decisions]


def genotypes(space: SearchSpace, choices: Choices) -> list[dict[str, str]]:
    """Networks as genotypes, without those that the space has not: decisions may exclude each other."""
    names = [decision.name for decision in space.decisions]
    found = []
    for choice in choices:
        try:
            options = names_of(candidates_of(space), choice)
            found.append(space.check(dict(zip(names, options, strict=True))))
        except SearchError:
            continue
    return found
