"""Branches: the ways through the grid that a genotype chooses, and how far two of them are one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from search.spaces.fasterseg.grid import SKIP, Grid

BranchName = Literal["deep", "fine"]
BRANCHES: tuple[BranchName, BranchName] = ("deep", "fine")
"""``deep`` ends at the third scale, ``fine`` at the second or the first."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a branch.

    Attributes:
        layer: where it stands.
        scale: of the map that it reads, as a place in the grid's scales.
        down: whether it goes to the next scale.
        width_in, width_out: of the maps that it reads and makes, in twelfths.
    """

    layer: int
    operation: str
    scale: int
    down: bool
    width_in: int
    width_out: int

    @property
    def scale_out(self) -> int:
        """Of the map that it makes."""
        return self.scale + self.down


Branch = tuple[Cell, ...]


def walk(
    grid: Grid, operations: Mapping[int, str], widths: Mapping[int, int], downs: tuple[int, ...]
) -> Branch:
    """The cells of a branch in order; a ``skip`` that does not go down is none.

    Args:
        operations: by layer; layers that are left out have no cell.
        widths: of the map that leaves each layer, in twelfths; the last cell's is the grid's ratio.
        downs: layers that go to the next scale.
    """
    found: list[Cell] = []
    layers = [layer for layer in sorted(operations) if layer in downs or operations[layer] != SKIP]
    scale, width = 0, grid.ratio
    for layer in layers:
        after = grid.ratio if layer == layers[-1] else widths[layer]
        found.append(Cell(layer, operations[layer], scale, layer in downs, width, after))
        scale, width = found[-1].scale_out, after
    return tuple(found)


def shared_cells(deep: Branch, fine: Branch) -> int:
    """How many leading cells both branches have in common: until they differ or one of them ends."""
    count = 0
    for one, other in zip(deep[:-1], fine[:-1], strict=False):
        if one != other:
            break
        count += 1
    return count


def width_before(grid: Grid, branch: Branch, scale: int) -> int:
    """Of the last map of a branch at a scale, in twelfths."""
    widths = [cell.width_out for cell in branch if cell.scale_out == scale]
    return widths[-1] if widths else grid.ratio
