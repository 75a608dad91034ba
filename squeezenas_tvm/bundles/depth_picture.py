"""Show depth to people: the picture, under it a map whose colours tell metres, beside both their scale."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from squeezenas_tvm.bundles.panel import FAINT, INK, Font, Panel, beside, letters

UInt8 = npt.NDArray[np.uint8]
Metres = npt.NDArray[np.floating]

MIN_PICTURE_SIDE = 512  # smaller pictures are enlarged, or the scale would dwarf them
NOTHING = (0, 0, 0)  # where a network says 0 m
# From near to far: as bright as it is near, so that it also reads in gray
ANCHORS = (
    (255, 244, 184),
    (254, 196, 96),
    (243, 129, 76),
    (203, 70, 106),
    (128, 42, 122),
    (60, 26, 96),
    (24, 16, 48),
)
_ENDS = (1, 99)  # percentiles of what is shown: a few pixels shall not take all of the colours
_LEAST_SPAN = 1.5  # from nearest to farthest: of a wall the colours shall not show noise alone
_TICKS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)  # times powers of ten
_SAME_TEXT = 1.25  # lines between two numbers of the scale
_TEXT = 14  # lines that the rest of the panel may take


def draw_depth(
    image: UInt8, depth_m: Metres, *, title: str = "", notes: Sequence[str] = (), warning: str = ""
) -> Image.Image:
    """``image`` (H, W, 3) above its ``depth_m`` (H, W) in colours, and their scale to the right.

    Colours go by the logarithm of the distance: a metre means more nearby. They span what is there but for a
    hundredth at either end.
    """
    factor = -(-MIN_PICTURE_SIDE // max(depth_m.shape))  # a whole one: pixels stay pixels
    low, high = span_m(depth_m)
    both = np.concatenate([image, coloured(depth_m, low, high)])
    picture = Image.fromarray(both.repeat(factor, axis=0).repeat(factor, axis=1))
    size = letters(picture)
    return beside(picture, Panel(size, title, notes, _Scale(size, low, high, picture.height), warning))


def span_m(depth_m: Metres) -> tuple[float, float]:
    """The nearest and the farthest that have colours of their own; 1 and 10 where there is no depth."""
    seen = depth_m[depth_m > 0]
    if not seen.size:
        return 1.0, 10.0
    low, high = (float(end) for end in np.percentile(seen, _ENDS))
    wider = max(1.0, (_LEAST_SPAN * low / high) ** 0.5)
    return low / wider, high * wider


def coloured(depth_m: Metres, low: float, high: float) -> UInt8:
    """(H, W, 3): colours of distances between two; those beyond have the colours of the ends."""
    seen = depth_m > 0
    share = np.log(np.where(seen, depth_m, low) / low) / np.log(high / low)
    places = np.linspace(0, 1, len(ANCHORS))
    channels = [np.interp(share, places, [anchor[channel] for anchor in ANCHORS]) for channel in range(3)]
    colours: UInt8 = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    colours[~seen] = NOTHING
    return colours


class _Scale:
    """A bar of all colours, the farthest on top, with distances beside it."""

    def __init__(self, size: int, low: float, high: float, height: int) -> None:
        self._font: Font = ImageFont.load_default(size)
        self._size, self._low, self._high = size, low, high
        self._bar = max(height - _TEXT * size, 10 * size)
        self._marks = self._numbers()

    @property
    def width(self) -> float:
        """See ``panel.Key``."""
        numbers = max(self._font.getlength(text) for _, text in self._marks)
        return 2 * self._size + self._size + numbers

    @property
    def height(self) -> int:
        """See ``panel.Key``: half a line more at either end, for numbers there."""
        return self._bar + 2 * self._size

    def draw(self, draw: ImageDraw.ImageDraw, left: int, right: int, top: int) -> None:
        """See ``panel.Key``."""
        top, wide = top + self._size, 2 * self._size
        shares = 1 - (np.arange(self._bar) + 0.5) / self._bar
        rows = coloured(self._low * (self._high / self._low) ** shares, self._low, self._high)
        for place, (red, green, blue) in enumerate(rows.tolist()):
            draw.line((left, top + place, left + wide - 1, top + place), (red, green, blue))
        draw.rectangle((left, top, left + wide - 1, top + self._bar - 1), outline=FAINT)
        for value, text in self._marks:
            y = top + self._place(value)
            draw.line((left + wide, y, left + wide + self._size // 3, y), FAINT)
            draw.text((left + wide + self._size, y), text, INK, self._font, anchor="lm")

    def _place(self, value: float) -> float:
        """Pixels from the top."""
        return float(self._bar * (1 - np.log(value / self._low) / np.log(self._high / self._low)))

    def _numbers(self) -> list[tuple[float, str]]:
        """Both ends, and round numbers where there is room between."""
        ends = [(value, f"{value:.3g} m") for value in (self._low, self._high)]
        first, last = (int(np.floor(np.log10(value))) for value in (self._low, self._high))
        found = list(ends)
        for power in range(first, last + 1):
            for tick in _TICKS:
                value = tick * 10.0**power
                places = [self._place(other) for other, _ in found]
                room = min(abs(self._place(value) - place) for place in places)
                if self._low < value < self._high and room >= _SAME_TEXT * self._size:
                    found.append((value, f"{value:g} m"))
        return found
