"""Show a segmentation to people: the picture tinted by class, beside it a legend of the classes in it."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from squeezenas_tvm.bundles.images import sealed_png
from squeezenas_tvm.bundles.panel import Legend, Panel, beside, letters
from squeezenas_tvm.bundles.values import LABELS

UInt8 = npt.NDArray[np.uint8]

OPACITY = 0.55
ROWS = 256  # that are tinted at a time: real numbers take four times the memory
MIN_PICTURE_SIDE = 512  # smaller pictures are enlarged, or the legend would dwarf them


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
    picture = tinted(_enlarged(image, factor), _enlarged(labels, factor), classes)
    size = letters(picture)
    legend = Legend(size, _legend(labels, classes))
    return beside(picture, Panel(size, title, notes, legend, warning))


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG that says who wrote it."""
    content = BytesIO()
    picture.save(content, "PNG")
    return sealed_png(content.getvalue())


def tinted(image: UInt8, labels: UInt8, classes: Sequence[Mapping[str, Any]]) -> Image.Image:
    """``image`` (H, W, 3) in the colours of its class indices ``labels`` (H, W), with lines between classes.

    Args:
        classes: entries with ``index`` and ``color``. Other indices are left untinted.
    """
    colors = np.zeros((LABELS, 3), np.float32)
    opacity = np.zeros(LABELS, np.float32)
    for entry in classes[:LABELS]:
        colors[entry["index"]] = entry["color"]
        opacity[entry["index"]] = OPACITY
    # A lighter line inside each border keeps neighbours of similar colour apart.
    border = np.zeros(labels.shape, bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    mixed = np.empty_like(image)
    for top in range(0, len(image), ROWS):
        rows = slice(top, top + ROWS)
        share = opacity[labels[rows]][..., None]
        blended = image[rows] * (1 - share) + colors[labels[rows]] * share
        blended[border[rows]] = 0.6 * blended[border[rows]] + 0.4 * 255
        mixed[rows] = np.rint(blended)
    return Image.fromarray(mixed)


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
