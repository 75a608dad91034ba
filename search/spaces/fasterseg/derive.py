"""From the logits at the end of a search to the networks that they mean."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from search.errors import InvalidArchitecture
from search.spaces.fasterseg.branches import Branch, shared_cells, walk
from search.spaces.fasterseg.grid import OPERATIONS, SKIP, Grid
from search.spaces.fasterseg.logits import Logits, softmax
from search.spaces.fasterseg.space import FastersegSpace

PathRule = Literal["intended", "released"]
"""How the path to the second scale is read: ``released`` takes a row for the layer, as the authors' code does
by mistake, and so goes down a layer too early. The released networks were made so."""
_SLOW_MS, _STEEPNESS = 8.3, 0.07  # of the score by which a pair of branches is chosen


def derive(
    space: FastersegSpace, logits: Logits, fine_scale: Literal[0, 1], rule: PathRule = "intended"
) -> dict[str, str]:
    """The genotype of the branch to the third scale together with that to ``fine_scale``.

    Raises InvalidArchitecture: the logits are of another grid, or no path of the space is theirs.
    """
    deep, fine = (branch(space.grid, logits, scale, rule) for scale in (2, fine_scale))
    return space.genotype(*aligned(deep, fine))


def score(accuracy: float, latency_s: float) -> float:
    """By which the better of two pairs of branches is chosen; ``accuracy``: mIoU, 0 to 1."""
    return float(accuracy * (latency_s * 1e3 / _SLOW_MS) ** -_STEEPNESS)


def branch(grid: Grid, logits: Logits, scale: int, rule: PathRule = "intended") -> Branch:
    """The cells of the branch that ends at a scale: widths and operations that are most probable.

    Raises InvalidArchitecture: the logits are of another grid, or its path is none of the grid's.
    """
    logits.check(grid)
    downs = _downs(grid, logits, scale, rule)
    scales = [sum(down < layer for down in downs) for layer in range(grid.layers)]
    best = [_Best.of(logits, layer, scale, layer in downs) for layer, scale in enumerate(scales)]
    gone = _removed(grid, best, downs, scale) if grid.can_skip else set()
    after = [scale + (layer in downs) for layer, scale in enumerate(scales)]
    widths = {
        layer: grid.widths[int(logits.width(layer + 1, after[layer]).argmax())]
        for layer in range(grid.layers - 1)
    }
    operations = {layer: own.operation for layer, own in enumerate(best) if layer not in gone}
    return walk(grid, operations, widths, downs)


def aligned(deep: Branch, fine: Branch) -> tuple[Branch, Branch]:
    """The same branches, such that what they share stands in the same layers, the earlier of both.

    Cells are compared by their place in the branch, whatever layer of the grid they were in.
    """
    bare = [tuple(replace(cell, layer=place) for place, cell in enumerate(own)) for own in (deep, fine)]
    count = shared_cells(*bare)
    layers = [min(one.layer, other.layer) for one, other in zip(deep, fine, strict=False)][:count]
    return _moved(deep, layers), _moved(fine, layers)


def _moved(cells: Branch, layers: Sequence[int]) -> Branch:
    """With the first cells in these layers."""
    first = [replace(cell, layer=layer) for cell, layer in zip(cells, layers, strict=False)]
    return (*first, *cells[len(layers) :])


def _downs(grid: Grid, logits: Logits, scale: int, rule: PathRule) -> tuple[int, ...]:
    """Layers at which the branch goes to the next scale."""
    if scale == 0:
        return ()
    second = logits.down(1)
    if scale == 2:
        third = logits.down(2)
        paths = grid.paths_to_third
        return paths[int(np.argmax([second[first - 1] * third[last - 2] for first, last in paths]))]
    rows = [layer - 1 for layer in grid.paths_to_second]
    row = rows[int(np.argmax(second[rows]))]
    layer = row + 1 if rule == "intended" else row
    if layer not in grid.paths_to_second:
        raise InvalidArchitecture(
            f"the released rule goes down at layer {layer}; allowed: {grid.paths_to_second[0]} to "
            f"{grid.paths_to_second[-1]}: use the intended one"
        )
    return (layer,)


@dataclass(frozen=True)
class _Best:
    """The cell of a layer.

    Attributes:
        operation: the best that is not a skip.
        skip: how probable that is.
        removable: skip is best, and the cell does not go down.
    """

    operation: str
    skip: float
    removable: bool

    @classmethod
    def of(cls, logits: Logits, layer: int, scale: int, down: bool) -> "_Best":
        own, skip = logits.operations(layer, scale), OPERATIONS.index(SKIP)
        others = np.where(np.arange(len(own)) == skip, -np.inf, own)
        removable = not down and int(own.argmax()) == skip
        return cls(OPERATIONS[int(others.argmax())], float(softmax(own)[skip]), removable)


def _removed(grid: Grid, best: Sequence[_Best], downs: Sequence[int], scale: int) -> set[int]:
    """Layers whose cell is left out, the most skip-like first, while enough of the others stay."""
    kept = _kept_between(best, downs)
    candidates = [layer for layer, own in enumerate(best) if own.removable and layer not in kept]
    candidates.sort(key=lambda layer: -best[layer].skip)
    most = grid.layers - len(kept) - (round(grid.layers / 3) + 2 * scale)
    return set(candidates[: max(most, 0)])


def _kept_between(best: Sequence[_Best], downs: Sequence[int]) -> set[int]:
    """Between two steps down, and behind the last, the least skip-like where all would be left out."""
    kept = set()
    for start, end in pairwise([*downs, len(best)]):
        layers = range(start + 1, end)
        if layers and all(best[layer].removable for layer in layers):
            kept.add(min(layers, key=lambda layer: best[layer].skip))
    return kept
