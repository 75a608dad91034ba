"""Small graphs that follow each other, with the operation on each edge, as inline SVG and in words."""

from search.spaces.drawing import Graphs, Point, SmallGraph, Wire
from squeezenas_tvm.reports.page import NONE, Markup, element, join

_COLUMN, _ROW, _LEFT, _TOP = 150, 84, 34, 26  # between points, and before the first
_RADIUS = 21
_SHORT, _LONG = 0.3, 0.47  # where an operation stands on edges that cross each other, from their sources
_LETTER, _HIGH = 5.4, 12  # of an operation's name


def graphs_picture(graphs: Graphs) -> Markup:
    """A figure for each."""
    return element("div", *map(_figure, graphs.graphs), class_="charts")


def graph_words(graphs: Graphs) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: a graph, and what is on each of its edges."""
    first = graphs.graphs[0]
    ends = [(first.points[wire.source].name, first.points[wire.target].name) for wire in first.wires]
    head = ["", *(f"{source} > {target}" for source, target in ends), "is"]
    rows = [[own.name, *(wire.operation or NONE for wire in own.wires), own.detail] for own in graphs.graphs]
    return head, rows


def _figure(graph: SmallGraph) -> Markup:
    width = 2 * _LEFT + _COLUMN * max(point.column for point in graph.points)
    height = 2 * _TOP + _ROW * max(point.row for point in graph.points)
    wires = [wire for wire in graph.wires if wire.operation]
    lines = [_line(graph, wire) for wire in wires]
    marks = [_operation(graph, wire) for wire in wires]
    svg = element(
        "svg",
        *(*lines, *map(_point, graph.points), *marks),
        viewBox=f"0 0 {width} {height}",
        role="img",
        **{"aria-label": f"{graph.name}: {', '.join(_told(graph, wire) for wire in wires) or 'nothing'}"},
    )
    caption = element("figcaption", f"{graph.name}: {graph.detail}")
    return element("figure", svg, caption, class_="graph")


def _told(graph: SmallGraph, wire: Wire) -> str:
    return f"{wire.operation} from {graph.points[wire.source].name} to {graph.points[wire.target].name}"


def _ends(graph: SmallGraph, wire: Wire) -> tuple[float, float, float, float]:
    source, target = graph.points[wire.source], graph.points[wire.target]
    return _x(source), _y(source), _x(target), _y(target)


def _line(graph: SmallGraph, wire: Wire) -> Markup:
    x1, y1, x2, y2 = _ends(graph, wire)
    return element("path", d=f"M{x1:g} {y1:g}L{x2:g} {y2:g}", class_="line c1")


def _operation(graph: SmallGraph, wire: Wire) -> Markup:
    """On its line, on the colour of the page."""
    x1, y1, x2, y2 = _ends(graph, wire)
    source, target = graph.points[wire.source], graph.points[wire.target]
    crosses = source.column == 0 and source.row != target.row
    share = (_SHORT if target.column == 1 else _LONG) if crosses else 0.5
    x, y = x1 + share * (x2 - x1), y1 + share * (y2 - y1)
    width = _LETTER * len(wire.operation)
    ground = {"x": f"{x - width / 2:g}", "y": f"{y - _HIGH / 2:g}", "width": f"{width:g}"}
    back = element("rect", class_="ground", height=f"{_HIGH}", **ground)
    return join([back, _text(x, y + 3.5, wire.operation)])


def _point(point: Point) -> Markup:
    frame = {"cx": f"{_x(point):g}", "cy": f"{_y(point):g}", "r": f"{_RADIUS}"}
    circle = element("circle", class_="box", **frame)
    style = "c1" if point.there else "c4"
    return element("g", circle, _text(_x(point), _y(point) + 3.5, point.name), class_=style)


def _text(x: float, y: float, text: str) -> Markup:
    return element("text", text, x=f"{x:g}", y=f"{y:g}", **{"text-anchor": "middle"})


def _x(point: Point) -> float:
    return _LEFT + _COLUMN * point.column


def _y(point: Point) -> float:
    return _TOP + _ROW * point.row
