"""Which maps the blocks of a decoder take, and of what size these are.

The pool holds the encoder's taps, the finest first, and then what each block made. A block's result has the
size of the larger map that it takes: its level, the place of the tap that has that size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from search.spaces.fastdense.cell_odds import sum_of

Odds = Any  # an array of numpy or a tensor of PyTorch, shape (...)


@dataclass(frozen=True)
class Wiring:
    """Of each block the two places in the pool from which it takes. ``taps``: how many of the encoder."""

    taps: int
    blocks: tuple[tuple[int, int], ...]

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Of everything in the pool."""
        found = list(range(self.taps))
        for first, second in self.blocks:
            found.append(min(found[first], found[second]))
        return tuple(found)

    @cached_property
    def taken(self) -> frozenset[int]:
        """Places in the pool that some block takes."""
        return frozenset(place for pair in self.blocks for place in pair)

    @cached_property
    def loose(self) -> tuple[int, ...]:
        """Blocks that no later one takes, by their places in the pool."""
        return tuple(p for p in range(self.taps, self.taps + len(self.blocks)) if p not in self.taken)


@dataclass
class WiringOdds:
    """How probable it is what blocks take.

    Attributes:
        taps: that some block takes each tap.
        needed: that some block takes that tap or a coarser one.
        reads: by block and side: that the map there has each level.
        joins: by block: levels of both maps -> how probable.
        heads: levels of the blocks that no other takes -> how probable.
    """

    taps: list[Odds]
    needed: list[Odds]
    reads: list[tuple[list[Odds], list[Odds]]]
    joins: list[dict[tuple[int, int], Odds]]
    heads: dict[tuple[int, ...], Odds]


def wiring_odds(taps: int, chances: Sequence[tuple[Sequence[Odds], Sequence[Odds]]]) -> WiringOdds:
    """Of blocks whose reads are independent.

    Args:
        taps: how many there are.
        chances: by block and side, how probable each place of the pool is.
    """
    one = sum_of(list(chances[0][0])) * 0 + 1
    rows = [own for pair in chances for own in pair]
    found = WiringOdds(
        [one - _none(one, rows, [tap]) for tap in range(taps)],
        [one - _none(one, rows, range(tap, taps)) for tap in range(taps)],
        *([], [], {}),
    )
    # Levels of the blocks so far, and which of them nobody has taken
    states: dict[tuple[tuple[int, ...], frozenset[int]], Odds] = {((), frozenset()): one}
    for pair in chances:
        joins: dict[tuple[int, int], Odds] = {}
        after: dict[tuple[tuple[int, ...], frozenset[int]], Odds] = {}
        for ((blocks, loose), odds), (first, second) in product(
            states.items(), product(*(range(len(own)) for own in pair))
        ):
            pool = (*range(taps), *blocks)
            own = odds * pair[0][first] * pair[1][second]
            ends = pool[first], pool[second]
            joins[ends] = joins[ends] + own if ends in joins else own
            key = (*blocks, min(ends)), (loose - {first, second}) | {len(pool)}
            after[key] = after[key] + own if key in after else own
        states = after
        found.joins.append(joins)
        found.reads.append((_levels(joins, 0, taps), _levels(joins, 1, taps)))
    for (blocks, loose), odds in states.items():
        last = tuple(blocks[place - taps] for place in sorted(loose))
        found.heads[last] = found.heads[last] + odds if last in found.heads else odds
    return found


def _levels(joins: dict[tuple[int, int], Odds], side: int, taps: int) -> list[Odds]:
    """That the map on a side has each level."""
    return [sum_of([odds for ends, odds in joins.items() if ends[side] == level]) for level in range(taps)]


def _none(one: Odds, rows: Sequence[Sequence[Odds]], places: Sequence[int]) -> Odds:
    """That none of the reads is of these places."""
    found = one
    for row in rows:
        found = found * (one - sum_of([row[place] for place in places]))
    return found
