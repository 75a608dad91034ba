"""The architecture parameters of a search over the grid: of operations, paths and widths."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search.errors import InvalidArchitecture
from search.spaces.fasterseg.grid import OPERATIONS, Grid

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Logits:
    """One network's. Lists are by scale, the finest first.

    Attributes:
        alpha: (layers - j, operations) at scale j: the cell at (i, j) is row i - j, columns ``OPERATIONS``.
        beta: of the second and third scale, (layers - 1 - j, 2): the cell at (i, j) is row i - j - 1; columns
            are from the finer scale and from the same one.
        ratio: (layers - 1, widths), at the third scale a row less: width of the map that enters layer l is
            row l - 1, at the third scale row l - 2.
    """

    alpha: tuple[Array, ...]
    beta: tuple[Array, ...]
    ratio: tuple[Array, ...]

    @staticmethod
    def shapes(grid: Grid) -> dict[str, list[tuple[int, int]]]:
        """Of the arrays of a grid."""
        layers, widths = grid.layers, len(grid.widths)
        return {
            "alpha": [(layers - scale, len(OPERATIONS)) for scale in range(3)],
            "beta": [(layers - 1 - scale, 2) for scale in (1, 2)],
            "ratio": [(layers - 1 - (scale == 2), widths) for scale in range(3)],
        }

    @classmethod
    def uniform(cls, grid: Grid) -> "Logits":
        """All options alike."""
        made = {name: tuple(map(np.zeros, shapes)) for name, shapes in cls.shapes(grid).items()}
        return cls(**made)

    def check(self, grid: Grid) -> "Logits":
        """Themselves. Raises InvalidArchitecture where they are of another grid, or no finite numbers."""
        faults = []
        for name, wanted in self.shapes(grid).items():
            own: tuple[Array, ...] = getattr(self, name)
            found = [values.shape for values in own]
            if found != wanted:
                faults.append(f"{name} has shapes {found}, the grid's are {wanted}")
            elif not all(np.isfinite(values).all() for values in own):
                faults.append(f"{name} has values that are no finite numbers")
        if faults:
            raise InvalidArchitecture(f"logits of another grid: {'; '.join(faults)}")
        return self

    @property
    def count(self) -> int:
        """How many numbers they are."""
        return sum(values.size for own in (self.alpha, self.beta, self.ratio) for values in own)

    def operations(self, layer: int, scale: int) -> Array:
        """Logits of what the cell there is."""
        logits: Array = self.alpha[scale][layer - scale]
        return logits

    def width(self, layer: int, scale: int) -> Array:
        """Logits of how wide the map is that enters a layer, 1 or later."""
        logits: Array = self.ratio[scale][layer - 1 - (scale == 2)]
        return logits

    def down(self, scale: int) -> Array:
        """Of the cells at the second or third scale, by row of beta: how probable the finer scale is."""
        return softmax(self.beta[scale - 1])[:, 0]


def softmax(logits: Array) -> Array:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    chances: Array = powers / powers.sum(axis=-1, keepdims=True)
    return chances
