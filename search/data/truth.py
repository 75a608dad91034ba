"""What frames are labelled with: which numbers, for which task, and what a crop makes of them. No PyTorch.

Truth is one array a frame, of one dtype in all frames of a data set.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from search.data.classes import IGNORE
from search.data.window import Window
from search.spaces.camera import OUTPUTS

Array = npt.NDArray[Any]
NO_DEPTH = 0.0
"""Depth of pixels without a measurement, which are not scored."""


class Truth(Protocol):
    """A kind of truth. Frozen: it travels to the processes that load frames.

    Attributes:
        task: which networks learn from it.
        names: what networks for it tell, one an output, where classes do not say so.
        nothing: what is said where nothing of some ``{frames}`` counts.
    """

    @property
    def task(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def nothing(self) -> str: ...

    def counts(self, truth: Array) -> bool:
        """Whether anything of a frame's is scored."""

    def cropped(self, truth: Array, window: Window) -> Array:
        """That of a crop."""


@dataclass(frozen=True)
class ClassIndices:
    """A class index a pixel, (H, W) uint8, or ``IGNORE``."""

    task: str = "segmentation"
    names: tuple[str, ...] = ()
    nothing: str = (
        "not one pixel of {frames} is labelled, all are to be ignored; look at what the label files hold "
        "(docs/data.md)"
    )

    def counts(self, truth: Array) -> bool:
        """See ``Truth``."""
        return bool((truth != IGNORE).any())

    def cropped(self, truth: Array, window: Window) -> Array:
        """Of each pixel that of the nearest; ignored where the frame does not reach."""
        return _nearest(truth, window, IGNORE)


@dataclass(frozen=True)
class Metres:
    """Distance along the optical axis a pixel, (H, W) float32, metres; ``NO_DEPTH`` where nobody measured."""

    task: str = "depth"
    names: tuple[str, ...] = OUTPUTS["depth"]
    nothing: str = (
        "not one pixel of {frames} has a depth, all are 0, which is no measurement; look at what the depth "
        "files hold (docs/data.md)"
    )

    def counts(self, truth: Array) -> bool:
        """See ``Truth``."""
        return bool((truth > NO_DEPTH).any())

    def cropped(self, truth: Array, window: Window) -> Array:
        """Of each pixel that of the nearest, which mixes no edges and no missing measurements.

        What is enlarged looks as much nearer: metres are divided by the scale (arXiv:1406.2283, section 3.3).
        """
        return _nearest(truth, window, NO_DEPTH) / np.float32(window.scale)


CLASS_INDICES, METRES = ClassIndices(), Metres()


def _nearest(truth: Array, window: Window, beyond: float) -> Array:
    """A map of a crop; ``beyond`` where the frame does not reach."""
    found = np.full(window.size, beyond, truth.dtype)
    picture = window.cut(Image.fromarray(truth), Image.Resampling.NEAREST)
    found[window.rows.filled, window.columns.filled] = np.asarray(picture)
    return found[:, ::-1] if window.flipped else found
