"""What the pixels of label files mean, decided by what is in the file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from search.data.classes import Colour
from search.data.plain_images import UInt8
from search.errors import InvalidData

Codes = npt.NDArray[Any]  # (H, W) of integers: values, indices of a palette, or red << 16 | green << 8 | blue
Palette = list[Colour]
Reading = Mapping[int, int]  # class index by code

_UNTELLING = ((0, 0, 0), (255, 255, 255))  # colours of almost any palette
_REMEDY = "save it as 8-bit gray if values are meant, as RGB if colours are"


@dataclass(frozen=True)
class LabelCode:
    """What the pixels of label files mean: class indices, or ``IGNORE``.

    Gray files hold ``values``, files in colour ``colours``; where only values are meant, these may stand in
    files in colour as equal red, green and blue. A palette may hold either: the reading that fits is taken.
    Where both fit and differ, a palette of nothing but the data set's colours is read as colours, and any
    other such file is refused. Where there are no ``values``, gray files are looked up by the colours that
    they show.

    Attributes:
        remedy: what else to do about a pixel that means nothing, for errors.
        values_alone: somebody says that the files hold values; colours are then what may contradict it.
    """

    values: Reading
    colours: Mapping[Colour, int]
    remedy: str = ""
    values_alone: bool = False

    def decode(self, picture: Image.Image, path: Path) -> UInt8:
        """Class indices, (H, W), as they are stored.

        Raises:
            InvalidData: naming ``path``: pixels that are no labels, or can be read in two ways.
        """
        stored = str(getattr(picture, "tile", ""))
        picture.load()
        mode = picture.mode
        if mode in ("RGB", "RGBA", "RGBX") and ";16" not in stored:
            return self._of_colours(np.asarray(picture.convert("RGB")), path)
        if mode == "P":
            return self._of_codes(np.asarray(picture), _palette(picture), path)
        if mode in ("1", "L", "LA"):
            bits = re.search(r"'L;([24])", stored)  # Pillow spreads these over 0 to 255
            step = 255 if mode == "1" else {"2": 85, "4": 17}[bits[1]] if bits else 1
            shown = np.asarray(picture.convert("L"))
            gray = [(level, level, level) for level in range(0, 256, step)]
            return self._of_codes(shown // step, gray if step > 1 or not self.values else None, path)
        raise self._wrong_kind(mode, path)

    @property
    def _in_colour(self) -> bool:
        return bool(self.colours) and not self.values_alone

    def _of_colours(self, pixels: UInt8, path: Path) -> UInt8:
        """Class indices of pixels (H, W, 3)."""
        reds, greens, blues = (pixels[..., channel].astype(np.int32) for channel in range(3))
        codes = reds << 16 | greens << 8 | blues
        known = {red << 16 | green << 8 | blue: i for (red, green, blue), i in self.colours.items()}
        if self._in_colour:
            return self._whole(_looked_up(codes, known), pixels, path)
        if np.array_equal(reds, greens) and np.array_equal(reds, blues):
            return self._whole(_looked_up(reds, self.values), reds, path)
        raise self._wrong_kind("RGB", path)

    def _of_codes(self, codes: Codes, palette: Palette | None, path: Path) -> UInt8:
        """Class indices of values or indices (H, W), whose colours are in ``palette`` if they show any."""
        used = np.flatnonzero(np.bincount(codes.ravel())).tolist()
        readings = self._readings(used, palette)
        fitting = [reading for reading in readings if reading.keys() >= set(used)]
        if not fitting:
            found = _looked_up(codes, readings[0])
            if palette and not self.values:
                codes = np.array([*palette, *[(0, 0, 0)] * 256])[codes]  # indices may be beyond its end
            return self._whole(found, codes, path)
        chosen = fitting[0]
        for other in fitting[1:]:
            differing = [code for code in used if chosen[code] != other[code]]
            if differing and palette:
                chosen = self._better(chosen, other, [palette[code] for code in differing], palette, path)
        return _indices(_looked_up(codes, chosen))

    def _readings(self, used: list[int], palette: Palette | None) -> list[Reading]:
        """Of codes as values, as indices of values that are shown, and of colours."""
        if palette is None:
            return [self.values]
        while palette[-1:] == [(0, 0, 0)] and len(palette) > max(used) + 1:
            palette.pop()  # it fills the rest of a table, and is no choice of anybody's
        colours = {i: self.colours[shown] for i, shown in enumerate(palette) if shown in self.colours}
        if not self.values:
            return [colours]
        levels = {i: red for i, (red, green, blue) in enumerate(palette) if red == green == blue}
        grays = {i: self.values[level] for i, level in levels.items() if level in self.values}
        return [self.values, grays, colours]

    def _better(
        self, values: Reading, shown: Reading, differing: Palette, palette: Palette, path: Path
    ) -> Reading:
        """Of two readings that fit and differ at some colours. Raises InvalidData if either may be meant."""
        whole = len(shown) == len(palette)
        telling = any(colour not in _UNTELLING for colour in differing)
        refuted = self.values_alone and any(len({*colour}) > 1 for colour in differing)
        if whole and telling and not refuted:
            return shown
        if not (whole or telling) or (self.values_alone and not (whole and telling)):
            return values
        raise InvalidData(
            f"{path}: labels by the indices of its palette, and other labels by the colours of it: "
            f"{differing[0]} is one; {_REMEDY}"
        )

    def _whole(self, found: Codes, pixels: Codes, path: Path) -> UInt8:
        """Class indices where each pixel has one. Raises InvalidData that names one that has none."""
        if found.all():
            return _indices(found)
        wrong = pixels[found == 0]
        pixel = wrong[0]
        count = int((wrong == pixel).reshape(len(wrong), -1).all(axis=1).sum())
        where = f"in {count} pixel{'s' * (count > 1)}"
        if pixel.ndim:
            colour = tuple(pixel.tolist())
            said = f"colour {colour} {where} is none of the data set's {len(self.colours)}"
        else:
            said = f"value {pixel} {where}; allowed are {_spelled(sorted(self.values))}"
        raise InvalidData(f"{path}: labels out of range: {said}{self.remedy}")

    def _wrong_kind(self, mode: str, path: Path) -> InvalidData:
        kinds = ["8-bit values"] * bool(self.values) + ["RGB colours"] * self._in_colour
        return InvalidData(f"{path}: pixels of mode {mode}; labels are {' or '.join(kinds)}")


def _palette(picture: Image.Image) -> Palette:
    flat = picture.getpalette("RGB") or []
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3)]


def _looked_up(codes: Codes, reading: Reading) -> Codes:
    """Class + 1 of each code, 0 for none. Only pages of the table that are used take memory."""
    table = np.zeros(1 << 24, np.uint16)
    table[[*reading]] = np.array([*reading.values()]) + 1
    return table[codes]


def _indices(found: Codes) -> UInt8:
    return (found - 1).astype(np.uint8)


def _spelled(values: list[int]) -> str:
    """``0 to 18, 255``: what is allowed, in runs."""
    gaps = [(before, after) for before, after in pairwise(values) if after > before + 1]
    firsts = [values[0], *(after for _, after in gaps)]
    lasts = [*(before for before, _ in gaps), values[-1]]
    return ", ".join(f"{a} to {b}" if b > a else str(a) for a, b in zip(firsts, lasts, strict=True))
