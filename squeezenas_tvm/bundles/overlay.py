"""Show a segmentation to people: the picture tinted by class, beside it a legend of the classes in it."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from squeezenas_tvm.bundles.images import sealed_png
from squeezenas_tvm.bundles.runner import LABELS

UInt8 = npt.NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

OPACITY = 0.55
ROWS = 256  # that are tinted at a time: real numbers take four times the memory
MIN_PICTURE_SIDE = 512  # smaller pictures are enlarged, or the legend would dwarf them
PANEL = (24, 27, 33)
INK = (236, 239, 244)
FAINT = (150, 158, 170)
WARNING = (255, 196, 87)


def draw_overlay(
    image: UInt8,
    labels: UInt8,
    classes: Sequence[Mapping[str, Any]],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    warning: str = "",
) -> Image.Image:
    """Tint ``image`` (H, W, 3) by its class indices ``labels`` (H, W) and put a legend to its right.

    Args:
        classes: entries of labels.json: ``index``, ``name``, ``color``. Other indices are left untinted.
        title, notes, warning: lines above the classes and, for the warning, below them.
    """
    factor = -(-MIN_PICTURE_SIDE // max(labels.shape))  # a whole one: pixels stay pixels
    picture = Image.fromarray(_tinted(_enlarged(image, factor), _enlarged(labels, factor), classes))
    side = min(max(picture.height, picture.width / 2), 2 * min(picture.size))  # a strip gets no huge letters
    size = max(13, round(side / 36))
    lines = _legend(labels, classes)
    panel = _Panel(size, title, notes, lines, warning)
    canvas = Image.new("RGB", (picture.width + panel.width, max(picture.height, panel.height)), PANEL)
    canvas.paste(picture, (0, (canvas.height - picture.height) // 2))
    panel.draw(ImageDraw.Draw(canvas), picture.width)
    return canvas


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG that says who wrote it."""
    content = BytesIO()
    picture.save(content, "PNG")
    return sealed_png(content.getvalue())


def _tinted(image: UInt8, labels: UInt8, classes: Sequence[Mapping[str, Any]]) -> UInt8:
    colors = np.zeros((LABELS, 3), np.float32)
    opacity = np.zeros(LABELS, np.float32)
    for entry in classes[:LABELS]:
        colors[entry["index"]] = entry["color"]
        opacity[entry["index"]] = OPACITY
    # A lighter line inside each border keeps neighbours of similar colour apart.
    border = np.zeros(labels.shape, bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    tinted = np.empty_like(image)
    for top in range(0, len(image), ROWS):
        rows = slice(top, top + ROWS)
        share = opacity[labels[rows]][..., None]
        blended = image[rows] * (1 - share) + colors[labels[rows]] * share
        blended[border[rows]] = 0.6 * blended[border[rows]] + 0.4 * 255
        tinted[rows] = np.rint(blended)
    return tinted


def _enlarged(pixels: UInt8, factor: int) -> UInt8:
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _legend(
    labels: UInt8, classes: Sequence[Mapping[str, Any]]
) -> list[tuple[tuple[int, int, int], str, str]]:
    """Colour, name and share of the picture of each class in it, largest first."""
    counts = np.bincount(labels.ravel(), minlength=LABELS)
    present = sorted((e for e in classes if counts[e["index"]]), key=lambda e: -counts[e["index"]])
    rows = []
    for entry in present:
        percent = 100 * counts[entry["index"]] / labels.size
        shown = f"{percent:.1f} %" if percent >= 0.05 else "< 0.1 %"
        red, green, blue = entry["color"]
        rows.append(((red, green, blue), str(entry["name"]), shown))
    return rows


class _Panel:
    """The legend: measured first, because the canvas is made to fit it."""

    def __init__(
        self,
        size: int,
        title: str,
        notes: Sequence[str],
        rows: Sequence[tuple[tuple[int, int, int], str, str]],
        warning: str,
    ) -> None:
        self._font: Font = ImageFont.load_default(size)
        self._small: Font = ImageFont.load_default(max(12, round(0.85 * size)))
        self._title, self._notes, self._rows = title, notes, rows
        self._margin, self._line, self._swatch = size, round(1.6 * size), round(1.1 * size)
        name = max((self._length(row[1]) for row in rows), default=0)
        share = max((self._length(row[2]) for row in rows), default=0)
        inner = self._swatch + size // 2 + name + size + share
        inner = max([inner, self._length(title), *(self._length(note, self._small) for note in notes)])
        self.width = round(inner) + 2 * self._margin
        self._warning = self._wrapped(warning, inner)
        lines = bool(title) + len(rows)
        small_lines = len(notes) + len(self._warning)
        gaps = bool(title or notes) + bool(warning)
        self.height = (2 + gaps) * self._margin + lines * self._line + small_lines * self._small_line

    @property
    def _small_line(self) -> int:
        return round(0.85 * self._line)

    def _length(self, text: str, font: Font | None = None) -> float:
        return (font or self._font).getlength(text)

    def _wrapped(self, text: str, width: float) -> list[str]:
        lines: list[str] = []
        for word in text.split():
            if lines and self._length(f"{lines[-1]} {word}", self._small) <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def draw(self, draw: ImageDraw.ImageDraw, left: int) -> None:
        x, right, y = left + self._margin, left + self.width - self._margin, self._margin
        if self._title:
            draw.text((x, y + self._line / 2), self._title, INK, self._font, anchor="lm")
            y += self._line
        for note in self._notes:
            draw.text((x, y + self._small_line / 2), note, FAINT, self._small, anchor="lm")
            y += self._small_line
        y += self._margin * bool(self._title or self._notes)
        for color, name, share in self._rows:
            middle = y + self._line / 2
            top = middle - self._swatch / 2
            box = (x, top, x + self._swatch, top + self._swatch)
            draw.rounded_rectangle(box, self._swatch / 5, color, FAINT)
            draw.text((x + self._swatch + self._margin // 2, middle), name, INK, self._font, anchor="lm")
            draw.text((right, middle), share, FAINT, self._font, anchor="rm")
            y += self._line
        y += self._margin * bool(self._warning)
        for line in self._warning:
            draw.text((x, y + self._small_line / 2), line, WARNING, self._small, anchor="lm")
            y += self._small_line
