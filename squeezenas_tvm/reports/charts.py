"""Charts of reports as inline SVG: lines, steps, and marks with intervals, over two axes.

Each is whole without a script. With the page's own, marks say what they are and pictures can be zoomed:
``data-frame`` and ``data-x``, ``data-y`` tell it where the axes lie, ``data-t`` what a mark says.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from squeezenas_tvm.reports.axes import Axis, axis_range, is_drawable, number_text
from squeezenas_tvm.reports.marks import dash, key, shape
from squeezenas_tvm.reports.page import Markup, element, join

WIDTH = 400
_HEIGHT = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 14, 10, 42
_LETTER = 6.2  # width of one in a label, pixels

Point = tuple[float, float]
Kind = Literal["line", "steps", "dots"]
_Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Series:
    """What is drawn in one style. Points with a coordinate that is no number are left out, and on a
    logarithmic axis those that are not above 0.

    Attributes:
        name: in the legend; without one it is not there.
        colour: 1 (blue), 2 (red), 3 (green), 4 (grey), 5 (orange), 6 (purple), 7 (sky) or 8 (ink); with it
            go the shape of marks and the dash of lines.
        radius: of marks, in pixels; ``radii`` of each.
        intervals: of each point, where its x may lie as well; of marks alone, and cut off at the frame.
        uprights: the same of its y.
        told: what each point says when it is pointed at; its coordinates where there is nothing.
        labels: what stands beside each mark.
        stretches: whether the axes reach so far that all of it is seen.
    """

    name: str
    points: Sequence[Point]
    kind: Kind = "line"
    colour: int = 1
    radius: float = 3.0
    intervals: Sequence[Point] = ()
    uprights: Sequence[Point] = ()
    radii: Sequence[float] = ()
    told: Sequence[str] = ()
    labels: Sequence[str] = ()
    stretches: bool = True

    def kept(self, indices: Sequence[int]) -> "Series":
        """The same with these points alone."""

        def some(own: Sequence[Any]) -> list[Any]:
            return [own[index] for index in indices] if own else []

        return replace(
            self,
            points=some(self.points),
            intervals=some(self.intervals),
            uprights=some(self.uprights),
            radii=some(self.radii),
            told=some(self.told),
            labels=some(self.labels),
        )


@dataclass(frozen=True)
class _Axes:
    """Of one chart, with the words beside them."""

    across: Axis
    up: Axis
    x: str
    y: str

    def holds(self, place: Point) -> bool:
        """Whether a pixel is inside the frame."""
        across, up = self.across, self.up
        return across.start <= place[0] <= across.end and up.end <= place[1] <= up.start


def chart(
    title: str,
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    limit: tuple[Literal["x", "y"], float, str] | None = None,
    diagonal: bool = False,
    logarithmic: str = "",
    wide: bool = False,
) -> Markup:
    """A figure with a legend.

    Args:
        title: what it shows, for those who do not see it.
        x, y: labels of the axes, with units.
        limit: axis, value and name of a dashed line across it.
        diagonal: draw where x and y are equal.
        logarithmic: the axes that are: ``x``, ``y`` or ``xy``.
        wide: as wide as the page.
    """
    drawn = [one for one in (_sound(one, logarithmic) for one in series) if one.points]
    limit = limit if limit and is_drawable(limit[1], log=limit[0] in logarithmic) else None
    axes = _axes(drawn, x, y, limit, logarithmic, equal=diagonal)
    if axes is None:
        return element("figure", element("figcaption", f"{title}: nothing yet"))
    across, up = axes.across, axes.up
    dashed = sum(one.kind != "dots" for one in drawn) > 1  # a line alone needs none
    lines = [_lines(one, axes, dashed=dashed) for one in drawn]
    if diagonal:
        lines.insert(0, _path([(across.start, up.start), (across.end, up.end)], "limit"))
    if limit is not None:
        lines.insert(0, _limit(axes, limit[0], limit[1]))
    dots = [one for one in drawn if one.kind == "dots"]
    taken = [box for one in dots for box in _boxes(one, axes)] if any(one.labels for one in dots) else []
    marks = [_dots(one, axes, taken) for one in dots]
    moved = element("g", *lines, class_="moved")
    plot = _frame_of(axes, moved, *marks)
    svg = element(
        "svg",
        *(element("g", *_frame(axes), class_="ticks"), *_words(axes), plot),
        viewBox=f"0 0 {WIDTH} {_HEIGHT}",
        role="img",
        tabindex="0",
        **{
            "aria-label": title,
            "data-frame": f"{across.start:g} {up.end:g} {across.end:g} {up.start:g}",
            "data-x": across.words(),
            "data-y": up.words(),
            "data-xname": x,
        },
    )
    names = [key(one.name, one.colour, line=one.kind != "dots", dashed=dashed) for one in drawn if one.name]
    names += [element("span", f"dashed: {limit[2]}")] if limit else []
    style = {"class_": "wide"} if wide else {}
    return element("figure", svg, element("figcaption", *names), **style)


def _sound(series: Series, logarithmic: str) -> Series:
    good = [
        index
        for index, point in enumerate(series.points)
        if all(is_drawable(value, log=axis in logarithmic) for value, axis in zip(point, "xy", strict=True))
    ]
    return series.kept(good)


def _axes(
    drawn: Sequence[Series],
    x: str,
    y: str,
    limit: tuple[Literal["x", "y"], float, str] | None,
    logarithmic: str,
    *,
    equal: bool,
) -> _Axes | None:
    """Axes that hold all points; None where there is none."""
    seen = [one for one in drawn if one.stretches]
    xs, ys = ([point[axis] for one in seen for point in one.points] for axis in (0, 1))
    if limit is not None:
        (xs if limit[0] == "x" else ys).append(limit[1])
    if equal:
        xs = ys = xs + ys
    if not ys or not xs:
        return None
    log_x, log_y = "x" in logarithmic, "y" in logarithmic
    xs = _with_ends(xs, [end for one in seen for pair in one.intervals for end in pair], log_x)
    ys = _with_ends(ys, [end for one in seen for pair in one.uprights for end in pair], log_y)
    across = Axis(*axis_range(xs, log=log_x), _LEFT, WIDTH - _RIGHT, log_x)
    up = Axis(*axis_range(ys, log=log_y), _HEIGHT - _BOTTOM, _TOP, log_y)
    if equal:
        low, high = min(across.low, up.low), max(across.high, up.high)
        across, up = replace(across, low=low, high=high), replace(up, low=low, high=high)
    return _Axes(across, up, x, y)


def _with_ends(values: Sequence[float], ends: Sequence[float], log: bool) -> list[float]:
    """And the ends of intervals, as far as they leave the values half of the axis."""
    low, high = min(values), max(values)
    if log:
        spread = math.sqrt(high / low)
        return [*values, *(min(max(end, low / spread), high * spread) for end in ends)]
    half = (high - low) / 2
    return [*values, *(min(max(end, low - half), high + half) for end in ends)]


def _frame(axes: _Axes) -> Iterable[Markup]:
    """Axes and ticks with their values."""
    across, up = axes.across, axes.up
    yield _path([(across.start, up.end), (across.start, up.start), (across.end, up.start)], "axis")
    for value in across.ticks():
        yield text(across.at(value), up.start + 15, number_text(value), "middle")
        yield _path([(across.at(value), up.start), (across.at(value), up.start + 4)], "axis")
    for value in up.ticks():
        yield text(across.start - 6, up.at(value) + 4, number_text(value), "end")
        yield _path([(across.start, up.at(value)), (across.end, up.at(value))], "axis")


def _words(axes: _Axes) -> Iterable[Markup]:
    """What the axes are."""
    across, up = axes.across, axes.up
    yield text((across.start + across.end) / 2, _HEIGHT - 6, axes.x, "middle")
    middle = (up.start + up.end) / 2
    yield text(12, middle, axes.y, "middle", transform=f"rotate(-90 12 {middle:.0f})")


def _frame_of(axes: _Axes, *children: Markup) -> Markup:
    """What is cut off at the frame while it is zoomed."""
    across, up = axes.across, axes.up
    wide, high = across.end - across.start, up.start - up.end
    place = {"x": f"{across.start:g}", "y": f"{up.end:g}", "width": f"{wide:g}", "height": f"{high:g}"}
    return element("svg", *children, viewBox=f"{across.start:g} {up.end:g} {wide:g} {high:g}", **place)


def _limit(axes: _Axes, axis: str, value: float) -> Markup:
    across, up = axes.across, axes.up
    if axis == "x":
        return _path([(across.at(value), up.start), (across.at(value), up.end)], "limit")
    return _path([(across.start, up.at(value)), (across.end, up.at(value))], "limit")


def _lines(series: Series, axes: _Axes, *, dashed: bool) -> Markup:
    """A series' line, or the intervals of its marks."""
    across, up = axes.across, axes.up
    places = [(across.at(x), up.at(y)) for x, y in series.points]
    group = f"c{series.colour}"
    if series.kind == "dots":
        bars = [
            f"M{across.inside(low):.1f} {y:.1f}H{across.inside(high):.1f}"
            for (low, high), (_, y) in zip(series.intervals, places, strict=False)
        ]
        bars += [
            f"M{x:.1f} {up.inside(low):.1f}V{up.inside(high):.1f}"
            for (low, high), (x, _) in zip(series.uprights, places, strict=False)
        ]
        path = element("path", d="".join(bars), class_="error")
        return element("g", path, class_=group) if bars else Markup()
    told = dash(series.colour) if dashed else {}
    if series.name:  # what has none is told by its marks
        told |= {
            "data-name": series.name,
            "data-p": " ".join(f"{number_text(x)},{y:.5g}" for x, y in series.points),
            "data-at": " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        }
    if series.kind == "steps":
        corners = [(after[0], before[1]) for before, after in pairwise(places)]
        places = [place for pair in zip(places, [*corners, places[-1]], strict=True) for place in pair]
    return element("g", _path(places, "line", **told), class_=group)


def _boxes(series: Series, axes: _Axes) -> Iterable[_Box]:
    """Where its marks are."""
    for index, (x, y) in enumerate(series.points):
        radius, (left, top) = _radius(series, index), (axes.across.at(x), axes.up.at(y))
        yield left - radius, top - radius, left + radius, top + radius


def _radius(series: Series, index: int) -> float:
    return series.radii[index] if series.radii else series.radius


def _dots(series: Series, axes: _Axes, taken: list[_Box]) -> Markup:
    """Args: taken: where marks and labels are already; labels that find no room between are left out."""
    marks, labels, outlines = [], [], dict[float, str]()
    for index, (x, y) in enumerate(series.points):
        radius = _radius(series, index)
        outline = outlines.setdefault(radius, shape(series.colour, radius))
        place = axes.across.at(x), axes.up.at(y)
        said = series.told[index] if series.told else _coordinates(series.name, (x, y), axes)
        at = f"translate({place[0]:.1f} {place[1]:.1f})"
        marks.append(element("path", d=outline, class_="dot", transform=at, **{"data-t": said}))
        name = series.labels[index] if series.labels else ""
        if name and axes.holds(place):
            labels.append(_label(place, name, radius, taken))
    return element("g", *marks, *labels, class_=f"c{series.colour}")


def _coordinates(name: str, point: Point, axes: _Axes) -> str:
    lines = [name] if name else []
    return "\n".join([*lines, f"{axes.x}: {point[0]:.4g}", f"{axes.y}: {point[1]:.4g}"])


def _label(place: Point, name: str, radius: float, taken: list[_Box]) -> Markup:
    """Beside its mark, where nothing is yet; nothing where there is no such place."""
    (x, y), wide = place, _LETTER * len(name)
    for down in (3.5, -6.0, 13.0):
        for right in (True, False):
            start = x + radius + 3 if right else x - radius - 3 - wide
            box = (start, y + down - 9, start + wide, y + down + 2)
            inside = start >= _LEFT and box[2] <= WIDTH
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                words = {"x": f"{start - x if right else -radius - 3:.1f}", "y": f"{down:g}"}
                words |= {"text-anchor": "start" if right else "end", "class_": "label"}
                return element("text", name, transform=f"translate({x:.1f} {y:.1f})", **words)
    return Markup()


def _meet(one: _Box, other: _Box) -> bool:
    apart = one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
    return not apart


def _path(places: Sequence[Point], kind: str, **more: str) -> Markup:
    d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return element("path", d=d, class_=kind, **more)


def text(x: float, y: float, words: str, anchor: str, **more: str) -> Markup:
    """Words in a picture."""
    return element("text", words, x=f"{x:.1f}", y=f"{y:.1f}", **{"text-anchor": anchor, **more})


def row(charts: Iterable[Markup]) -> Markup:
    """Charts side by side, as far as there is room."""
    return element("div", join(list(charts)), class_="charts")
