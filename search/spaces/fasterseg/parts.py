"""The cells that a branch may have at a layer: each with the maps between which it can stand."""

from collections.abc import Iterator
from dataclasses import dataclass

from search.spaces.fasterseg.branches import BRANCHES, BranchName, Cell
from search.spaces.fasterseg.grid import SKIP, Grid


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell may stand: a layer of a branch, at a scale, going down or not."""

    branch: BranchName
    layer: int
    scale: int
    down: bool

    @property
    def slot(self) -> str:
        """Of its parts, one at most runs."""
        return f"{self.branch}.{self.layer}"


@dataclass(frozen=True, slots=True)
class CellPart:
    """A cell at a place, and its name among the parts."""

    name: str
    slot: str
    cell: Cell


def places(grid: Grid) -> Iterator[Place]:
    """Those by which some path comes."""
    firsts = sorted({first for first, _ in grid.paths_to_third})
    seconds = sorted({second for _, second in grid.paths_to_third})
    for branch in BRANCHES:
        deep = branch == "deep"
        downs = firsts if deep else list(grid.paths_to_second)
        for layer in range(grid.layers):
            if not deep or layer < downs[-1]:
                yield Place(branch, layer, 0, down=False)
            if layer in downs:
                yield Place(branch, layer, 0, down=True)
            if downs[0] < layer and (not deep or layer < seconds[-1]):
                yield Place(branch, layer, 1, down=False)
            if deep and layer in seconds:
                yield Place(branch, layer, 1, down=True)
            if deep and layer > seconds[0]:
                yield Place(branch, layer, 2, down=False)


def names(grid: Grid, place: Place) -> list[list[list[str]]]:
    """Names of its parts by width of the map before, of that after, and operation.

    An operation's name is empty where no cell stands: a skip that does not go down.
    """
    after = place.scale + place.down
    ends = grid.scale_name(place.scale) + (f">{grid.scale_name(after)}" if place.down else "")
    return [
        [
            [
                ""
                if operation == SKIP and not place.down
                else f"{place.slot}.{operation} {grid.channels(place.scale, before)}>"
                f"{grid.channels(after, behind)} at {ends}"
                for operation in grid.operations
            ]
            for behind in grid.widths
        ]
        for before in grid.widths
    ]


def cell_parts(grid: Grid) -> Iterator[CellPart]:
    """Every cell that any branch may have."""
    for place in places(grid):
        for before, rows in zip(grid.widths, names(grid, place), strict=True):
            for behind, row in zip(grid.widths, rows, strict=True):
                for operation, name in zip(grid.operations, row, strict=True):
                    if name:
                        cell = Cell(place.layer, operation, place.scale, place.down, before, behind)
                        yield CellPart(name, place.slot, cell)
