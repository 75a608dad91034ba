"""Show key points to people: the skeleton on the picture, beside it how sure each point is."""

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from squeezenas_tvm.bundles.images import UInt8
from squeezenas_tvm.bundles.key_points import to_size
from squeezenas_tvm.bundles.panel import Color, Legend, Panel, beside, letters

MIN_PICTURE_SIDE = 512  # smaller pictures are enlarged, or the legend would dwarf them

RIGHT, LEFT, MIDDLE = (255, 128, 40), (60, 170, 255), (250, 236, 120)
FINER = 3  # by which lines are drawn larger, and then made smaller, which smooths them
SURE = 0.3  # points below it are drawn as rings alone, and lines to them faintly
_OUTLINE = (18, 20, 24)


def draw_key_points(
    image: UInt8,
    points: Any,
    key_points: Mapping[str, Any],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    warning: str = "",
) -> Image.Image:
    """The skeleton on ``image`` (H, W, 3), and to its right the score of each point.

    Args:
        points: (N, 3): x and y in pixels of the image, score.
        key_points: ``names``, ``skeleton`` and ``mirrored`` of labels.json.
    """
    factor = -(-MIN_PICTURE_SIDE // max(image.shape[:2]))  # a whole one: pixels stay pixels
    height, width = image.shape[:2]
    picture = Image.fromarray(image.repeat(factor, axis=0).repeat(factor, axis=1))
    larger = to_size(points, (height, width), (height * factor, width * factor))
    picture = draw_skeleton(picture, larger, key_points)
    rows = zip(point_colors(key_points), key_points["names"], np.asarray(points)[:, 2], strict=True)
    size = letters(picture)
    legend = Legend(size, [(color, str(name), f"{score:.2f}") for color, name, score in rows])
    return beside(picture, Panel(size, title, notes, legend, warning))


def point_colors(key_points: Mapping[str, Any]) -> list[Color]:
    """Of each point: one for each side of what is mirrored, or hues in turn where nothing is."""
    count, mirrored = len(key_points["names"]), key_points.get("mirrored", [])
    if not mirrored:
        hues = (colorsys.hsv_to_rgb(place / count, 0.7, 1) for place in range(count))
        return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in hues]
    sides = {one: RIGHT for one, _ in mirrored} | {other: LEFT for _, other in mirrored}
    return [sides.get(place, MIDDLE) for place in range(count)]


def draw_skeleton(picture: Image.Image, points: Any, key_points: Mapping[str, Any]) -> Image.Image:
    """The picture with lines between points and a disc on each.

    Args:
        points: (N, 3): x, y in its pixels, score.
        key_points: ``names``, ``skeleton`` and ``mirrored`` of labels.json.
    """
    size = picture.width * FINER, picture.height * FINER
    layer = Image.new("RGBA", size, (*_OUTLINE, 0))
    pen, colors = ImageDraw.Draw(layer), point_colors(key_points)
    thick = max(2.0, _extent(points) / 60) * FINER
    at = [((x + 0.5) * FINER, (y + 0.5) * FINER) for x, y, _ in np.asarray(points).tolist()]
    sure = [bool(score >= SURE) for score in np.asarray(points)[:, 2]]
    lines = [(one, other) for one, other in key_points.get("skeleton", [])]
    for one, other in sorted(lines, key=lambda pair: sure[pair[0]] and sure[pair[1]]):
        opaque = 235 if sure[one] and sure[other] else 70
        color = colors[other] if colors[one] == MIDDLE else colors[one]
        pen.line([at[one], at[other]], (*_OUTLINE, opaque), round(1.7 * thick))
        pen.line([at[one], at[other]], (*color, opaque), round(thick))
    for (x, y), color, is_sure in zip(at, colors, sure, strict=True):
        for radius, fill in ((1.25 * thick, _OUTLINE), (0.95 * thick, color)):
            box = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(box, (*fill, 255 if is_sure else 0), (*fill, 235), max(1, round(thick / 4)))
    smooth = layer.resize(picture.size, Image.Resampling.LANCZOS)
    return Image.alpha_composite(picture.convert("RGBA"), smooth).convert("RGB")


def _extent(points: Sequence[Any]) -> float:
    """How large what the points are of is, pixels."""
    places = np.asarray(points)[:, :2]
    return float(np.ptp(places, axis=0).max())
