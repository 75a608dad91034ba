"""Frames that lie in files: finding them, reading them, and saying which file is at fault and why."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

from PIL import Image

from search.data import image_files
from search.data.classes import CLASSES
from search.data.frames import Data, Size, UInt8
from search.data.image_files import ENDINGS, FORMATS, OpenedImage
from search.data.plain_images import ImageError, upright
from search.data.truth import CLASS_INDICES, Array, Truth
from search.errors import InvalidData
from targets.support.files import sha256

LABELS = ("PNG", "BMP", "TIFF")  # formats that keep what is written, as JPEG and WebP may not
LABEL_ENDINGS = (".png", ".bmp", ".tif", ".tiff")
_LOSSY = ("jpeg", "tiff_jpeg", "webp")  # compressions of TIFF


@contextmanager
def opened(path: Path, formats: tuple[str, ...] = FORMATS) -> Iterator[OpenedImage]:
    """The image in a file, not decoded yet. What fails inside is an InvalidData that names the file."""
    try:
        with image_files.opened(path, formats) as image:
            yield image
    except ImageError as error:
        raise InvalidData(str(error)) from None


def size_of(path: Path) -> Size:
    """Height and width of an image as it stands upright, from the head of its file. Raises InvalidData."""
    with opened(path) as image:
        return image.size


def names_in(folder: Path, endings: tuple[str, ...] = ENDINGS) -> list[str]:
    """Names of the files in a folder that end so, in any case, in order; none where it is not there.

    Raises InvalidData where it cannot be read.
    """
    if not os.path.lexists(folder):
        return []
    return _entries(folder, lambda entry: entry.name.lower().endswith(endings) and not entry.is_dir())


def files_by_stem(folder: Path, endings: tuple[str, ...] = ENDINGS, suffix: str = "") -> dict[str, Path]:
    """Files of a folder by what stands before their suffix and ending; others are left out.

    Raises InvalidData: the folder cannot be read, or two files are called the same.
    """
    found: dict[str, Path] = {}
    for name in names_in(folder, endings):
        stem = name.rpartition(".")[0]
        if not stem.endswith(suffix):
            continue
        other = found.setdefault(stem.removesuffix(suffix), folder / name)
        if other.name != name:
            raise InvalidData(f"{folder}: {other.name} and {name} are one frame; allowed: each once")
    return found


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, in order. Raises InvalidData where it cannot be read."""
    return _entries(folder, lambda entry: entry.is_dir())


def _entries(folder: Path, wanted: Callable[["os.DirEntry[str]"], bool]) -> list[str]:
    """Names, in order, without what systems leave beside people's files: ``._0001.png``, ``__MACOSX``."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if wanted(entry)]
    except OSError as error:
        raise InvalidData(f"{folder}: cannot be read: {error.strerror}") from None
    return sorted(name for name in names if not name.startswith((".", "__MACOSX", "@eaDir")))


class Code(Protocol):
    """What the pixels of label files mean."""

    def decode(self, picture: Image.Image, path: Path) -> Array:
        """Truth (H, W) as it is stored. Raises InvalidData that names ``path``: pixels that mean nothing."""


@dataclass(frozen=True)
class StoredFrame:
    """An image file with its label file: classes or depths, a value a pixel."""

    name: str
    image: Path
    labels: Path
    code: Code

    def load(self) -> tuple[UInt8, Array]:
        """See `Frame`. Raises InvalidData: a file missing or damaged, two sizes, labels out of range."""
        with opened(self.image) as opened_image:
            image, turned = opened_image.rgb(), opened_image.orientation > 4
        with _opened_labels(self.labels) as stored:
            labels = upright(self.code.decode(stored.picture, self.labels), stored.orientation)
        if labels.shape != image.shape[:2]:
            raise InvalidData(
                f"{self.labels}: {_of_size(labels.shape)} pixels, its image "
                f"{self.image.name} has {_of_size(image.shape)}{_TURNED * turned}"
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
        found, whose, turned = [], "the data set", ""
        for path, reader in ((self.image, opened), (self.labels, _opened_labels)):
            try:
                with reader(path) as image:
                    if size is None:
                        size, whose = image.size, f"its image {self.image.name}"
                    if image.size != size:
                        own = _of_size(image.size)
                        found.append(f"{path}: {own} pixels, {whose} has {_of_size(size)}{turned}")
                    turned = _TURNED * (image.orientation > 4)
                    if decode:
                        image.picture.verify()  # the check sums of PNG, which decoding skips
            except InvalidData as error:
                found.append(str(error))
        if decode and not found:
            try:
                self.load()
            except InvalidData as error:
                found.append(str(error))
        return found


_TURNED = " (by its EXIF orientation, as viewers show it: labels are drawn on the upright image)"


@contextmanager
def _opened_labels(path: Path) -> Iterator[OpenedImage]:
    """As `opened`, for formats that keep values as they are."""
    with opened(path, LABELS) as stored:
        if stored.picture.info.get("compression") in _LOSSY:
            raise InvalidData(f"{path}: compressed with loss, which changes labels; save it as PNG")
        yield stored


def _of_size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def stored_data(
    name: str, folder: Path, splits: Mapping[str, Sequence[StoredFrame]], truth: Truth = CLASS_INDICES
) -> Data:
    """A data set of files, of class indices by the classes of `CLASSES`; splits without frames are left out.

    Raises InvalidData: not a single frame, or none whose image can be read.
    """
    filled = {split: tuple(frames) for split, frames in splits.items() if frames}
    if not filled:
        raise InvalidData(f"{folder}: no frames of {name}: its folders are empty")
    classes = CLASSES[name] if truth is CLASS_INDICES else ()
    error = InvalidData(str(folder))
    for frame in chain.from_iterable(filled.values()):
        try:
            return Data(name, classes, size_of(frame.image), filled, truth)
        except InvalidData as found:
            error = found
    raise InvalidData(f"{folder}: no image of {name} can be read; the last: {error}")
