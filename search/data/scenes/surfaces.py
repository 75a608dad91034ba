"""How far everything in a drawn picture is, told by the flat surfaces that it is drawn of."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Point = tuple[float, float]  # pixels, to the right and down
_NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0)


class Surfaces:
    """Numbers the surfaces as they are drawn, later ones over earlier ones.

    The inverse of depth is linear in pixels on every plane that a pinhole camera sees, so three numbers a
    surface tell the depth of each of its pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self._numbers = Image.new("I", (width, height), 0)
        self._draw = ImageDraw.Draw(self._numbers)
        self._planes = [_NOTHING]  # slopes across and down, inverse depth at 0; its least and most

    def polygon(self, points: Sequence[Point], depths_m: Sequence[float]) -> None:
        """A flat one, by its corners and how far each is."""
        inverse = 1 / np.asarray(depths_m)
        corners = np.column_stack([np.asarray(points), np.ones(len(points))])
        if np.ptp(inverse) == 0:  # it faces the camera
            plane = np.array([0, 0, inverse[0]])
        else:
            plane = np.linalg.lstsq(corners, inverse, rcond=None)[0]
        self._draw.polygon(list(points), self._number(plane, inverse.min(), inverse.max()))

    def ellipse(self, box: tuple[float, float, float, float], depth_m: float) -> None:
        """One that faces the camera, by its left, top, right and bottom."""
        self._draw.ellipse(box, self._number(np.array([0, 0, 1 / depth_m]), 1 / depth_m, 1 / depth_m))

    def nothing(self, points: Sequence[Point]) -> None:
        """Of which nobody says how far it is."""
        self._draw.polygon(list(points), 0)

    def depth_m(self, most_m: float) -> npt.NDArray[np.float32]:
        """Metres along the optical axis of each pixel's middle, (H, W); 0 where nothing is so near."""
        numbers = np.asarray(self._numbers)
        across, down, start, least, most = np.array(self._planes).T[:, numbers]
        rows, columns = np.indices(numbers.shape)
        # Outlines reach half a pixel beyond their corners, where planes seen at a glance run off
        inverse = np.clip(across * (columns + 0.5) + down * (rows + 0.5) + start, least, most)
        near = inverse >= 1 / most_m
        return np.where(near, 1 / np.where(near, inverse, 1), 0).astype(np.float32)

    def _number(self, plane: npt.NDArray[np.float64], least: float, most: float) -> int:
        across, down, start = plane.tolist()
        self._planes.append((across, down, start, float(least), float(most)))
        return len(self._planes) - 1
