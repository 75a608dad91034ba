"""What stands beside a picture for people: a title, notes, what its colours mean, a warning."""

from collections.abc import Sequence
from typing import Protocol

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Color = tuple[int, int, int]

PANEL = (24, 27, 33)
INK = (236, 239, 244)
FAINT = (150, 158, 170)
WARNING = (255, 196, 87)


class Key(Protocol):
    """What the colours of a picture mean.

    Attributes:
        width, height: that it takes, pixels.
    """

    @property
    def width(self) -> float: ...

    @property
    def height(self) -> int: ...

    def draw(self, draw: ImageDraw.ImageDraw, left: int, right: int, top: int) -> None:
        """Between two sides, from a line down."""


class Legend:
    """A line a colour, with a name and a number.

    Args:
        size: of letters, pixels.
        rows: colour, name, number.
    """

    def __init__(self, size: int, rows: Sequence[tuple[Color, str, str]]) -> None:
        self._font: Font = ImageFont.load_default(size)
        self._size, self._rows = size, rows
        self._line, self._swatch = round(1.6 * size), round(1.1 * size)

    @property
    def width(self) -> float:
        """See ``Key``."""
        length = self._font.getlength
        name = max((length(row[1]) for row in self._rows), default=0)
        share = max((length(row[2]) for row in self._rows), default=0)
        return self._swatch + self._size // 2 + name + self._size + share

    @property
    def height(self) -> int:
        """See ``Key``."""
        return len(self._rows) * self._line

    def draw(self, draw: ImageDraw.ImageDraw, left: int, right: int, top: int) -> None:
        """See ``Key``."""
        for color, name, share in self._rows:
            middle = top + self._line / 2
            upper = middle - self._swatch / 2
            box = (left, upper, left + self._swatch, upper + self._swatch)
            draw.rounded_rectangle(box, self._swatch / 5, color, FAINT)
            draw.text((left + self._swatch + self._size // 2, middle), name, INK, self._font, anchor="lm")
            draw.text((right, middle), share, FAINT, self._font, anchor="rm")
            top += self._line


class Panel:
    """All of it: measured first, because the canvas is made to fit it."""

    def __init__(self, size: int, title: str, notes: Sequence[str], key: Key, warning: str) -> None:
        self._font: Font = ImageFont.load_default(size)
        self._small: Font = ImageFont.load_default(max(12, round(0.85 * size)))
        self._title, self._notes, self._key = title, notes, key
        self._margin, self._line = size, round(1.6 * size)
        notes_width = [self._small.getlength(note) for note in notes]
        inner = max([key.width, self._font.getlength(title), *notes_width])
        self.width = round(inner) + 2 * self._margin
        self._warning = self._wrapped(warning, inner)
        small_lines = len(notes) + len(self._warning)
        gaps = bool(title or notes) + bool(warning)
        text = bool(title) * self._line + small_lines * self._small_line
        self.height = (2 + gaps) * self._margin + key.height + text

    @property
    def _small_line(self) -> int:
        return round(0.85 * self._line)

    def _wrapped(self, text: str, width: float) -> list[str]:
        lines: list[str] = []
        for word in text.split():
            if lines and self._small.getlength(f"{lines[-1]} {word}") <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def draw(self, draw: ImageDraw.ImageDraw, left: int) -> None:
        """From a side on, from the top down."""
        x, right, y = left + self._margin, left + self.width - self._margin, self._margin
        if self._title:
            draw.text((x, y + self._line / 2), self._title, INK, self._font, anchor="lm")
            y += self._line
        for note in self._notes:
            draw.text((x, y + self._small_line / 2), note, FAINT, self._small, anchor="lm")
            y += self._small_line
        y += self._margin * bool(self._title or self._notes)
        self._key.draw(draw, x, right, y)
        y += self._key.height + self._margin * bool(self._warning)
        for line in self._warning:
            draw.text((x, y + self._small_line / 2), line, WARNING, self._small, anchor="lm")
            y += self._small_line


def letters(picture: Image.Image) -> int:
    """How large letters beside a picture are, pixels; those beside a strip are not huge."""
    side = min(max(picture.height, picture.width / 2), 2 * min(picture.size))
    return max(13, round(side / 36))


def beside(picture: Image.Image, panel: Panel) -> Image.Image:
    """A picture with its panel to the right."""
    canvas = Image.new("RGB", (picture.width + panel.width, max(picture.height, panel.height)), PANEL)
    canvas.paste(picture, (0, (canvas.height - picture.height) // 2))
    panel.draw(ImageDraw.Draw(canvas), picture.width)
    return canvas
