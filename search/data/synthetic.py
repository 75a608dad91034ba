"""Street-like scenes as a data set, drawn when they are asked for: for those who have no data yet."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search.data.classes import CLASSES, LabelClass
from search.data.frames import Data, Size, UInt8
from search.data.key_points import KEY_POINTS, truth_array
from search.data.scenes.scene import draw_measured_scene, draw_person, draw_scene
from search.data.truth import CLASS_INDICES, METRES, Array, Truth
from search.errors import InvalidData
from search.resolution import Resolution

SEED = 1709  # of all scenes; another one is another data set
DEFAULT_COUNT = 200
DEFAULT_SIZE = (256, 512)
PERSON_SIZE = (256, 256)  # the same where frames are of a person


@dataclass(frozen=True)
class DrawnFrame:
    """The ``index``-th scene of a split."""

    split: str
    place: int
    index: int
    size: Size

    @property
    def name(self) -> str:
        return f"{self.split}_{self.index:05}"

    @property
    def _random(self) -> np.random.Generator:
        return np.random.default_rng([SEED, self.place, self.index])

    def load(self) -> tuple[UInt8, Array]:
        """See `search.data.frames.Frame`."""
        return draw_scene(*self.size, self._random)

    def digest(self) -> bytes:
        """Of its numbers, which it is drawn by."""
        return repr((SEED, self)).encode()

    def faults(self, size: Size | None, *, decode: bool) -> list[str]:
        """None: there is no file."""
        return []


class MeasuredFrame(DrawnFrame):
    """The same scene with the depth of its pixels."""

    def load(self) -> tuple[UInt8, Array]:
        """See `search.data.frames.Frame`."""
        return draw_measured_scene(*self.size, self._random)


class PersonFrame(DrawnFrame):
    """A person in such a scene, with MPII's key points."""

    def load(self) -> tuple[UInt8, Array]:
        """See `search.data.frames.Frame`."""
        image, places, head_px = draw_person(*self.size, self._random)
        points = np.array([(*places[name], 1) for name in KEY_POINTS["mpii"].names])
        return image, truth_array(points, head_px, self.size)


FRAMES: Mapping[str, tuple[type[DrawnFrame], tuple[LabelClass, ...], Truth]] = {
    "segmentation": (DrawnFrame, CLASSES["cityscapes"], CLASS_INDICES),
    "depth": (MeasuredFrame, (), METRES),
    "pose": (PersonFrame, (), KEY_POINTS["mpii"]),
}
"""By task: what is drawn, the classes that it tells apart, and what frames are labelled with."""


def open_synthetic(options: str = "", task: str = "segmentation") -> Data:
    """``COUNT:HxW``, both optional: training frames, a fifth of that for each other split, and their size.

    Classes are those of Cityscapes. Scenes depend on their split and number alone, so that the first frames
    of a larger set are those of a smaller one.

    Args:
        task: one of ``FRAMES``.

    Raises InvalidData, or InvalidResolution.
    """
    kind, classes, truth = FRAMES[task]
    match = re.fullmatch(r"([1-9]\d{0,6})?(?::(.+))?", options)
    if not match:
        raise InvalidData(
            f"data set synthetic:{options}: write synthetic, synthetic:COUNT or synthetic:COUNT:HxW, "
            "for example synthetic:200:256x512"
        )
    count = int(match[1] or DEFAULT_COUNT)
    usual = PERSON_SIZE if kind is PersonFrame else DEFAULT_SIZE
    size: Size = Resolution.parse(match[2]) if match[2] else usual
    counts = {"train": count, "val": -(-count // 5), "test": -(-count // 5)}
    splits = {
        split: tuple(kind(split, place, index, size) for index in range(number))
        for place, (split, number) in enumerate(counts.items())
    }
    return Data("synthetic", classes, size, splits, truth)
