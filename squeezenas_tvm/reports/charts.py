"""Charts of reports as inline SVG: lines, steps, and dots with intervals, over two linear axes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from squeezenas_tvm.reports.page import Markup, element, join

_WIDTH, _HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 8, 40
_TICKS = 5  # about so many on an axis

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """What is drawn in one colour. Points with a coordinate that is no number are left out.

    Attributes:
        name: in the legend; without one it is not there.
        colour: 1 (blue), 2 (red), 3 (green) or 4 (grey).
        radius: of dots, in pixels.
        intervals: of each point, where its x may lie as well; of dots alone, and cut off at the frame.
    """

    name: str
    points: Sequence[Point]
    kind: Literal["line", "steps", "dots"] = "line"
    colour: int = 1
    radius: float = 3.0
    intervals: Sequence[Point] = ()


@dataclass(frozen=True)
class _Axis:
    """Values ``low`` to ``high`` lie at pixels ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def inside(self, value: float) -> float:
        """Its place, or the end of the axis that it lies beyond."""
        return self.at(min(max(value, self.low), self.high))

    def ticks(self) -> list[float]:
        """Round values, in steps of 1, 2 or 5 times a power of ten."""
        step = _round_step((self.high - self.low) / _TICKS)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def chart(
    title: str,
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    limit: tuple[Literal["x", "y"], float, str] | None = None,
    diagonal: bool = False,
) -> Markup:
    """A figure with a legend.

    Args:
        title: what it shows, for those who do not see it.
        x, y: labels of the axes, with units.
        limit: axis, value and name of a dashed line across it.
        diagonal: draw where x and y are equal.
    """
    drawn = [one for one in map(_finite, series) if one.points]
    xs = [value for one in drawn for value, _ in one.points]
    ys = [value for one in drawn for _, value in one.points]
    if limit is not None:
        (xs if limit[0] == "x" else ys).append(limit[1])
    if diagonal:
        xs = ys = xs + ys
    if not ys or not xs:
        return element("figure", element("figcaption", f"{title}: nothing yet"))
    ends = [end for one in drawn for interval in one.intervals for end in interval]
    across = _Axis(*_range(_with_ends(xs, ends)), _LEFT, _WIDTH - _RIGHT)
    up = _Axis(*_range(ys), _HEIGHT - _BOTTOM, _TOP)
    marks = [*_frame(across, up, x, y)]
    if diagonal:
        marks.append(_path([(across.start, up.start), (across.end, up.end)], "limit"))
    if limit is not None:
        marks.append(_limit(across, up, limit[0], limit[1]))
    marks += [_marks(one, across, up) for one in drawn]
    svg = element("svg", *marks, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", **{"aria-label": title})
    names = [element("span", one.name, class_=f"key c{one.colour}") for one in drawn if one.name]
    names += [element("span", f"dashed: {limit[2]}")] if limit else []
    return element("figure", svg, element("figcaption", *names))


def _finite(series: Series) -> Series:
    kept = [i for i, point in enumerate(series.points) if all(map(math.isfinite, point))]
    intervals = [series.intervals[i] for i in kept] if series.intervals else ()
    points = [series.points[i] for i in kept]
    return Series(series.name, points, series.kind, series.colour, series.radius, intervals)


def _with_ends(values: Sequence[float], ends: Sequence[float]) -> list[float]:
    """And the ends of intervals, as far as they leave the values half of the axis."""
    spread = (max(values) - min(values)) / 2
    return [*values, *(min(max(end, min(values) - spread), max(values) + spread) for end in ends)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """With a margin; from 0 where that is near."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10
    margin = (high - low) / 20
    starts_at_zero = 0 <= low < (high - low) / 2
    return (0.0 if starts_at_zero else low - margin), high + margin


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _frame(across: _Axis, up: _Axis, x: str, y: str) -> Iterable[Markup]:
    """Axes, ticks with their values, labels."""
    yield _path([(across.start, up.end), (across.start, up.start), (across.end, up.start)], "axis")
    for value in across.ticks():
        yield _text(across.at(value), up.start + 15, f"{value:.6g}", "middle")
        yield _path([(across.at(value), up.start), (across.at(value), up.start + 4)], "axis")
    for value in up.ticks():
        yield _text(across.start - 6, up.at(value) + 4, f"{value:.6g}", "end")
        yield _path([(across.start, up.at(value)), (across.end, up.at(value))], "axis")
    yield _text((across.start + across.end) / 2, _HEIGHT - 6, x, "middle")
    middle = (up.start + up.end) / 2
    yield _text(11, middle, y, "middle", transform=f"rotate(-90 11 {middle:.0f})")


def _limit(across: _Axis, up: _Axis, axis: str, value: float) -> Markup:
    if axis == "x":
        return _path([(across.at(value), up.start), (across.at(value), up.end)], "limit")
    return _path([(across.start, up.at(value)), (across.end, up.at(value))], "limit")


def _marks(series: Series, across: _Axis, up: _Axis) -> Markup:
    places = [(across.at(x), up.at(y)) for x, y in series.points]
    if series.kind != "dots":
        if series.kind == "steps":
            corners = [(after[0], before[1]) for before, after in pairwise(places)]
            places = [place for pair in zip(places, [*corners, places[-1]], strict=True) for place in pair]
        return element("g", _path(places, "line"), class_=f"c{series.colour}")
    dots = [
        element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{series.radius:g}", class_="dot")
        for x, y in places
    ]
    if series.intervals:
        ends = zip(series.intervals, places, strict=True)
        bars = "".join(
            f"M{across.inside(low):.1f} {y:.1f}H{across.inside(high):.1f}" for (low, high), (_, y) in ends
        )
        dots.insert(0, element("path", d=bars, class_="error"))
    return element("g", *dots, class_=f"c{series.colour}")


def _path(places: Sequence[Point], kind: str) -> Markup:
    return element("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places), class_=kind)


def _text(x: float, y: float, text: str, anchor: str, **more: str) -> Markup:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, **more}
    return element("text", text, **place)


def row(charts: Iterable[Markup]) -> Markup:
    """Charts side by side, as far as there is room."""
    return element("div", join(list(charts)), class_="charts")
