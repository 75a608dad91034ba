"""What the pixels of depth files mean. No PyTorch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from search.errors import InvalidData

MOST_M = 100_000.0  # beyond it a scale is wrong
_ALLOWED = "allowed: numbers from 0 up, 0 where nobody measured"


@dataclass(frozen=True)
class DepthCode:
    """Gray of 16 bits or more, or floating-point TIFF: steps of so many metres; 0 is no measurement."""

    metres_per_step: float

    def decode(self, picture: Image.Image, path: Path) -> npt.NDArray[np.float32]:
        """Metres, (H, W), as they are stored.

        Raises:
            InvalidData: naming ``path``: colours or 8 bits, which tell no distance; numbers below 0, not
                finite or too large.
        """
        picture.load()
        if not (picture.mode.startswith("I") or picture.mode == "F"):
            raise InvalidData(
                f"{path}: pixels of mode {picture.mode}, which are colours or of 8 bits; depth is gray of 16 "
                "bits (PNG), or floating-point (TIFF): write it so, with its metres_per_step"
            )
        steps: npt.NDArray[Any] = np.asarray(picture).astype(np.float64)
        wrong = steps[~np.isfinite(steps) | (steps < 0)]
        if wrong.size:
            raise InvalidData(f"{path}: depth {wrong[0]:g} in {_pixels(wrong.size)}; {_ALLOWED}")
        metres = steps * self.metres_per_step
        if metres.max() > MOST_M:
            raise InvalidData(
                f"{path}: a depth of {metres.max():.3g} m; allowed: up to {MOST_M:,.0f} m: is it "
                f"{self.metres_per_step:g} m a step?"
            )
        return metres.astype(np.float32)


def _pixels(count: int) -> str:
    return f"{count} pixel{'s' * (count > 1)}"
