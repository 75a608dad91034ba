"""Strips: how long parts are, what they say, where shares lie."""

import re

import pytest

from squeezenas_tvm.reports.marks import GREY, STYLES
from squeezenas_tvm.reports.strips import Part, divided_bars, share_strip, styles_of


def test_the_largest_kinds_have_a_style_of_their_own_and_the_others_are_grey() -> None:
    amounts = {f"kind {index}": float(index) for index in range(10)}
    styles = styles_of(amounts)
    assert [styles[f"kind {index}"] for index in range(9, 2, -1)] == list(STYLES)
    assert {styles[f"kind {index}"] for index in range(3)} == {GREY}


def test_parts_follow_each_other_and_are_as_long_as_their_amounts() -> None:
    bars = {
        "one": [Part("a", 1.0, "<a>"), Part("b", 3.0, "b")],
        "two": [Part("none", 0.0, ""), Part("a", 2.0, "c")],
    }
    svg = divided_bars("bars", bars, {"a": 1, "b": 2}, x="ms")
    found = re.findall(
        r'<rect class="part c(\d)" x="([\d.]+)" y="(\d+)" width="([\d.]+)"[^>]*data-t="([^"]*)"', svg
    )
    assert [(style, told) for style, _, _, _, told in found] == [("1", "&lt;a&gt;"), ("2", "b"), ("1", "c")]
    (x0, w0), (x1, w1), (x2, w2) = ((float(x), float(w)) for _, x, _, w, _ in found)
    assert x0 == x2 == 14
    assert x1 == pytest.approx(x0 + w0, abs=0.02)
    assert (w1, w2) == (pytest.approx(3 * w0, abs=0.05), pytest.approx(2 * w0, abs=0.05))
    assert "all others" not in svg
    assert "bars: nothing yet" in divided_bars("bars", {"one": [Part("a", float("inf"), "")]}, {}, x="ms")


def test_shares_lie_above_each_other_and_fill_the_strip() -> None:
    shares = {"k3": [0.5, 0.25, 0.0], "k5": [0.5, 0.75, 1.0], "gone": [0.0, 0.0, 0.0]}
    svg = share_strip("position 0", shares, [1, 5, 9], {"k3": 1, "k5": 2}, "k5")
    areas = re.findall(
        r'<path d="M([^"]*)z" class="area c(\d)( dim)?" data-name="(\w+)" data-s="([^"]*)"', svg
    )
    assert [(name, told, bool(dim)) for _, _, dim, name, told in areas] == [
        ("k3", "50 25 0", True),
        ("k5", "50 75 100", False),
    ]
    corners = [[tuple(map(float, place.split())) for place in area[0].split("L")] for area in areas]
    assert corners[0][0][1] == pytest.approx((4 + 58) / 2)  # the first boundary, in the middle
    assert corners[0][:3] == corners[1][:2:-1]  # the upper end of one is the lower end of the next
    assert [y for _, y in corners[1][:3]] == [4, 4, 4]
    assert "● k5 100%" in svg
    assert 'data-steps="1 5 9"' in svg
    assert ">k3 " not in svg  # no share in the end


def test_the_option_that_won_is_always_named() -> None:
    shares = {name: [share] for name, share in (("a", 0.06), ("b", 0.04), ("c", 0.9))}
    svg = share_strip("position 0", shares, [1], {}, "b")
    assert "● b 4%" in svg
    assert ">c 90%" in svg
    assert ">a " not in svg


def test_an_epoch_alone_is_a_strip_too() -> None:
    svg = share_strip("position 0", {"a": [0.25], "b": [0.75]}, [1], {"a": 1}, "b")
    assert svg.count('class="area') == 2
    assert "● b 75%" in svg


def test_long_names_have_more_room_and_the_longest_are_cut() -> None:
    def right(*options: str) -> tuple[float, str]:
        svg = share_strip("cells.0", {option: [1 / len(options)] for option in options}, [1], {}, "")
        found = re.search(r'data-frame="14 4 ([\d.]+) 58"', svg)
        assert found is not None
        return float(found[1]), svg

    assert right("k3")[0] == right("k3", "k5")[0] == 290
    longer, svg = right("k3", "conv_2x_downup")
    assert 220 < longer < 290
    assert ">conv_2x_downup 50%<" in svg
    longest, svg = right("a name that is longer than any plot has room for")
    assert longest == 220
    assert re.search(r">a name that is lo\w*… 100%<", svg)
