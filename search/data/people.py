"""People in image files, each a frame of their own: the part of the image around them. No PyTorch."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from search.data.augmentation import PADDING
from search.data.files import opened
from search.data.frames import Data, Size, UInt8
from search.data.key_points import Array, KeyPoints, truth_array
from search.data.window import Span, Window
from search.errors import InvalidData
from targets.support.files import sha256

PERSON_SIZE: Size = (256, 256)  # of a frame, unless a set says otherwise
Point = tuple[float, float, float]  # x, y, and whether it is known

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PersonFrame:
    """A person in an image.

    Attributes:
        set_name: of the data set.
        centre: x and y of what is cut out, pixels of the image; the middle of its first pixel is (0, 0).
        side_px: of the square around the centre that all of must be in the frame.
        points: in the order of the names; x and y in pixels of the image, and 1 where they are known.
        head_px: the head's size, by which distances are told; 0: nobody says.
        size: height and width of the frame, pixels.
    """

    name: str
    set_name: str
    image: Path
    centre: tuple[float, float]
    side_px: float
    points: tuple[Point, ...]
    head_px: float
    size: Size

    def load(self) -> tuple[UInt8, Array]:
        """See `Frame`. What the image does not reach is in mean colour, and points there are missing."""
        with opened(self.image) as found:
            image = found.rgb()
        height, width = image.shape[:2]
        window = self._window((height, width))
        points = np.array(self.points, np.float64)
        known = points[:, 2] > 0
        inside = (points[:, :2] >= -0.5).all(1) & (points[:, :2] <= (width - 0.5, height - 0.5)).all(1)
        if (known & ~inside).any():
            x, y, _ = points[known & ~inside][0]
            _say_outside(self.set_name, f"{self.image}, {x:g}, {y:g} of {width}x{height} pixels")
        points[~inside, 2] = 0
        points[:, :2] = window.points(points[:, :2])
        canvas = np.full((*self.size, 3), PADDING, np.uint8)
        cut = window.cut(Image.fromarray(image), Image.Resampling.BILINEAR)
        canvas[window.rows.filled, window.columns.filled] = np.asarray(cut)
        return canvas, truth_array(points, self.head_px * window.scale, self.size)

    def _window(self, image: Size) -> Window:
        """What is cut out. Raises InvalidData where that is no part of the image."""
        scale = min(self.size) / self.side_px
        rows, columns = (
            _span(centre + 0.5 - side / scale / 2, scale, side, whole)
            for centre, side, whole in zip(self.centre[::-1], self.size, image, strict=True)
        )
        if min(rows.length, columns.length) < 1:
            x, y = self.centre
            raise InvalidData(
                f"{self.image}: {self.name} is at {x:g}, {y:g}, {self.side_px:g} pixels large, and nothing "
                f"of that is in the image of {image[1]}x{image[0]} pixels; mend the place, or leave it out"
            )
        return Window(rows, columns, self.size, scale, flipped=False)

    def digest(self) -> bytes:
        """See `Frame`. Raises InvalidData: the image cannot be read."""
        try:
            own = sha256(self.image)
        except OSError as error:
            raise InvalidData(f"{error.filename}: cannot be read: {error.strerror}") from None
        return repr((own, self.centre, self.side_px, self.points, self.head_px, self.size)).encode()

    def faults(self, size: Size | None, *, decode: bool) -> list[str]:
        """See `Frame`."""
        try:
            if decode:
                self.load()
            else:
                with opened(self.image) as found:
                    self._window(found.size)
        except InvalidData as error:
            return [str(error)]
        return []


def _span(first: float, scale: float, side: int, whole: int) -> Span:
    """The part of a line of ``whole`` pixels that becomes ``side`` ones, from ``first`` on.

    Begins and ends with whole pixels of the frame, so that what is cut out is resized by the scale exactly.
    """
    start = max(0, math.ceil(-first * scale))
    end = min(side, math.floor((whole - first) * scale))
    low, high = (min(max(first + at / scale, 0.0), float(whole)) for at in (start, max(start, end)))
    return Span(low, high, start, max(0, end - start))


def _say_outside(set_name: str, where: str) -> None:
    """Once a data set: what else is so is not told."""
    if set_name not in _said:
        _said.add(set_name)
        log.warning(
            "%s: key points outside of their picture count as missing; the first: %s", set_name, where
        )


_said: set[str] = set()


def people_data(
    name: str,
    folder: Path,
    splits: Mapping[str, Sequence[PersonFrame]],
    points: KeyPoints,
    size: Size = PERSON_SIZE,
) -> Data:
    """A data set of people; splits without any are left out. Raises InvalidData where all are empty."""
    filled = {split: tuple(frames) for split, frames in splits.items() if frames}
    if not filled:
        raise InvalidData(f"{folder}: nobody of {name} has key points")
    return Data(name, (), size, filled, points)
