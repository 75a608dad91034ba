"""Key points of a person: which there are, how they hang together, and what a crop makes of them. No PyTorch.

Truth is an array (points + 1, 3), float32. A row a point: x and y in pixels of the picture, the middle of
its first pixel being 0, and 1, or 0 where the point is missing. The last row: the head's size, by which
distances are told, and height and width of the picture, all in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search.data.window import Window

Array = npt.NDArray[Any]
Pair = tuple[int, int]


@dataclass(frozen=True)
class KeyPoints:
    """See ``Truth``.

    Attributes:
        names: in the order of a network's outputs.
        skeleton: points that are drawn with a line between them, by their places.
        mirrored: points that change places in a mirror, such as the left and the right hand.
        unscored: points that the score of all leaves out; each has its own.
    """

    names: tuple[str, ...]
    skeleton: tuple[Pair, ...] = ()
    mirrored: tuple[Pair, ...] = ()
    unscored: tuple[int, ...] = ()
    task: str = "pose"
    nothing: str = (
        "not one key point of {frames} is in its picture; look at what the files hold (docs/data.md)"
    )

    def counts(self, truth: Array) -> bool:
        """See ``Truth``."""
        return bool(truth[:-1, 2].any())

    def cropped(self, truth: Array, window: Window) -> Array:
        """Points where they are in the crop, missing where that does not reach; in a mirror left is right."""
        found = truth.copy()
        found[:-1, :2] = window.points(truth[:-1, :2])
        found[-1] = truth[-1, 0] * window.scale, *window.size
        if window.flipped:
            found[:-1] = found[list(self.in_mirror)]
        return without_outside(found)

    @property
    def in_mirror(self) -> tuple[int, ...]:
        """Of each point, the one that a mirror shows in its place."""
        places = list(range(len(self.names)))
        for one, other in self.mirrored:
            places[one], places[other] = other, one
        return tuple(places)


def truth_array(points: Array, head_px: float, size: Sequence[int]) -> Array:
    """Of points (N, 3) in a picture of a height and a width; those outside are missing."""
    last = np.array([[head_px, *size]])
    return without_outside(np.concatenate([points, last]).astype(np.float32))


def without_outside(truth: Array) -> Array:
    """With points that are not in the picture missing, at (0, 0)."""
    (height, width), points = truth[-1, 1:], truth[:-1]
    inside = (points[:, :2] > -0.5).all(1) & (points[:, 0] < width - 0.5) & (points[:, 1] < height - 0.5)
    points[~inside | (points[:, 2] == 0)] = 0
    return truth


def _known(names: str, lines: str, mirrored: str, unscored: str) -> KeyPoints:
    places = {name: place for place, name in enumerate(names.split())}

    def pairs(text: str) -> tuple[Pair, ...]:
        found = (pair.split("-") for pair in text.split())
        return tuple((places[one], places[other]) for one, other in found)

    return KeyPoints(tuple(places), pairs(lines), pairs(mirrored), tuple(places[n] for n in unscored.split()))


KEY_POINTS = {
    # "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014. Its evaluation
    # leaves pelvis and thorax out of the score of all.
    "mpii": _known(
        "r_ankle r_knee r_hip l_hip l_knee l_ankle pelvis thorax upper_neck head_top "
        "r_wrist r_elbow r_shoulder l_shoulder l_elbow l_wrist",
        "r_ankle-r_knee r_knee-r_hip r_hip-pelvis pelvis-l_hip l_hip-l_knee l_knee-l_ankle pelvis-thorax "
        "thorax-upper_neck upper_neck-head_top r_wrist-r_elbow r_elbow-r_shoulder r_shoulder-thorax "
        "thorax-l_shoulder l_shoulder-l_elbow l_elbow-l_wrist",
        "r_ankle-l_ankle r_knee-l_knee r_hip-l_hip r_wrist-l_wrist r_elbow-l_elbow r_shoulder-l_shoulder",
        "pelvis thorax",
    ),
}
"""Lists of key points by name."""


def key_points_list(points: KeyPoints) -> str | None:
    """Name of the known list that these are."""
    return next((name for name, known in KEY_POINTS.items() if known == points), None)
