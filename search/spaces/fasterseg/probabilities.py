"""How probable each option of a grid's decisions is, as logits have it."""

from collections.abc import Iterator, Mapping

import numpy as np

from search.spaces.fasterseg.branches import BRANCHES
from search.spaces.fasterseg.grid import OPERATIONS, Grid
from search.spaces.fasterseg.logits import Array, Logits, softmax
from search.spaces.fasterseg.space import FastersegSpace

Paths = Mapping[tuple[int, ...], float]
"""Layers that go down -> probability; they add up to one."""


def option_probabilities(space: FastersegSpace, logits: Logits) -> dict[str, Array]:
    """Of each decision, in the space's order: the probability of every option, shape (options,).

    A path is as probable as its steps down together, in proportion to all paths: the largest is the one that
    ``derive`` takes. Logits of operations and widths are those of a layer at a scale; a decision is a layer's
    alone, so it has their mean, weighted by how probable it is that its branch stands at each scale. No logit
    says where the fine branch ends, which accuracy decides: both ends are alike.

    Raises InvalidArchitecture where the logits are of another grid.
    """
    logits.check(space.grid)
    deep, fine = _deep_paths(space.grid, logits), _fine_paths(space.grid, logits)
    found = {"branches": np.full(2, 0.5)}
    found |= {"path.deep": np.array([*deep.values()]), "path.fine": np.array([*fine.values()])}
    either_end: Paths = {(): 0.5, **{path: odds / 2 for path, odds in fine.items()}}
    for branch, paths in zip(BRANCHES, (deep, either_end), strict=True):
        found |= dict(_layers(space.grid, logits, branch, paths))
    return {decision.name: found[decision.name] for decision in space.decisions}


def _deep_paths(grid: Grid, logits: Logits) -> Paths:
    second, third = logits.down(1), logits.down(2)
    return _proportional({p: float(second[p[0] - 1] * third[p[1] - 2]) for p in grid.paths_to_third})


def _fine_paths(grid: Grid, logits: Logits) -> Paths:
    second = logits.down(1)
    return _proportional({(layer,): float(second[layer - 1]) for layer in grid.paths_to_second})


def _proportional(odds: Paths) -> Paths:
    total = sum(odds.values())
    return {path: own / total for path, own in odds.items()}


def _layers(grid: Grid, logits: Logits, branch: str, paths: Paths) -> Iterator[tuple[str, Array]]:
    """What is decided of each layer."""
    columns = [OPERATIONS.index(name) for name in grid.operations]
    for layer in range(grid.layers):
        cells = _mean(
            (odds, logits.operations(layer, scale)[columns]) for scale, odds in _standing(paths, layer)
        )
        yield f"cells.{branch}.{layer}", cells
        if layer < grid.layers - 1:
            behind = _standing(paths, layer + 1)
            yield (
                f"width.{branch}.{layer}",
                _mean((odds, logits.width(layer + 1, scale)) for scale, odds in behind),
            )


def _standing(paths: Paths, layer: int) -> list[tuple[int, float]]:
    """Scales of the map that enters a layer, each with its probability."""
    found: dict[int, float] = {}
    for path, odds in paths.items():
        scale = sum(down < layer for down in path)
        found[scale] = found.get(scale, 0.0) + odds
    return [*found.items()]


def _mean(rows: Iterator[tuple[float, Array]]) -> Array:
    """Of logits, each with its weight."""
    weighted = [odds * softmax(row) for odds, row in rows]
    mean: Array = np.sum(weighted, axis=0)
    return mean
