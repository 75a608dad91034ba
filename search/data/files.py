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
from targets.support.files import sha256

IMAGES, LABELS = ("PNG", "JPEG"), ("PNG",)  # whatever a file is called: Pillow tries no other format
_MODES = ("RGB", "RGBA", "L", "P", "1")  # of labels


@contextmanager
def opened(path: Path, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """The image in a file, not decoded yet. What fails inside is an InvalidData that names the file."""
    try:
        with Image.open(path, formats=formats) as picture:
            yield picture
    except FileNotFoundError:
        raise InvalidData(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise InvalidData(f"{path}: damaged, or no {' or '.join(formats)} image") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) else None  # the system's; Pillow gives none
        said = f"cannot be read: {reason}" if reason else f"damaged: {' '.join(str(error).split())}"
        raise InvalidData(f"{path}: {said}") from None


def size_of(path: Path) -> Size:
    """Height and width of an image, from the head of its file. Raises InvalidData."""
    with opened(path, IMAGES) as picture:
        return picture.height, picture.width


@dataclass(frozen=True)
class LabelCode:
    """What the pixels of label files mean: class indices, or ``IGNORE``.

    Those of gray and palette files are looked up in ``values``, those of files in colour in ``colours``.
    Where there are no ``values``, gray and palette files are looked up by the colours that they show.

    Attributes:
        remedy: what else to do about a pixel that means nothing, for errors.
    """

    values: Mapping[int, int]
    colours: Mapping[Colour, int]
    remedy: str = ""

    def decode(self, picture: Image.Image, path: Path) -> UInt8:
        """Class indices, (H, W). Raises InvalidData naming ``path`` and a value that is no label."""
        in_colour = picture.mode in ("RGB", "RGBA")
        if picture.mode not in _MODES or (in_colour and not self.colours):
            kinds = ["8-bit values"] * bool(self.values) + ["RGB colours"] * bool(self.colours)
            raise InvalidData(f"{path}: pixels of mode {picture.mode}; labels are {' or '.join(kinds)}")
        if in_colour or not self.values:
            pixels = np.asarray(picture.convert("RGB"))
            reds, greens, blues = (pixels[..., channel].astype(np.int32) for channel in range(3))
            codes = reds << 16 | greens << 8 | blues
            known = {red << 16 | green << 8 | blue: i for (red, green, blue), i in self.colours.items()}
        else:
            pixels = codes = np.asarray(picture).astype(np.uint8)
            known = dict(self.values)
        # Class + 1, 0 for no label; only pages that are used take memory.
        table = np.zeros(1 << 24, np.uint16)
        table[[*known]] = np.array([*known.values()]) + 1
        found = table[codes]
        if not found.all():
            wrong = codes[found == 0][0]
            said = self._refusal(pixels[found == 0][0], int((codes == wrong).sum()))
            raise InvalidData(f"{path}: labels out of range: {said}")
        classes: UInt8 = (found - 1).astype(np.uint8)
        return classes

    def _refusal(self, pixel: UInt8, count: int) -> str:
        where = f"in {count} pixel{'s' * (count > 1)}"
        if pixel.ndim:
            colour = tuple(pixel.tolist())
            said = f"colour {colour} {where} is none of the data set's {len(self.colours)}"
        else:
            said = f"value {pixel} {where}; allowed are {_spelled(sorted(self.values))}"
        return said + self.remedy


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
        with opened(self.image, IMAGES) as picture:
            image = np.asarray(picture.convert("RGB"))
        with opened(self.labels, LABELS) as picture:
            picture.load()
            labels = self.code.decode(picture, self.labels)
        if labels.shape != image.shape[:2]:
            raise InvalidData(
                f"{self.labels}: {labels.shape[0]}x{labels.shape[1]} pixels, its image "
                f"{self.image.name} has {image.shape[0]}x{image.shape[1]}"
            )
        return image, labels

    def digest(self) -> bytes:
        """See `Frame`. Raises InvalidData: a file cannot be read."""
        try:
            return "".join(map(sha256, (self.image, self.labels))).encode()
        except OSError as error:
            raise InvalidData(f"{error.filename}: cannot be read: {error.strerror}") from None

    def faults(self, size: Size | None, *, decode: bool) -> list[str]:
        """See `Frame`."""
        found, whose = [], "the data set"
        for path, formats in ((self.image, IMAGES), (self.labels, LABELS)):
            try:
                with opened(path, formats) as picture:
                    if size is None:
                        size, whose = (picture.height, picture.width), f"its image {self.image.name}"
                    if (picture.height, picture.width) != size:
                        own = f"{picture.height}x{picture.width}"
                        found.append(f"{path}: {own} pixels, {whose} has {size[0]}x{size[1]}")
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
