"""What a data set is to the rest: what is told apart, and splits of frames that are read one at a time."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from search.data.classes import Colour, LabelClass
from search.data.plain_images import Size as Size
from search.data.plain_images import UInt8 as UInt8
from search.data.truth import CLASS_INDICES, Array, Truth
from search.errors import InvalidData

DECODED_BELOW = 2000  # frames; of larger sets only the heads of the files are read: minutes become seconds
NAMED_FAULTS = 10


class Frame(Protocol):
    """One image with its truth: labels of its pixels, or what else a network is to tell of it."""

    @property
    def name(self) -> str:
        """Unique in its data set."""

    def load(self) -> tuple[UInt8, Array]:
        """Image (H, W, 3), RGB, and truth, see ``search.data.truth``. Raises InvalidData."""

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
    truth: Truth = CLASS_INDICES

    @property
    def names(self) -> list[str]:
        """One a frame."""
        return [frame.name for frame in self.frames]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[UInt8, Array]:
        return self.frames[index].load()

    def subset(self, indices: Iterable[int]) -> "Frames":
        """Those frames alone, in that order."""
        return Frames(tuple(self.frames[index] for index in indices), self.truth)


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        classes: the place in the tuple is the class index; 255 at most, since ``IGNORE`` is 255. None where
            frames are labelled with something else.
        frame_size: height and width of every frame, pixels; None where frames differ in size.
        splits: the frames of ``train``, ``val``, ``test``, as far as there are any.
        truth: what frames are labelled with.
    """

    name: str
    classes: tuple[LabelClass, ...]
    frame_size: Size | None
    splits: Mapping[str, tuple[Frame, ...]]
    truth: Truth = CLASS_INDICES

    @property
    def task(self) -> str:
        """Which networks learn from it."""
        return self.truth.task

    @property
    def tells(self) -> list[str]:
        """What networks for it tell, one an output: names of classes, or those of the truth."""
        return list(self.truth.names) or self.class_names

    @property
    def described(self) -> str:
        """For people, and for what must be the same to go on: ``camvid, 11 classes``, ``rooms, depth``."""
        return f"{self.name}, {f'{self.num_classes} classes' if self.classes else self.task}"

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
        return Frames(tuple(chain.from_iterable(self.splits[part] for part in parts)), self.truth)

    def check(self, *splits: str) -> None:
        """Read the files of some splits, or of all: there, whole, of their size, with truth in range.

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
        """Read truth until some counts. Raises InvalidData where none of a split does: it teaches nothing."""
        for split in splits:
            frames = self.frames(split)
            if not any(self.truth.counts(frames[index][1]) for index in range(len(frames))):
                said = self.truth.nothing.format(frames=f"the {len(frames)} {split} frames")
                raise InvalidData(f"data set {self.name}: {said}")


def first_faults(faults: Sequence[str]) -> str:
    """The first ten in one line, and how many more there are."""
    more = len(faults) - NAMED_FAULTS
    return "; ".join(faults[:NAMED_FAULTS]) + (f"; and {more} more" if more > 0 else "")


def _summary(where: str, faults: Sequence[str]) -> str:
    count = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
    return f"{where}: {count}, replace these files: {first_faults(faults)}"
