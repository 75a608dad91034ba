"""What a crop takes of a frame. No PyTorch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from search.data.plain_images import Size


@dataclass(frozen=True)
class Span:
    """Along one axis: ``low`` to ``high`` of the frame become the crop's ``length`` pixels from ``start``."""

    low: float
    high: float
    start: int
    length: int

    @classmethod
    def of(cls, frame: int, crop: int, scale: float, share: float) -> "Span":
        """``share``, 0 to 1, says where among the places that there are."""
        scaled = max(1, round(frame * scale))
        room = scaled - crop
        first = int(share * (abs(room) + 1))
        if room < 0:
            return cls(0, frame, first, scaled)
        return cls(first * frame / scaled, min((first + crop) * frame / scaled, frame), 0, crop)

    @property
    def filled(self) -> slice:
        """Of the crop."""
        return slice(self.start, self.start + self.length)

    def place(self, at: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Places along the frame as places along the crop; the middle of the first pixel of each is 0."""
        return (at + 0.5 - self.low) * (self.length / (self.high - self.low)) + self.start - 0.5


@dataclass(frozen=True)
class Window:
    """A crop: what it takes of a frame, at which size, and whether all of it is mirrored afterwards.

    Attributes:
        rows, columns: see ``Span``.
        size: height and width of the crop, pixels; what the frame does not reach lies around it.
        scale: by which the frame was resized.
    """

    rows: Span
    columns: Span
    size: Size
    scale: float
    flipped: bool

    def cut(self, picture: Image.Image, resampling: Image.Resampling) -> Image.Image:
        """What it takes of a picture: resized and cropped in one go, so only what is kept is computed."""
        box = (self.columns.low, self.rows.low, self.columns.high, self.rows.high)
        return picture.resize((self.columns.length, self.rows.length), resampling, box)

    def points(self, points: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Points (N, 2) of the frame, x and y in pixels, as points of the crop, inside of it or not."""
        across, down = self.columns.place(points[:, 0]), self.rows.place(points[:, 1])
        return np.stack([self.size[1] - 1 - across if self.flipped else across, down], 1)
