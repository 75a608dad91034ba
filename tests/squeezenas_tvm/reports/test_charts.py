"""Charts: where points lie, which ticks the axes have, what is left out."""

import re

import pytest

from squeezenas_tvm.reports.charts import Series, chart


def dots(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]


def ticks(svg: str, anchor: str) -> list[float]:
    return [float(text) for text in re.findall(rf'text-anchor="{anchor}">(-?[\d.]+)</text>', svg)]


def test_points_lie_on_linear_axes_with_round_ticks() -> None:
    svg = chart("c", [Series("s", [(0, 10), (5, 20), (10, 40)], "dots")], x="ms", y="%")
    (x0, y0), (x1, y1), (x2, y2) = dots(svg)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y2 == pytest.approx(2 * (y0 - y1), abs=0.3)  # upwards in a picture is less
    assert ticks(svg, "middle") == [0, 5, 10]
    assert ticks(svg, "end") == [0, 10, 20, 30, 40]


def test_long_intervals_end_at_the_frame() -> None:
    series = Series("s", [(4, 1), (6, 2)], "dots", intervals=[(3.9, 4.1), (1, 600)])
    svg = chart("c", [series], x="ms", y="%")
    (short, long) = re.findall(r"M([\d.]+) [\d.]+H([\d.]+)", svg)
    (x0, _), (x1, _) = dots(svg)
    assert float(short[0]) < x0 < float(short[1]) < x1
    assert x1 < float(long[1]) <= 460
    assert x1 - x0 > 460 / 4  # the points keep their place


def test_steps_hold_until_the_next_point() -> None:
    svg = chart("c", [Series("", [(0, 0), (1, 1)], "steps")], x="x", y="y")
    (path,) = re.findall(r'<path d="M([^"]*)" class="line">', svg)
    corners = [tuple(map(float, place.split())) for place in path.split("L")]
    assert corners[0][1] == corners[1][1]
    assert corners[1][0] == corners[2][0]
    assert 'class="key' not in svg


def test_what_is_no_number_is_left_out() -> None:
    nan = float("nan")
    assert len(dots(chart("c", [Series("s", [(1, 2), (2, nan), (3, 3)], "dots")], x="x", y="y"))) == 2
    assert "c: nothing yet" in chart("c", [Series("s", [(1, nan)])], x="x", y="y")


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0, 1e-9, 1e12])
def test_one_value_alone_has_room_around_it(value: float) -> None:
    svg = chart("c", [Series("s", [(value, value)], "dots")], x="x", y="y", limit=("y", value, "budget"))
    ((x, y),) = dots(svg)
    assert 60 < x < 440
    assert 20 < y < 200
    assert "dashed: budget" in svg
