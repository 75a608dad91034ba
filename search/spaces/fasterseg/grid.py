"""The grid of cells that FasterSeg's networks are paths through: layers by scales, as data."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from search.errors import InvalidArchitecture

SKIP = "skip"
OPERATIONS = (SKIP, "conv", "conv_downup", "conv_2x", "conv_2x_downup")
"""In the order of the authors' logits."""
FULL = 12  # widths are in twelfths of the full channels


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Layers, scales and what can be chosen between them.

    Attributes:
        layers: cells on the way from the stem to the heads.
        scales: how often an image's side is divided there, the finest first; each is half as fine as the one
            before. The cell at (layer i, scale j) is there for i >= j.
        base: channels of a map at full width are base * scale.
        widths: what a map between two cells may have, in twelfths of its full channels, in rising order.
        ratio: the same of the stem, the heads and the last cell of a branch; one of ``widths``.
        operations: what a cell may be, some of ``OPERATIONS``, in their order. Without ``skip`` no cell is
            left out.
    """

    ratio: int
    layers: int = 16
    scales: tuple[int, int, int] = (8, 16, 32)
    base: int = 12
    widths: tuple[int, ...] = (4, 6, 8, 10, 12)
    operations: tuple[str, ...] = OPERATIONS

    def __post_init__(self) -> None:
        faults = []
        if self.ratio not in self.widths:
            faults.append(f"ratio is {self.ratio}, allowed: {', '.join(map(str, self.widths))}")
        if self.layers < 8:
            faults.append(
                f"layers is {self.layers}, allowed: 8 or more, which leave a path to the third scale"
            )
        doubled = all(coarse == 2 * fine for fine, coarse in pairwise(self.scales))
        if not doubled or self.scales[0] < 4 or self.scales[0].bit_count() > 1:
            faults.append(f"scales are {self.scales}, allowed: powers of 2 from 4, each twice the one before")
        if unknown := set(self.operations) - set(OPERATIONS):
            faults.append(f"operations has {', '.join(sorted(unknown))}, allowed: {', '.join(OPERATIONS)}")
        if any(self.base * self.scales[0] * width % (2 * FULL) for width in self.widths):
            faults.append(f"base is {self.base}: half of a width is no whole number of channels")
        if faults:
            raise InvalidArchitecture(f"grid: {'; '.join(faults)}")

    def channels(self, scale: int, width: int) -> int:
        """Of a map. ``scale``: its place in ``scales``; ``width``: in twelfths."""
        return self.base * self.scales[scale] * width // FULL

    @property
    def can_skip(self) -> bool:
        """Whether cells may be left out."""
        return SKIP in self.operations

    @cached_property
    def paths_to_second(self) -> tuple[int, ...]:
        """Layers at which a branch may go from the first scale to the second, and end there."""
        return tuple(range(2, self.layers - 2))

    @cached_property
    def paths_to_third(self) -> tuple[tuple[int, int], ...]:
        """Layers at which a branch may go to the second scale and to the third, in the authors' order."""
        rows = range(self.layers - 4)
        return tuple((first + 1, second + 2) for second in rows for first in range(1, second - 1))

    @cached_property
    def mixed_operations(self) -> tuple[tuple[int, int, bool], ...]:
        """Layer, scale and whether it goes down, of everything that a supernet mixes operations at.

        A cell has two of them, but at the last scale and in the last layer, where nothing goes down.
        """
        cells = ((i, j) for i in range(self.layers) for j in range(3) if i >= j)
        return tuple(
            (i, j, down)
            for i, j in cells
            for down in (False, True)
            if not down or (j < 2 and i < self.layers - 1)
        )

    def scale_name(self, scale: int) -> str:
        """``1/16``."""
        return f"1/{self.scales[scale]}"
