"""How often each cell runs, where paths, operations and widths are drawn independently.

A branch is a walk from layer to layer: with the probability of its path it stands at a scale; with that of
the skips before it, the map at hand is one of an earlier layer; with that of the skips behind it, a cell is
the last one, whose width is not chosen. Two branches are one while all that was drawn for them is alike: a
walk as well.

Numpy or PyTorch alike: only arithmetic of whole arrays, every sum in a stated order, so that both give the
same bits. ``Odds`` is an array of shape (...); a list of them is by width.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from search.spaces.fasterseg.branches import BRANCHES, BranchName
from search.spaces.fasterseg.grid import SKIP, Grid
from search.spaces.fasterseg.parts import Place, names, places
from search.spaces.space import A

Odds = Any
Widths = list[Odds]
_START = -1  # of the stretch at the first scale; of others, the layer that goes down to it
_places, _names = cache(lambda grid: tuple(places(grid))), cache(names)


def marginals(grid: Grid, probabilities: Mapping[str, A]) -> dict[str, A]:
    """Name of a cell's part -> how often it runs; a cell of both branches is the deep one's."""
    deep, fine = (_Walk.of(grid, branch, probabilities) for branch in BRANCHES)
    alike = _alike(deep, fine)
    found: dict[str, A] = {}
    for place in _places(grid):
        pairs, operations = (deep if place.branch == "deep" else fine).cells(place)
        both = _shared(deep, fine, alike, place) if place.branch == "fine" else None
        for before, rows in enumerate(_names(grid, place)):
            for behind, row in enumerate(rows):
                values = pairs[before][behind][..., None] * operations
                if both is not None:
                    values = values - both[0][before][behind][..., None] * both[1]
                found |= {name: values[..., k] for k, name in enumerate(row) if name}
    return found


def taps(grid: Grid, probabilities: Mapping[str, A]) -> Iterator[list[A]]:
    """How often the last map of a branch at a scale has each width: deep at the second and at the first, fine
    at the first where that branch goes on."""
    walks = {branch: _Walk.of(grid, branch, probabilities) for branch in BRANCHES}
    ends: tuple[tuple[BranchName, int], ...] = (("deep", 1), ("deep", 0), ("fine", 0))
    for branch, scale in ends:
        downs = [p for p in _places(grid) if (p.branch, p.scale, p.down) == (branch, scale, True)]
        yield _added(_added(walks[branch].entering(place).values()) for place in downs)


@dataclass(frozen=True)
class _Walk:
    """What is drawn for a branch, or for both alike.

    Attributes:
        stem: width of what enters the first layer.
        operations: of each layer, (..., operations).
        widths: of the map that leaves each layer; the last cell's is the stem's.
        skips: of each layer, that no cell stands there.
        paths: layers that go down -> probability.
    """

    stem: Widths
    operations: Sequence[Odds]
    widths: Sequence[Widths]
    skips: Sequence[Odds]
    paths: Mapping[tuple[int, ...], Odds]

    @classmethod
    def of(cls, grid: Grid, branch: BranchName, probabilities: Mapping[str, Any]) -> "_Walk":
        """A branch."""
        operations = [probabilities[f"cells.{branch}.{layer}"] for layer in range(grid.layers)]
        one = operations[0][..., 0] * 0 + 1
        stem = [one if width == grid.ratio else one * 0 for width in grid.widths]
        skips = [own[..., grid.operations.index(SKIP)] if grid.can_skip else one * 0 for own in operations]
        chosen = [probabilities.get(f"width.{branch}.{layer}") for layer in range(grid.layers)]
        many = range(len(grid.widths))
        widths = [stem if own is None else [own[..., k] for k in many] for own in chosen]
        pair, odds = probabilities["branches"], probabilities[f"path.{branch}"]
        paths: dict[tuple[int, ...], Odds] = {}
        if branch == "deep":
            paths |= {path: odds[..., place] for place, path in enumerate(grid.paths_to_third)}
        else:
            for place, layer in enumerate(grid.paths_to_second):
                paths[(layer,)] = pair[..., 0] * odds[..., place]
            paths[()] = pair[..., 1]
        return cls(stem, operations, widths, skips, paths)

    @cached_property
    def kept(self) -> list[Odds]:
        """Of each layer, that a cell stands there, if it goes down: whatever it is."""
        return [_total([own[..., k] for k in range(own.shape[-1])]) for own in self.operations]

    @cached_property
    def none_behind(self) -> list[Odds]:
        """Of each layer, that no cell stands behind it, if none of those goes down."""
        found = [self.skips[-1] * 0 + 1]
        for skip in reversed(self.skips[1:]):
            found.insert(0, found[0] * skip)
        return found

    @cached_property
    def maps(self) -> dict[tuple[int, int], Widths]:
        """(start, layer) -> width of the map that enters the layer, in the stretch that begins there."""
        found: dict[tuple[int, int], Widths] = {}
        for start in range(_START, len(self.skips) - 1):
            at_hand = self.stem
            if start != _START:
                reached = _total(found[_START, start]) * self.kept[start]
                at_hand = [reached * width for width in self.widths[start]]
            for layer in range(start + 1, len(self.skips)):
                found[start, layer] = at_hand
                skip = self.skips[layer]
                some = (self.kept[layer] - skip) * _total(at_hand)
                pairs = zip(at_hand, self.widths[layer], strict=True)
                at_hand = [old * skip + some * new for old, new in pairs]
        return found

    def stretches(self, place: Place) -> dict[tuple[int, bool], Odds]:
        """(start, whether it goes down no more behind the place) -> probability of such paths."""
        found: dict[tuple[int, bool], Odds] = {}
        for path, odds in self.paths.items():
            before = [layer for layer in path if layer < place.layer]
            if len(before) == place.scale and (place.layer in path) == place.down:
                key = (before[-1] if before else _START, not path or path[-1] <= place.layer)
                found[key] = found[key] + odds if key in found else odds
        return found

    def entering(self, place: Place) -> dict[bool, Widths]:
        """Whether the branch may end there -> how often it comes by with a map of each width."""
        found: dict[bool, Widths] = {}
        for (start, ends), odds in self.stretches(place).items():
            own = [odds * width for width in self.maps[start, place.layer]]
            found[ends] = _added([found[ends], own]) if ends in found else own
        return found

    def cells(self, place: Place) -> tuple[list[Widths], Odds]:
        """How often by width before and behind, to be multiplied with that of the operations."""
        chosen, last = self.widths[place.layer], self.none_behind[place.layer]
        ends = [new * (1 - last) + old * last for new, old in zip(chosen, self.stem, strict=True)]
        tables = [
            [[before * behind for behind in (ends if may_end else chosen)] for before in entering]
            for may_end, entering in self.entering(place).items()
        ]
        pairs = tables[0]
        for table in tables[1:]:
            pairs = [_added(rows) for rows in zip(pairs, table, strict=True)]
        return pairs, self.operations[place.layer]


def _alike(deep: _Walk, fine: _Walk) -> _Walk:
    """The walk of two branches for which all was drawn alike, whatever the paths."""
    layers = range(len(deep.skips))
    return _Walk(
        deep.stem,
        [deep.operations[i] * fine.operations[i] for i in layers],
        [[a * b for a, b in zip(deep.widths[i], fine.widths[i], strict=True)] for i in layers],
        [deep.skips[i] * fine.skips[i] for i in layers],
        {},
    )


def _shared(deep: _Walk, fine: _Walk, walk: _Walk, place: Place) -> tuple[list[Widths], Odds] | None:
    """As ``_Walk.cells``, of cells that both branches have as one; None where there are none."""
    theirs = deep.stretches(place)
    entering = []
    for (start, ends), odds in fine.stretches(place).items():
        if (start, False) in theirs:  # the deep one goes on in any case
            goes_on = 1 - fine.none_behind[place.layer] if ends else 1
            both = odds * theirs[start, False] * goes_on
            entering.append([both * width for width in walk.maps[start, place.layer]])
    if not entering:
        return None
    chosen = walk.widths[place.layer]
    pairs = [[before * behind for behind in chosen] for before in _added(entering)]
    return pairs, walk.operations[place.layer]


def _total(values: Sequence[Odds]) -> Odds:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _added(rows: Iterable[Widths]) -> Widths:
    """Sum of lists, entry by entry."""
    return [_total(values) for values in zip(*rows, strict=True)]
