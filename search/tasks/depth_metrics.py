"""How right depth is: sums over pixels, and what is read off them. No PyTorch."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from search.data.truth import NO_DEPTH
from search.tasks.words import WORDS

_FACTOR = 1.25
_NEAR_NOTHING = 1e-9  # metres: 0 is within no factor of anything
_NAMES = tuple(column.name for column in WORDS["depth"].columns)


class DepthErrors:
    """Sums over all pixels that were measured, of all frames: what was measured counts, not what a frame is.

    Attributes:
        sums: (6,) float64: pixels, squared error (m^2), relative error, and how many pixels are within a
            factor of 1.25, of its square and of its cube.
    """

    def __init__(self) -> None:
        self.sums = np.zeros(3 + 3)

    def add(self, truth: npt.ArrayLike, predicted: npt.ArrayLike) -> None:
        """Metres of one shape; pixels whose truth is ``NO_DEPTH`` are left out.

        Raises ValueError for differing shapes.
        """
        true, given = np.asarray(truth), np.asarray(predicted)
        if true.shape != given.shape:
            raise ValueError(f"depths are {true.shape}, predictions {given.shape}: they must be of one shape")
        measured = true > NO_DEPTH
        true, given = true[measured].astype(np.float64), given[measured].astype(np.float64)
        error = np.abs(given - true)
        near = np.maximum(given, _NEAR_NOTHING)
        factor = np.maximum(near / true, true / near)
        within = [(factor < _FACTOR**power).sum() for power in (1, 2, 3)]
        self.sums += [len(true), np.square(error).sum(), (error / true).sum(), *within]

    def scores(self) -> Mapping[str, float | None]:
        """Root mean square, metres, then the mean relative error and shares of pixels, percent; None where no
        pixel was measured (as in Eigen et al., arXiv:1406.2283, section 4.3)."""
        pixels, squared, *others = self.sums.tolist()
        if not pixels:
            return dict.fromkeys(_NAMES)
        found = [(squared / pixels) ** 0.5, *(100 * other / pixels for other in others)]
        return dict(zip(_NAMES, found, strict=True))
