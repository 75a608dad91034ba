"""Classes that labels stand for: names, the data sets' own ids, colours, categories. No PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass

Colour = tuple[int, int, int]

IGNORE = 255  # label of pixels that are not scored
MOST_CLASSES = IGNORE  # labels are bytes, and one of them is taken


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class: ``id`` is the data set's own, ``color`` its usual (red, green, blue).

    Attributes:
        category: the coarser class it belongs to; empty where the data set has none.
    """

    id: int
    name: str
    color: Colour
    category: str = ""


# The place in the tuple is the class index that networks give (Cityscapes calls it trainId).
CLASSES: Mapping[str, tuple[LabelClass, ...]] = {
    "cityscapes": (
        LabelClass(7, "road", (128, 64, 128), "flat"),
        LabelClass(8, "sidewalk", (244, 35, 232), "flat"),
        LabelClass(11, "building", (70, 70, 70), "construction"),
        LabelClass(12, "wall", (102, 102, 156), "construction"),
        LabelClass(13, "fence", (190, 153, 153), "construction"),
        LabelClass(17, "pole", (153, 153, 153), "object"),
        LabelClass(19, "traffic light", (250, 170, 30), "object"),
        LabelClass(20, "traffic sign", (220, 220, 0), "object"),
        LabelClass(21, "vegetation", (107, 142, 35), "nature"),
        LabelClass(22, "terrain", (152, 251, 152), "nature"),
        LabelClass(23, "sky", (70, 130, 180), "sky"),
        LabelClass(24, "person", (220, 20, 60), "human"),
        LabelClass(25, "rider", (255, 0, 0), "human"),
        LabelClass(26, "car", (0, 0, 142), "vehicle"),
        LabelClass(27, "truck", (0, 0, 70), "vehicle"),
        LabelClass(28, "bus", (0, 60, 100), "vehicle"),
        LabelClass(31, "train", (0, 80, 100), "vehicle"),
        LabelClass(32, "motorcycle", (0, 0, 230), "vehicle"),
        LabelClass(33, "bicycle", (119, 11, 32), "vehicle"),
    ),
    "camvid": (
        LabelClass(0, "sky", (128, 128, 128)),
        LabelClass(1, "building", (128, 0, 0)),
        LabelClass(2, "pole", (192, 192, 128)),
        LabelClass(3, "road", (128, 64, 128)),
        LabelClass(4, "pavement", (60, 40, 222)),
        LabelClass(5, "tree", (128, 128, 0)),
        LabelClass(6, "sign", (192, 128, 128)),
        LabelClass(7, "fence", (64, 64, 128)),
        LabelClass(8, "car", (64, 0, 128)),
        LabelClass(9, "pedestrian", (64, 64, 0)),
        LabelClass(10, "bicyclist", (0, 128, 192)),
    ),
}


def unnamed(count: int) -> tuple[LabelClass, ...]:
    """``class 0``, ``class 1`` and so on, for networks of which nobody says what they tell apart.

    Their colours are those of PASCAL VOC's palette, all different; its first, black, is left out.
    """
    return tuple(LabelClass(index, f"class {index}", _voc_colour(index + 1)) for index in range(count))


def _voc_colour(number: int) -> Colour:
    """The bits of the number are dealt to red, green and blue in turn, each from its highest bit down."""
    red, green, blue = (
        sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(8))
        for channel in range(3)
    )
    return red, green, blue
