"""The picture of a network of branches: layers from left to right, what is shared once, as inline SVG."""

from collections.abc import Sequence
from itertools import pairwise

from search.spaces.drawing import Box, Drawing, Graphs
from squeezenas_tvm.reports.graphs import graph_words, graphs_picture
from squeezenas_tvm.reports.page import NONE, Markup, element, join, table

_BOX, _GAP, _HIGH = 66, 16, 42  # widths of a box and between boxes, height of a box
_LANE, _LEFT, _TOP, _RIGHT = 54, 58, 20, 52
_STYLES = ("c1", "c2")  # of branches: blue and solid, red and dashed
_SHARED = "c4"


def drawn(drawing: Drawing | Graphs) -> Markup:
    """The picture and its words."""
    shown = graphs_picture(drawing) if isinstance(drawing, Graphs) else picture(drawing)
    return join([shown, table(*words(drawing))])


def words(drawing: Drawing | Graphs) -> tuple[list[str], list[list[str]]]:
    """The same in words: head and rows of a table."""
    if isinstance(drawing, Graphs):
        return graph_words(drawing)
    return ["layer", *drawing.branches], cell_rows(drawing)


def picture(drawing: Drawing) -> Markup:
    """A figure: rows of the drawing from above, each with a lane for what is shared or of the first branch,
    and one for what is of the others alone."""
    width = _LEFT + drawing.columns * (_BOX + _GAP) + _RIGHT
    height = _TOP + 2 * _LANE * (len(drawing.rows) - 1) + _LANE
    height = max(height, *(int(_y(box)) + _LANE for box in drawing.boxes))
    marks = [_text(_x(column) + _BOX / 2, 12, str(column)) for column in range(drawing.columns)]
    for row, name in enumerate(drawing.rows):
        line = _TOP + 2 * _LANE * row
        marks.append(element("path", d=f"M0 {line}H{width}", class_="axis"))
        marks.append(_text(4, line + _LANE, name, "start"))
    for branch, style in enumerate(_STYLES[: len(drawing.branches)]):
        marks.append(_way(drawing.way(branch), branch, style, width))
    marks += [_box(box) for box in drawing.boxes]
    named = " and ".join(drawing.branches)
    title = f"layers 0 to {drawing.columns - 1} by scale, branches {named}"
    svg = element("svg", *marks, viewBox=f"0 0 {width} {height}", role="img", **{"aria-label": title})
    dashes = ("solid", "dashed")
    keys = [
        element("span", f"{name} ({dashed})", class_=f"key {style}")
        for name, dashed, style in zip(drawing.branches, dashes, _STYLES, strict=True)
    ]
    keys.append(element("span", "shared by both (double frame)", class_=f"key {_SHARED}"))
    scrolled = element("div", svg, class_="scroll", tabindex="0")
    return element("figure", scrolled, element("figcaption", *keys), class_="drawing")


def cell_rows(drawing: Drawing) -> list[list[str]]:
    """Layer by layer: what each branch runs there, its channels, its scale; of what is shared, a word."""
    rows = []
    for column in range(drawing.columns):
        own = [
            [box for box in drawing.way(branch) if box.column == column]
            for branch, _ in enumerate(drawing.branches)
        ]
        rows.append([str(column), *(_words(boxes, drawing) for boxes in own)])
    return rows


def _words(boxes: Sequence[Box], drawing: Drawing) -> str:
    if not boxes:
        return NONE
    (box,) = boxes
    ends = drawing.rows[box.row] + (f" to {drawing.rows[box.row + 1]}" if box.down else "")
    shared = ", shared" if len(box.branches) > 1 else ""
    return f"{'_'.join(box.label)} {box.detail} at {ends}{shared}"


def _x(column: int) -> float:
    return _LEFT + column * (_BOX + _GAP)


def _y(box: Box) -> float:
    lane = 0 if 0 in box.branches else 1
    return _TOP + _LANE * (2 * box.row + lane) + (_LANE - _HIGH) / 2


def _way(boxes: Sequence[Box], branch: int, style: str, width: int) -> Markup:
    """From the left to the right: along a lane, and in the gaps before boxes to another one."""
    aside = 4 * branch  # where both go, they are beside each other
    turn = _GAP / 2 - 2 + aside
    (first, *_), last = boxes, boxes[-1]
    path = [f"M{_LEFT - _GAP} {_middle(first) + aside}H{_x(first.column)}"]
    for one, other in pairwise(boxes):
        start, end = _middle(one) + aside, _middle(other) + aside
        corner = _x(one.column) + _BOX + turn
        path.append(f"M{_x(one.column) + _BOX} {start}H{corner}V{end}H{_x(other.column)}")
    path.append(f"M{_x(last.column) + _BOX} {_middle(last) + aside}H{width - _RIGHT + turn}")
    line = element("path", d="".join(path), class_="line", **_dashed(branch))
    heads = _text(width - _RIGHT + turn + 4, _middle(last) + aside + 4, "heads", "start")
    return element("g", line, heads, class_=style)


def _box(box: Box) -> Markup:
    x, y = _x(box.column), _y(box)
    shared = len(box.branches) > 1
    frame = {"x": f"{x:g}", "y": f"{y:g}", "width": f"{_BOX}", "height": f"{_HIGH}", "rx": "4"}
    marks = [element("rect", class_="box", **frame, **({} if shared else _dashed(box.branches[0])))]
    if shared:
        inner = {"x": f"{x + 3:g}", "y": f"{y + 3:g}", "width": f"{_BOX - 6}", "height": f"{_HIGH - 6}"}
        marks.append(element("rect", class_="box", rx="2", **inner))
    lines = [*box.label, f"{box.detail} ↓" if box.down else box.detail]
    first = y + _HIGH / 2 + 3.5 - 5.5 * (len(lines) - 1)
    marks += [_text(x + _BOX / 2, first + 11 * place, line) for place, line in enumerate(lines)]
    return element("g", *marks, class_=_SHARED if shared else _STYLES[box.branches[0]])


def _dashed(branch: int) -> dict[str, str]:
    return {"stroke-dasharray": "5 3"} if branch else {}


def _middle(box: Box) -> float:
    return _y(box) + _HIGH / 2


def _text(x: float, y: float, text: str, anchor: str = "middle") -> Markup:
    return element("text", text, x=f"{x:g}", y=f"{y:g}", **{"text-anchor": anchor})
