"""Image files: the one place that opens them. Travels in every bundle, where Pillow may be missing.

PNG, JPEG, BMP, TIFF and WebP are opened by Pillow and no other format, whatever a file is called: for some it
starts programs. PPM/PGM and .npy need numpy alone, as do most PNG where there is no Pillow.
"""

import errno
import os
import stat
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image
if TYPE_CHECKING or __package__:
    from search.data import plain_images as plain
    from search.data.plain_images import ImageError, Size, UInt8
else:  # in a bundle: plain_images.py lies beside this file
    import plain_images as plain
    from plain_images import ImageError, Size, UInt8

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_SCANS = 200  # of a JPEG: each goes over all of the pixels, and a progressive one has about ten
_SHOWN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")  # modes that are colours
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF


def read_image(path: Path) -> UInt8:
    """Read an image upright, as (H, W, 3) uint8 RGB; gray is spread over the channels, transparency dropped.

    Raises:
        ImageError: missing, damaged, too large, of a format that nothing here reads, or with pixels of which
            the file does not say how bright they are.
    """
    pixels = _read_plain(path)
    if pixels is not None:
        return pixels
    if not _pillow():
        raise ImageError(
            f"{path}: no 8-bit PNG, PPM/PGM or .npy image; for other formats install Pillow: "
            f"{sys.executable} -m pip install pillow"
        )
    with opened(path) as image:
        image.picture.verify()  # the check sums of PNG, which decoding skips
    with opened(path) as image:
        return image.rgb()


@dataclass(frozen=True)
class OpenedImage:
    """An image in a file, not decoded yet.

    Attributes:
        orientation: EXIF's, 1 to 8: how what is stored is turned to stand upright.
    """

    picture: "Image.Image"
    orientation: int

    @property
    def size(self) -> Size:
        """Height and width, upright."""
        width, height = self.picture.size
        return (width, height) if self.orientation > 4 else (height, width)

    def rgb(self) -> UInt8:
        """Decoded, (H, W, 3), upright. Raises ImageError where nobody says how bright pixels are."""
        picture = self.picture
        high_bytes = any(";16" in str(tile) for tile in getattr(picture, "tile", ()))
        negative = getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
            values = np.asarray(picture).astype(np.uint16)
            pixels = plain.from_16_bits(~values if negative else values)  # Pillow turns 8 bits alone
        elif picture.mode == "F" and not negative:
            pixels = plain.from_floats(np.asarray(picture))
        elif picture.mode in _SHOWN:
            pixels = np.asarray(picture.convert("RGB"))
            if high_bytes:  # of 16-bit colours Pillow keeps no more
                plain.check_range(int(pixels.max()) << 8 | 255)
        else:
            raise ImageError(f"pixels of mode {picture.mode}; save it as gray or RGB of 8 bits a channel")
        return _three_channels(plain.upright(pixels, self.orientation))


@contextmanager
def opened(path: Path, formats: tuple[str, ...] = FORMATS) -> Iterator[OpenedImage]:
    """The image in a file, by Pillow. What fails inside is an ImageError that names the file.

    Raises:
        ImageError: missing, damaged, of another format, too large, or several pictures in one file.
    """
    with _opened_file(path) as file, _said_of(path, formats):
        is_png = file.read(8) == plain.PNG_SIGNATURE
        exif = plain.png_exif(file) if is_png else b""
        file.seek(0)
        with _pillow().open(file, formats=formats) as picture:
            plain.checked_size(*picture.size)
            if getattr(picture, "is_animated", False) and picture.format != "MPO":  # MPO: a phone's JPEG
                raise ImageError(plain.SEVERAL)
            if picture.format in ("JPEG", "MPO"):
                _check_scans(file)
            if picture.format == "TIFF":  # Pillow turns them itself
                yield OpenedImage(picture, 1)
            else:
                exif = exif or picture.info.get("exif", b"")
                yield OpenedImage(picture, plain.exif_orientation(exif))


@cache
def _pillow() -> Any:
    """Pillow's ``Image``; None where it is not installed."""
    try:
        from PIL import Image
    except ImportError:
        return None
    # Sizes are bounded here, in one line; and what Pillow finds odd about tags is no news of the user's.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image


def _read_plain(path: Path) -> UInt8 | None:
    """As `read_image`, without Pillow; None for what only Pillow reads. Raises ImageError."""
    with _opened_file(path) as file:
        start = file.read(8)
        if not start.startswith(plain.PLAIN) and _pillow():
            return None
        file.seek(0)
        data = file.read()
    try:
        pixels = plain.decode_plain(data)
    except (ImageError, ValueError, IndexError, struct.error, zlib.error) as error:
        damaged = "" if isinstance(error, ImageError) else "damaged: "
        raise ImageError(f"{path}: {damaged}{error}") from None
    return None if pixels is None else _three_channels(pixels)


def _three_channels(pixels: npt.NDArray[Any]) -> UInt8:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] < 3:
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])


def _check_scans(file: BinaryIO) -> None:
    """A small progressive JPEG can ask for hours of work."""
    place = file.tell()
    file.seek(0)
    scans = file.read().count(b"\xff\xda")
    file.seek(place)
    if scans > MAX_SCANS:
        raise ImageError(f"a JPEG of {scans} scans, allowed are {MAX_SCANS}; save it again")


@contextmanager
def _opened_file(path: Path) -> Iterator[BinaryIO]:
    """A regular file that is not too large: no pipe or device, which may never end. Raises ImageError."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: a pipe or a device; name a file")
        if status.st_size > plain.MAX_BYTES:
            most = plain.MAX_BYTES >> 20
            raise ImageError(f"{path}: larger than {most} MiB, the most that is read of an image")
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f"{path}: cannot be read: {reason}") from None
    with file:
        yield file


@contextmanager
def _said_of(path: Path, formats: tuple[str, ...]) -> Iterator[None]:
    """What Pillow raises, which on damaged files is anything, in one line about this file."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    except Exception as error:
        if hasattr(error, "exit_code"):  # raised by what is done with the image
            raise
        if type(error).__name__ == "UnidentifiedImageError":
            allowed = " or ".join(", ".join(formats).rsplit(", ", 1))
            raise ImageError(f"{path}: damaged, or no {allowed} image") from None
        reason = error.strerror if isinstance(error, OSError) else None  # the system's; Pillow gives none
        said = " ".join(str(error).split())[:200] or type(error).__name__
        fault = "too large" if type(error).__name__ == "DecompressionBombError" else "damaged"
        told = f"cannot be read: {reason}" if reason else f"{fault}: {said}"
        raise ImageError(f"{path}: {told}") from None
