"""What a picture of a network shows: layers that are few and large, where they stand, and who uses them; or
small graphs that follow each other, with an operation on each edge."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from search.spaces.space import Genotype


@dataclass(frozen=True, slots=True)
class Box:
    """A layer.

    Attributes:
        column, row: its place; layers of one place stand below each other.
        label: what it is, in one or two lines; ``detail``: how wide.
        branches: whose it is, as places in ``Drawing.branches``.
        down: whether its result is of the next row.
    """

    column: int
    row: int
    label: tuple[str, ...]
    detail: str
    branches: tuple[int, ...]
    down: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """A network of branches that begin as one.

    Attributes:
        columns: how many there are, drawn or not.
        rows: names of the rows.
        branches: names of the branches.
        boxes: each once, whoever uses it; those of a branch in its order.
    """

    columns: int
    rows: tuple[str, ...]
    branches: tuple[str, ...]
    boxes: tuple[Box, ...]

    def way(self, branch: int) -> list[Box]:
        """What a branch runs, in order."""
        return [box for box in self.boxes if branch in box.branches]


@dataclass(frozen=True, slots=True)
class Point:
    """A node of a small graph.

    Attributes:
        column, row: its place.
        there: whether it gives something; else it is drawn faint.
    """

    name: str
    column: int
    row: int
    there: bool


@dataclass(frozen=True, slots=True)
class Wire:
    """An edge of a small graph.

    Attributes:
        source, target: places in ``SmallGraph.points``.
        operation: what is on it; empty where nothing is there.
    """

    source: int
    target: int
    operation: str


@dataclass(frozen=True, slots=True)
class SmallGraph:
    """A piece of a network.

    Attributes:
        detail: how wide, at which scale, and what else there is to say.
    """

    name: str
    detail: str
    points: tuple[Point, ...]
    wires: tuple[Wire, ...]


@dataclass(frozen=True, slots=True)
class Graphs:
    """A network of small graphs with the same points and edges, in the order in which they run."""

    graphs: tuple[SmallGraph, ...]


@runtime_checkable
class Drawable(Protocol):
    """A space whose networks have a picture."""

    def drawing(self, genotype: Genotype) -> Drawing | Graphs:
        """Of a network. Raises InvalidArchitecture, UnknownCandidate."""
