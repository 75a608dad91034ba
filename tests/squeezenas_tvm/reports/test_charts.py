"""Charts: where points lie, which ticks the axes have, what is left out."""

import re
from typing import get_args

import pytest

from squeezenas_tvm.reports.charts import Kind, Series, chart
from squeezenas_tvm.reports.marks import STYLES


def dots(svg: str) -> list[tuple[float, float]]:
    found = re.findall(r'class="dot" transform="translate\(([\d.]+) ([\d.]+)\)"', svg)
    return [(float(x), float(y)) for x, y in found]


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
    assert x1 < float(long[1]) <= 400
    assert x1 - x0 > 400 / 4  # the points keep their place


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
    assert 60 < x < 390
    assert 20 < y < 200
    assert "dashed: budget" in svg


def test_on_logarithmic_axes_equal_factors_are_equally_long() -> None:
    points = [(0.01, 1), (0.1, 10), (10, 1000), (0, 5), (5, -1)]
    svg = chart("c", [Series("s", points, "dots")], x="ms", y="%", logarithmic="xy")
    (x0, y0), (x1, y1), (x2, y2) = dots(svg)  # what has no logarithm is left out
    assert x2 - x1 == pytest.approx(2 * (x1 - x0), abs=0.3)
    assert y1 - y2 == pytest.approx(2 * (y0 - y1), abs=0.3)
    assert ticks(svg, "middle") == [0.01, 0.1, 1, 10]
    assert ticks(svg, "end") == [1, 10, 100, 1000]
    short = chart("c", [Series("s", [(3, 1), (40, 2)], "dots")], x="ms", y="%", logarithmic="x")
    assert ticks(short, "middle") == [5, 10, 20]


def test_upright_intervals_end_at_the_frame_too() -> None:
    series = Series("s", [(4, 1), (6, 2)], "dots", uprights=[(0.9, 1.1), (0, 600)])
    svg = chart("c", [series], x="ms", y="%")
    short, long = ([float(x) for x in own] for own in re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", svg))
    (_, y0), (_, y1) = dots(svg)
    assert short[0] > y0 > short[1] > y1 > long[1] >= 0


def test_marks_say_what_was_given_and_else_where_they_are() -> None:
    given = [Series("s", [(1, 2)], "dots", told=["<b>&"]), Series("t", [(1.5, 2)], "dots")]
    svg = chart("c", given, x="ms", y="%")
    assert re.findall(r'data-t="([^"]*)"', svg) == ["&lt;b&gt;&amp;", "t\nms: 1.5\n%: 2"]


def test_a_line_tells_all_its_points() -> None:
    svg = chart("c", [Series("loss", [(0, 1.25), (1, float("nan")), (2, 1e-7)])], x="epoch", y="loss")
    assert re.findall(r'data-p="([^"]*)"', svg) == ["0,1.25 2,1e-07"]
    (places,) = re.findall(r'data-at="([^"]*)"', svg)
    (path,) = re.findall(r'<path d="M([^"]*)" class="line" data-name', svg)
    assert places.replace(",", " ").split() == path.replace("L", " ").split()


def test_labels_stand_beside_each_other_or_not_at_all() -> None:
    near = [(1.0 + 0.0001 * index, 1.0) for index in range(20)]
    series = Series("s", [*near, (2.0, 2.0)], "dots", labels=["a name"] * 20 + ["another"])
    svg = chart("c", [series], x="x", y="y")
    written = svg.count(">a name</text>")
    assert 1 <= written <= 6
    assert svg.count(">another</text>") == 1


def test_a_label_hides_no_mark() -> None:
    """Of another series, right beside it: the label goes to the other side."""
    one = Series("one", [(1.0, 1.0), (0.0, 0.0), (2.0, 2.0)], "dots", labels=["a name", "", ""])
    beside = Series("other", [(1.1, 1.0), (2.0, 2.0)], "dots", 2)
    (anchor,) = re.findall(
        r'text-anchor="(\w+)" class="label">a name', chart("c", [one, beside], x="x", y="y")
    )
    assert anchor == "end"
    (anchor,) = re.findall(r'text-anchor="(\w+)" class="label">a name', chart("c", [one], x="x", y="y"))
    assert anchor == "start"
    around = [(1 + x, 1 + y) for x in (-0.25, 0.25) for y in (-0.1, 0, 0.1)]
    among = Series("other", [*around, (2.0, 2.0)], "dots", 2)
    assert ">a name<" not in chart("c", [one, among], x="x", y="y")


def test_series_differ_by_more_than_their_colour() -> None:
    for kind in get_args(Kind):
        own = [Series("s", [(1, 1), (2, 2)], kind, style) for style in STYLES]
        svg = chart("c", own, x="x", y="y")
        marks = re.findall(r'<path d="([^"]*)" class="dot" transform', svg)
        lines = re.findall(r'class="line"( stroke-dasharray="[^"]*")? data-name', svg)
        assert len(set(marks or lines)) == len(STYLES)
        alone = chart("c", own[1:2], x="x", y="y")
        assert "dasharray" not in alone
