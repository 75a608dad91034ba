"""Training frames of other data sets beside those of one, under its classes. No PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from search.data.classes import CLASSES, IGNORE
from search.data.frames import Data, Frame, Size, UInt8
from search.data.truth import Array
from search.errors import InvalidData

TERRAIN, NAMED = "terrain", 3

# What CamVid's 11 classes, in the grouping of SegNet, call the classes of Cityscapes. Terrain is in none.
IN_CAMVID: Mapping[str, str] = {
    "road": "road",
    "sidewalk": "pavement",
    "building": "building",
    "wall": "building",
    "fence": "fence",
    "pole": "pole",
    "traffic light": "sign",
    "traffic sign": "sign",
    "vegetation": "tree",
    "sky": "sky",
    "person": "pedestrian",
    "rider": "bicyclist",
    "car": "car",
    "truck": "car",
    "bus": "car",
    "train": "car",
    "motorcycle": "bicyclist",
    "bicycle": "bicyclist",
}


@dataclass(frozen=True)
class RelabelledFrame:
    """A frame whose class indices are ``indices[old]``."""

    frame: Frame
    indices: tuple[int, ...]

    @property
    def name(self) -> str:
        """That of the frame."""
        return self.frame.name

    def load(self) -> tuple[UInt8, Array]:
        """See `search.data.frames.Frame`."""
        image, labels = self.frame.load()
        return image, np.array(self.indices, np.uint8)[labels]

    def digest(self) -> bytes:
        """See `search.data.frames.Frame`."""
        return self.frame.digest() + repr(self.indices).encode()

    def faults(self, size: Size | None, *, decode: bool) -> list[str]:
        """See `search.data.frames.Frame`."""
        return self.frame.faults(size, decode=decode)


def joined(first: Data, other: Data) -> Data:
    """``first`` with the training frames of ``other`` after its own; its other splits stay as they are.

    Raises:
        InvalidData: they are labelled with different things; each has a size for its frames, and those
            differ; one has no training frames; or there is no way from the other's classes to its own.
    """
    if first.truth != other.truth:
        what = f"it is for {other.task}, that for {first.task}; allowed: data sets for one task"
        if first.task == other.task:
            what = "it has other key points; allowed: data sets with the same, in the same order"
        raise InvalidData(f"{other.name} cannot be joined to {first.name}: {what}")
    frame_size = first.frame_size if first.frame_size == other.frame_size else None
    if frame_size is None and first.frame_size and other.frame_size:
        (height, width), own = other.frame_size, "x".join(map(str, first.frame_size))
        raise InvalidData(
            f"frames of {other.name} have {height}x{width} pixels, those of {first.name} {own}; "
            f"data sets are joined at one size (drawn scenes have any: synthetic:COUNT:{own})"
        )
    indices = _indices(first, other)
    frames = [
        frame if indices is None else RelabelledFrame(frame, indices)
        for frame in other.frames("train").frames
    ]
    splits = {**first.splits, "train": (*first.frames("train").frames, *frames)}
    return replace(first, name=f"{first.name}+{other.name}", frame_size=frame_size, splits=splits)


def _indices(first: Data, other: Data) -> tuple[int, ...] | None:
    """Of each of 256 labels, the label it becomes; None where all stay as they are.

    Classes are told by their names: those of the other must all be among the first one's, in any order.
    """
    if first.class_names == other.class_names:
        return None
    own = {name: index for index, name in enumerate(first.class_names)}
    if set(own) == _names("camvid") and set(other.class_names) == _names("cityscapes"):
        own = {name: own[group] for name, group in IN_CAMVID.items()} | {TERRAIN: IGNORE}
    strangers = [name for name in other.class_names if name not in own]
    if strangers:
        raise InvalidData(
            f"{other.name} cannot be joined to {first.name}: its classes are others; allowed: data sets "
            f"whose classes all have a namesake there (not so: {', '.join(strangers[:NAMED])}"
            f"{', ...' * (len(strangers) > NAMED)}), and those with Cityscapes' classes (synthetic) to CamVid"
        )
    indices = [own[name] for name in other.class_names]
    return (*indices, *[IGNORE] * (256 - len(indices)))


def _names(known: str) -> set[str]:
    return {entry.name for entry in CLASSES[known]}
