"""Marks of charts: each series has a colour, a shape and a dash of its own, so that no colour is needed."""

import math
from collections.abc import Mapping, Sequence

from squeezenas_tvm.reports.page import Markup, element

GREY = 4  # of what stands behind the rest
STYLES = (1, 2, 3, 5, 6, 7, 8)  # of series beside each other, the first ones first
_DASHES: Mapping[int, str] = {2: "7 3", 3: "2 3", 5: "9 3 2 3", 6: "4 2 1 2", 7: "12 4", 8: "1 3 6 3"}


def shape(style: int, radius: float) -> str:
    """The outline of a mark around (0, 0), as SVG draws paths.

    Args:
        style: 1 to 8.
        radius: half of its width, in pixels.
    """
    r = radius
    if style in (1, GREY):
        return f"M{-r:.3g} 0a{r:.3g} {r:.3g} 0 1 0 {2 * r:.3g} 0a{r:.3g} {r:.3g} 0 1 0 {-2 * r:.3g} 0"
    if style == 2:
        half = 0.9 * r
        return f"M{-half:.3g} {-half:.3g}h{2 * half:.3g}v{2 * half:.3g}h{-2 * half:.3g}z"
    if style in (6, 8):
        return _cross(r, turned=style == 6)
    corners = {3: 3, 5: 4, 7: 5}[style]
    angles = [2 * math.pi * index / corners for index in range(corners)]
    return _closed([(1.25 * r * math.sin(angle), -1.25 * r * math.cos(angle)) for angle in angles])


def dash(style: int) -> dict[str, str]:
    """The attribute that tells its lines from others'; none for solid ones."""
    return {"stroke-dasharray": _DASHES[style]} if style in _DASHES else {}


def key(name: str, style: int, *, line: bool, dashed: bool) -> Markup:
    """An entry of a legend: the mark, or a piece of the line, and a name."""
    if line:
        mark = element("path", d="M-5 0H5", class_="line", **(dash(style) if dashed else {}))
    else:
        mark = element("path", d=shape(style, 3.4), class_="dot")
    picture = element("svg", mark, viewBox="-5 -5 10 10", **{"aria-hidden": "true"})
    return element("span", picture, name, class_=f"key marked c{style}")


def _cross(radius: float, *, turned: bool) -> str:
    """Of two bars, upright or turned by an eighth."""
    r, w = 1.15 * radius, 0.4 * radius
    steps = [(w, -r), (w, -w), (r, -w), (r, w), (w, w), (w, r)]
    steps += [(-x, -y) for x, y in steps]
    if turned:
        half = math.sqrt(0.5)
        steps = [(half * (x - y), half * (x + y)) for x, y in steps]
    return _closed(steps)


def _closed(places: Sequence[tuple[float, float]]) -> str:
    return f"M{'L'.join(f'{x:.1f} {y:.1f}' for x, y in places)}z".replace("-0.0", "0").replace(".0", "")
