"""What a data set is to the rest: classes, and splits of labelled frames that are read one at a time."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from search.data.classes import IGNORE, Colour, LabelClass
from search.errors import InvalidData

UInt8 = npt.NDArray[np.uint8]
Size = tuple[int, int]  # height, width

DECODED_BELOW = 2000  # frames; of larger sets only the heads of the files are read: minutes become seconds
NAMED_FAULTS = 10


class Frame(Protocol):
    """One image with its labels."""

    @property
    def name(self) -> str:
        """Unique in its data set."""

    def load(self) -> tuple[UInt8, UInt8]:
        """Image (H, W, 3), RGB, and labels (H, W): class indices, or ``IGNORE``. Raises InvalidData."""

    def digest(self) -> bytes:
        """Of what it is made from, without decoding that: another one for other content under its name."""

    def faults(self, size: Size | None, *, decode: bool) -> list[str]:
        """What is wrong with it, each in one line; ``decode`` reads all of it, not only the heads.

        Args:
            size: that it must have; None: any, but labels must be as large as their image.
        """


@dataclass(frozen=True)
class Frames:
    """The frames of a split, in the order of their names, or of the list that names them.

    ``frames[i]`` reads one: see `Frame.load`.
    """

    frames: tuple[Frame, ...]

    @property
    def names(self) -> list[str]:
        """One a frame."""
        return [frame.name for frame in self.frames]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[UInt8, UInt8]:
        return self.frames[index].load()

    def subset(self, indices: Iterable[int]) -> "Frames":
        """Those frames alone, in that order."""
        return Frames(tuple(self.frames[index] for index in indices))


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        classes: the place in the tuple is the class index; 255 at most, since ``IGNORE`` is 255.
        frame_size: height and width of every frame, pixels; None where frames differ in size.
        splits: the frames of ``train``, ``val``, ``test``, as far as there are any.
    """

    name: str
    classes: tuple[LabelClass, ...]
    frame_size: Size | None
    splits: Mapping[str, tuple[Frame, ...]]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def class_names(self) -> list[str]:
        """In the order of the class indices, as are ``colours`` and ``categories``."""
        return [entry.name for entry in self.classes]

    @property
    def colours(self) -> list[Colour]:
        return [entry.color for entry in self.classes]

    @property
    def categories(self) -> list[str]:
        """Coarser class of each class, for IoU by category; empty if there are none."""
        return [entry.category for entry in self.classes if entry.category]

    def frames(self, split: str) -> Frames:
        """The frames of a split; ``trainval`` is ``train`` followed by ``val``. Raises InvalidData."""
        parts = ["train", "val"] if split == "trainval" else [split]
        missing = [part for part in parts if part not in self.splits]
        if missing:
            raise InvalidData(
                f"data set {self.name} has no split {missing[0]!r}; there are {', '.join(self.splits)}"
            )
        return Frames(tuple(chain.from_iterable(self.splits[part] for part in parts)))

    def check(self, *splits: str) -> None:
        """Read the files of some splits, or of all: there, whole, of their size, with labels in range.

        Data sets of 2000 frames and more are not decoded, only the heads of their files are read; damage
        further in is then found when a frame is loaded.

        Raises:
            InvalidData: how many faults there are, and the first ten.
        """
        frames = [frame for split in splits or self.splits for frame in self.frames(split).frames]
        decode = len(frames) < DECODED_BELOW
        with ThreadPoolExecutor() as threads:
            found = threads.map(lambda frame: frame.faults(self.frame_size, decode=decode), frames)
            faults = list(chain.from_iterable(found))
        if faults:
            raise InvalidData(_summary(f"data set {self.name}", faults))

    def check_labelled(self, *splits: str) -> None:
        """Read labels until one counts. Raises InvalidData where none of a split does: it teaches nothing."""
        for split in splits:
            frames = self.frames(split)
            if not any((frames[index][1] != IGNORE).any() for index in range(len(frames))):
                raise InvalidData(
                    f"data set {self.name}: not one pixel of the {len(frames)} {split} frames is labelled, "
                    "all are to be ignored; look at what the label files hold (docs/data.md)"
                )


def first_faults(faults: Sequence[str]) -> str:
    """The first ten in one line, and how many more there are."""
    more = len(faults) - NAMED_FAULTS
    return "; ".join(faults[:NAMED_FAULTS]) + (f"; and {more} more" if more > 0 else "")


def _summary(where: str, faults: Sequence[str]) -> str:
    count = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
    return f"{where}: {count}, replace these files: {first_faults(faults)}"
