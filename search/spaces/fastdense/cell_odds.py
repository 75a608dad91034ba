"""How probable it is that each part of a cell runs, where all that is chosen in it is independent.

Whether a position is zero depends on what is chosen before it, whether the result needs it on what comes
after it: the two are independent, and each is a recurrence over layers whose states are few. Works for arrays
of numpy and tensors of PyTorch alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from search.spaces.fastdense.cell import FIRST, is_end, left_of
from search.spaces.fastdense.operations import NONE, SKIP

Odds = Any  # an array of numpy or a tensor of PyTorch, shape (...)
_State = tuple[frozenset[int], frozenset[int]]


@dataclass(frozen=True)
class Chances:
    """Of one cell's choices.

    Attributes:
        first: operation -> how probable, on the input.
        layers: of each layer, of both sides: of the positions read, then operation -> how probable.
    """

    first: Mapping[str, Odds]
    layers: Sequence[tuple[tuple[Sequence[Odds], Mapping[str, Odds]], ...]]


def cell_odds(chances: Chances) -> dict[tuple[int, str], Odds]:
    """(Position, operation) -> how often that runs; operations as the parts of ``Cell.place`` have them.

    Sums of the ends have the positions behind all others, in their order.
    """
    one = sum_of(list(chances.first.values())) * 0 + 1
    needed, loose = _needed(chances, one)
    found: dict[tuple[int, str], Odds] = {}
    _add_operations(found, FIRST, chances.first, needed[FIRST])
    none = chances.first.get(NONE, one * 0)
    states: dict[_State, Odds] = {}
    _put(states, (frozenset({0, FIRST}), frozenset({FIRST})), one - none)
    _put(states, (frozenset({0}), frozenset()), none)
    for index, sides in enumerate(chances.layers):
        left, total = left_of(index), left_of(index) + 2
        odds = _layer(states, sides, one)
        for side, (_, operations) in enumerate(sides):
            _add_operations(found, left + side, operations, odds.reads[side] * needed[left + side])
        skips = [operations.get(SKIP, one * 0) for _, operations in sides]
        found[total, "sum"] = odds.both * needed[total]
        found[left + 1, SKIP] = odds.both_reads * skips[0] * skips[1] * needed[total]
        alone = odds.alone[0] * skips[0] + odds.alone[1] * skips[1]
        found[total, SKIP] = alone * loose[total]
        states = _after(states, sides, left, one)
    for count in range(2, len(chances.layers) + 2):
        own = [odds for (_, ends), odds in states.items() if len(ends) >= count]
        found[left_of(len(chances.layers)) + count - 2, "sum"] = sum_of(own) if own else one * 0
    return found


def sum_of(values: Sequence[Odds]) -> Odds:
    """In their order, so that all kinds of arrays round alike."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _add_operations(
    found: dict[tuple[int, str], Odds], position: int, operations: Mapping[str, Odds], odds: Odds
) -> None:
    for name, chance in operations.items():
        if name not in (SKIP, NONE):
            found[position, name] = chance * odds


def _put(states: dict[Any, Odds], key: Any, odds: Odds) -> None:
    states[key] = states[key] + odds if key in states else odds


@dataclass
class _LayerOdds:
    """Of a layer's two sides.

    Attributes:
        reads: each reads what is not zero.
        both_reads: both do.
        both: both are not zero.
        alone: each reads what is not zero while the other is zero.
    """

    reads: list[Odds]
    both_reads: Odds
    both: Odds
    alone: list[Odds]


def _layer(states: Mapping[_State, Odds], sides: Sequence[tuple[Any, Any]], one: Odds) -> _LayerOdds:
    odds = _LayerOdds([one * 0, one * 0], one * 0, one * 0, [one * 0, one * 0])
    some = [one - operations.get(NONE, one * 0) for _, operations in sides]
    for (nonzero, _), state in states.items():
        reads = [sum_of([reads[place] for place in sorted(nonzero)]) for reads, _ in sides]
        for side in (0, 1):
            own = state * reads[side]
            odds.reads[side] = odds.reads[side] + own
            odds.alone[side] = odds.alone[side] + own * (one - reads[1 - side] * some[1 - side])
        both = state * reads[0] * reads[1]
        odds.both_reads = odds.both_reads + both
        odds.both = odds.both + both * some[0] * some[1]
    return odds


def _after(
    states: Mapping[_State, Odds], sides: Sequence[tuple[Any, Any]], left: int, one: Odds
) -> dict[_State, Odds]:
    """Positions that are not zero, and ends that are neither zero nor taken, behind a layer."""
    found: dict[_State, Odds] = {}
    for (nonzero, ends), state in states.items():
        outcomes = []
        for reads, operations in sides:
            none = operations.get(NONE, one * 0)
            own: dict[tuple[bool, int], Odds] = {}
            for place, chance in enumerate(reads):
                taken = place if place in ends else -1
                alive = place in nonzero
                _put(own, (False, taken), chance * none if alive else chance)
                if alive:
                    _put(own, (True, taken), chance * (one - none))
            outcomes.append(own)
        for (one_key, one_odds), (other_key, other_odds) in product(*(own.items() for own in outcomes)):
            made = {left + side for side, key in enumerate((one_key, other_key)) if key[0]}
            made |= {left + 2} if made else set()
            kept = (ends - {one_key[1], other_key[1]}) | (made & {left + 2})
            _put(found, (nonzero | made, kept), state * one_odds * other_odds)
    return found


def _needed(chances: Chances, one: Odds) -> tuple[dict[int, Odds], dict[int, Odds]]:
    """Position -> how often the result needs it if it is not zero; sum -> how often no layer takes it."""
    needed: dict[int, Odds] = {}
    loose: dict[int, Odds] = {}
    states: dict[_State, Odds] = {(frozenset(), frozenset()): one}  # ends taken, and read by what is needed
    for index in reversed(range(len(chances.layers))):
        left = left_of(index)
        for position in (left, left + 1, left + 2):
            needed[position] = _sum_where(states, one, [_needs(state, position) for state in states])
        loose[left + 2] = _sum_where(states, one, [left + 2 not in taken for taken, _ in states])
        for side, (reads, operations) in enumerate(chances.layers[index]):
            states = _read(states, reads, operations.get(NONE, one * 0), left + side, one)
        states = _forget(states, left)
    needed[FIRST] = _sum_where(states, one, [_needs(state, FIRST) for state in states])
    return needed, loose


def _needs(state: _State, position: int) -> bool:
    """Whether the result needs a position that is not zero: it is an end, or read by what is needed."""
    taken, read = state
    if position in read:
        return True
    if is_end(position):
        return position not in taken
    return _needs(state, left_of((position - 2) // 3) + 2)  # the sum that it is part of


def _sum_where(states: Mapping[_State, Odds], one: Odds, holds: Sequence[bool]) -> Odds:
    return sum_of(
        [one * 0, *(odds for odds, it_holds in zip(states.values(), holds, strict=True) if it_holds)]
    )


def _read(
    states: Mapping[_State, Odds],
    reads: Sequence[Odds],
    none: Odds,
    reader: int,
    one: Odds,
) -> dict[_State, Odds]:
    """With the position that a reader takes."""
    found: dict[_State, Odds] = {}
    for state, odds in states.items():
        taken, read = state
        for place, chance in enumerate(reads):
            also = taken | {place} if is_end(place) else taken
            if _needs(state, reader):
                _put(found, (also, read), odds * chance * none)
                _put(found, (also, read | {place}), odds * chance * (one - none))
            else:
                _put(found, (also, read), odds * chance)
    return found


def _forget(states: Mapping[_State, Odds], before: int) -> dict[_State, Odds]:
    """Of positions before that one alone."""
    found: dict[_State, Odds] = {}
    for (taken, read), odds in states.items():
        kept = [frozenset(position for position in own if 0 < position < before) for own in (taken, read)]
        _put(found, (kept[0], kept[1]), odds)
    return found
