"""The expected latency of a grid, to which three branches come: what FasterSeg's search pays for.

It is no network's: every scale has a branch of its own, cells that branches share count for each, the stem is
in all three and the heads are in none. ``SpaceCosts`` tells what networks cost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from cost_models.cost_model import CostModel
from search.costs.kernel_table import priced_kernels
from search.resolution import Resolution
from search.spaces.fasterseg.grid import OPERATIONS, Grid
from search.spaces.fasterseg.logits import Logits, softmax
from search.spaces.fasterseg.space import FastersegSpace

Kind = Literal["operation", "path", "width"]
KINDS: tuple[Kind, ...] = ("operation", "path", "width")
Array = Any  # of numpy, or a tensor of PyTorch
Odds = Any  # a number of either


@dataclass(frozen=True)
class Chances:
    """Probabilities, as ``Logits`` have logits: of operations, of coming from the finer scale, of widths."""

    alpha: Sequence[Array]
    beta: Sequence[Array]
    ratio: Sequence[Array]

    @classmethod
    def uniform(cls, grid: Grid) -> "Chances":
        """All options alike."""
        return cls.of(Logits.uniform(grid))

    @classmethod
    def of(cls, logits: Logits) -> "Chances":
        """Of logits."""
        return cls(*([softmax(own) for own in part] for part in (logits.alpha, logits.beta, logits.ratio)))

    def on(self, device: torch.device | None = None) -> "Chances":
        """The same as tensors: float32, there."""
        return Chances(
            *(
                [torch.tensor(own, dtype=torch.float32, device=device) for own in part]
                for part in (self.alpha, self.beta, self.ratio)
            )
        )

    def with_operation(self, name: str) -> "Chances":
        """All cells alike."""
        one = np.array([float(name == own) for own in OPERATIONS])
        return replace(self, alpha=[np.tile(one, (len(own), 1)) for own in self.alpha])

    def with_width(self, grid: Grid, width: int) -> "Chances":
        """All maps of one width, in twelfths, as far as it is chosen."""
        one = np.array([float(width == own) for own in grid.widths])
        return replace(self, ratio=[np.tile(one, (len(own), 1)) for own in self.ratio])


@dataclass(frozen=True)
class GridLatency:
    """Prices of what a supernet mixes.

    Attributes:
        stem_s: seconds of the stem.
        cells_s: (scale, whether it goes down) -> seconds, (operations, widths before, widths behind).
        fixed: the width of the maps that enter the first layer and leave the last, as probabilities.
    """

    grid: Grid
    stem_s: float
    cells_s: Mapping[tuple[int, bool], Array]
    fixed: Array

    @classmethod
    def of(cls, model: CostModel, space: FastersegSpace, resolution: Resolution) -> "GridLatency":
        """Ask a target's cost model once. A cell that is left out costs nothing, unless others timed it.

        Raises:
            MissingEntry, CostModelError: it does not know one of the cells.
        """
        grid = space.grid
        places = [(scale, down) for scale in range(3) for down in (False, True) if scale + down < 3]
        skips = len(grid.widths) ** 2  # come first of ``mixed_parts``
        calls = priced_kernels(model, [space.stem_part(resolution)])
        for scale, down in places:
            parts = list(space.mixed_parts(resolution, scale, down=down))
            left_out = 0 if down or model.published else skips
            calls += [[] for _ in parts[:left_out]] + priced_kernels(model, parts[left_out:])
        stem_s, *seconds = (median_s for median_s, _, _ in model.pieces(calls))
        shape = (len(places), len(OPERATIONS), len(grid.widths), len(grid.widths))
        prices = np.array(seconds).reshape(shape)
        fixed = np.array([float(width == grid.ratio) for width in grid.widths])
        return cls(grid, stem_s, dict(zip(places, prices, strict=True)), fixed)

    def on(self, device: torch.device | None = None) -> "GridLatency":
        """The same for tensors: float32, there."""
        prices = {
            place: torch.tensor(own, dtype=torch.float32, device=device)
            for place, own in self.cells_s.items()
        }
        fixed = torch.tensor(self.fixed, dtype=torch.float32, device=device)
        return replace(self, cells_s=prices, fixed=fixed)

    def sensitivity_s(self) -> dict[Kind, float]:
        """How far a kind of decision alone moves what is paid for: other decisions all alike, maps of full
        width."""
        grid = self.grid
        alike = Chances.uniform(grid)
        widest = alike.with_width(grid, grid.widths[-1])
        spread: dict[Kind, list[float]] = {
            "operation": [sum(self.expected(widest.with_operation(name))) for name in grid.operations],
            "path": [sum(self.expected(widest, pick)) for pick in (min, max)],
            "width": [sum(self.expected(alike.with_width(grid, width))) for width in grid.widths],
        }
        return {kind: max(found) - min(found) for kind, found in spread.items()}

    def expected(
        self, chances: Chances, pick: Callable[[Odds, Odds], Odds] | None = None
    ) -> tuple[Odds, Odds, Odds]:
        """Seconds of the branch to each scale; what a search pays for is their sum.

        Args:
            pick: of the times to a map by the finer scale and by its own; by their probabilities when None.
        """
        layers = self.grid.layers
        entering: dict[int, Odds] = {0: self.stem_s}
        for layer in range(layers):
            cells = {scale: self._cell(chances, layer, scale, down=False) for scale in entering}
            kept = {scale: entering[scale] + cell for scale, cell in cells.items()}
            if layer == layers - 1:
                entering = kept
                break
            down = {
                scale + 1: entering[scale] + self._cell(chances, layer, scale, down=True)
                for scale in entering
                if scale < 2
            }
            entering = {
                scale: _mixed(chances, layer + 1, scale, kept.get(scale), down.get(scale), pick)
                for scale in {**kept, **down}
            }
        return entering[0], entering[1], entering[2]

    def _cell(self, chances: Chances, layer: int, scale: int, *, down: bool) -> Odds:
        """Of the mixed operation of a cell, where the widths of its maps have their probabilities."""
        before = self._width(chances, layer, scale)
        behind = self._width(chances, layer + 1, scale + down)
        by_operation = ((self.cells_s[scale, down] * behind).sum(-1) * before).sum(-1)
        return (chances.alpha[scale][layer - scale] * by_operation).sum(-1)

    def _width(self, chances: Chances, layer: int, scale: int) -> Array:
        """Chances of the width of the map that enters a layer; the first and the last are not chosen."""
        if layer in (0, self.grid.layers):
            return self.fixed
        return chances.ratio[scale][layer - 1 - (scale == 2)]


def _mixed(
    chances: Chances,
    layer: int,
    scale: int,
    kept: Odds | None,
    down: Odds | None,
    pick: Callable[[Odds, Odds], Odds] | None,
) -> Odds:
    """What it takes to the map that enters a layer, from the same scale and from the finer one."""
    if kept is None or down is None:
        return down if kept is None else kept
    if pick is not None:
        return pick(down, kept)
    finer, same = (chances.beta[scale - 1][layer - scale - 1, column] for column in (0, 1))
    return finer * down + same * kept
