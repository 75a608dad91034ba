"""Frames that lie in files: reading them, and saying which file is at fault and why."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from search.data.classes import CLASSES, Colour
from search.data.frames import Data, Size, UInt8
from search.errors import InvalidData


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image in a file, not decoded yet. What fails inside is an InvalidData that names the file."""
    try:
        with Image.open(path) as picture:
            yield picture
    except FileNotFoundError:
        raise InvalidData(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise InvalidData(f"{path}: damaged, or no image") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) else None  # the system's; Pillow gives none
        said = f"cannot be read: {reason}" if reason else f"damaged: {' '.join(str(error).split())}"
        raise InvalidData(f"{path}: {said}") from None


def size_of(path: Path) -> Size:
    """Height and width of an image, from the head of its file. Raises InvalidData."""
    with opened(path) as picture:
        return picture.height, picture.width


@dataclass(frozen=True)
class LabelCode:
    """What the pixels of label files mean. Those of gray and palette files are looked up in ``values``,
    those of files in colour in ``colours``; both give a class index, or ``IGNORE``.
    """

    values: Mapping[int, int]
    colours: Mapping[Colour, int]

    def decode(self, picture: Image.Image, path: Path) -> UInt8:
        """Class indices, (H, W). Raises InvalidData naming ``path`` and a value that is no label."""
        pixels, known = np.asarray(picture), self.values
        if picture.mode in ("RGB", "RGBA"):
            reds, greens, blues = (pixels[..., channel].astype(np.int32) for channel in range(3))
            codes = reds << 16 | greens << 8 | blues
            known = {red << 16 | green << 8 | blue: i for (red, green, blue), i in self.colours.items()}
        elif picture.mode in ("L", "P"):
            codes = pixels
        else:
            raise InvalidData(
                f"{path}: pixels of mode {picture.mode}; labels are 8-bit values or RGB colours"
            )
        table = np.zeros(
            1 << 24, np.uint16
        )  # class + 1, 0 for no label; only pages that are used take memory
        table[[*known]] = np.array([*known.values()]) + 1
        found = table[codes]
        if not found.all():
            raise InvalidData(f"{path}: labels out of range: {self._refusal(pixels[found == 0][0])}")
        classes: UInt8 = (found - 1).astype(np.uint8)
        return classes

    def _refusal(self, pixel: UInt8) -> str:
        if pixel.ndim:
            return f"colour {tuple(pixel[:3].tolist())} is none of the data set's {len(self.colours)}"
        return f"value {pixel}; allowed are {_spelled(sorted(self.values))}"


def _spelled(values: list[int]) -> str:
    """``0 to 18, 255``: what is allowed, in runs."""
    gaps = [(before, after) for before, after in pairwise(values) if after > before + 1]
    firsts = [values[0], *(after for _, after in gaps)]
    lasts = [*(before for before, _ in gaps), values[-1]]
    return ", ".join(f"{a} to {b}" if b > a else str(a) for a, b in zip(firsts, lasts, strict=True))


@dataclass(frozen=True)
class StoredFrame:
    """An image file with its label file."""

    name: str
    image: Path
    labels: Path
    code: LabelCode

    def load(self) -> tuple[UInt8, UInt8]:
        """See `Frame`. Raises InvalidData: a file missing or damaged, two sizes, labels out of range."""
        with opened(self.image) as picture:
            image = np.asarray(picture.convert("RGB"))
        with opened(self.labels) as picture:
            picture.load()
            labels = self.code.decode(picture, self.labels)
        if labels.shape != image.shape[:2]:
            raise InvalidData(
                f"{self.labels}: {labels.shape[0]}x{labels.shape[1]} pixels, its image "
                f"{self.image.name} has {image.shape[0]}x{image.shape[1]}"
            )
        return image, labels

    def faults(self, size: Size, *, decode: bool) -> list[str]:
        """See `Frame`."""
        found = []
        for path in (self.image, self.labels):
            try:
                with opened(path) as picture:
                    if (picture.height, picture.width) != size:
                        found.append(
                            f"{path}: {picture.height}x{picture.width} pixels, "
                            f"the data set has {size[0]}x{size[1]}"
                        )
                    if decode:
                        picture.verify()  # the check sums of PNG, which decoding skips
            except InvalidData as error:
                found.append(str(error))
        if decode and not found:
            try:
                self.load()
            except InvalidData as error:
                found.append(str(error))
        return found


def stored_data(name: str, folder: Path, splits: Mapping[str, Sequence[StoredFrame]]) -> Data:
    """A data set of files, by the classes of `CLASSES`; splits without frames are left out.

    Raises InvalidData: not a single frame, or none whose image can be read.
    """
    filled = {split: tuple(frames) for split, frames in splits.items() if frames}
    if not filled:
        raise InvalidData(f"{folder}: no frames of {name}: its folders are empty")
    error = InvalidData(str(folder))
    for frame in chain.from_iterable(filled.values()):
        try:
            return Data(name, CLASSES[name], size_of(frame.image), filled)
        except InvalidData as found:
            error = found
    raise InvalidData(f"{folder}: no image of {name} can be read; the last: {error}")
