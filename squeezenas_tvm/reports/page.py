"""The HTML of reports: elements, tables, heat maps, and the page around them. Text is always escaped.

A page needs nothing but itself: no script, no font, no picture from elsewhere.
"""

import html
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%)?")
NONE = "-"  # in a table: there is no such number


class Markup(str):
    """HTML. Every other string is text, and is escaped where it becomes part of HTML."""


def element(name: str, *children: str, **attributes: str) -> Markup:
    """``<name attributes>children</name>``; a trailing ``_`` of an attribute's name falls away."""
    words = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{words}>{join(children)}</{name}>")


def join(children: Collection[str]) -> Markup:
    """Text and HTML, one after the other."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(c, quote=False) for c in children))


def paragraph(*children: str) -> Markup:
    return element("p", *children)


def bullets(lines: Collection[str]) -> Markup:
    """A list; nothing where there are no lines."""
    return element("ul", *(element("li", line) for line in lines)) if lines else Markup()


def command(line: str) -> Markup:
    """A line of shell."""
    return element("pre", element("code", line))


def facts(pairs: Mapping[str, str]) -> Markup:
    """Names and what they are; those that are empty are left out."""
    rows = (element("dt", name) + element("dd", value) for name, value in pairs.items() if value)
    return element("dl", Markup("".join(rows)))


def bar(share: float, text: str) -> Markup:
    """Text over a bar that is ``share`` (0..1) of the cell's width."""
    return element("span", text, class_="bar", style=f"--v:{min(max(share, 0), 1):.3f}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table; columns of numbers stand to the right. It scrolls by itself where it is too wide."""
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    classes = [{"class_": "n"} if _is_numeric(column) else {} for column in columns]
    head = [element("th", name, scope="col", **kind) for name, kind in zip(header, classes, strict=True)]
    body = [
        element("tr", *(element("td", cell, **kind) for cell, kind in zip(row, classes, strict=True)))
        for row in rows
    ]
    return _scrolling(element("table", element("thead", element("tr", *head)), element("tbody", *body)))


def _is_numeric(column: Sequence[str]) -> bool:
    return all(cell in ("", NONE) or _NUMBER.fullmatch(cell) for cell in column)


@dataclass(frozen=True, slots=True)
class Heat:
    """A cell of a heat map.

    Attributes:
        text: its number.
        shade: 0 (pale) to 1; None leaves it blank.
        marked: gets a frame.
    """

    text: str
    shade: float | None = None
    marked: bool = False


def heat_map(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[Heat]]) -> Markup:
    """A table whose cells are shaded: name of the row -> a cell a column."""
    head = element("tr", *(element("th", name, scope="col") for name in (corner, *columns)))
    body = [
        element("tr", element("th", name, scope="row"), *(_heat_cell(cell) for cell in cells))
        for name, cells in rows.items()
    ]
    return _scrolling(element("table", element("thead", head), element("tbody", *body), class_="heat"))


def _heat_cell(cell: Heat) -> Markup:
    attributes = {} if cell.shade is None else {"style": f"--v:{cell.shade:.2f}"}
    return element("td", cell.text, **attributes, **({"class_": "on"} if cell.marked else {}))


def _scrolling(content: Markup) -> Markup:
    return element("div", content, class_="scroll", tabindex="0")


@dataclass(frozen=True, slots=True)
class PageSection:
    """A part of a page, under a heading of its own."""

    title: str
    content: Markup

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be said of a folder.

    Attributes:
        summary: one line under the title.
        document: the main numbers, as JSON can hold them.
    """

    title: str
    summary: str
    sections: Sequence[PageSection]
    document: Mapping[str, object]


def page(report: Report, origin: str) -> str:
    """The whole file.

    Args:
        origin: what made it, from what, when; stands at the end.
    """
    links = [element("a", section.title, href=f"#{section.anchor}") for section in report.sections]
    sections = [
        element("section", element("h2", section.title), section.content, id=section.anchor)
        for section in report.sections
    ]
    header = element("header", element("h1", report.title), paragraph(report.summary), element("nav", *links))
    body = element("body", header, element("main", *sections), element("footer", paragraph(origin)))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"{element('title', report.title)}\n<style>{_STYLE}</style>\n</head>\n{body}\n</html>\n"
    )


_STYLE = """
:root{--page:#fff;--ink:#1b2127;--faint:#5c6670;--line:#d5dae0;--heat:31 111 180;
--c1:#1f6fb4;--c2:#c8553d;--c3:#2f855a;--c4:#9aa5b1}
@media (prefers-color-scheme:dark){:root{--page:#14181d;--ink:#e4e8ec;--faint:#9aa5b1;--line:#38414a;
--heat:72 149 217;--c1:#5aa9ec;--c2:#f0886e;--c3:#5fc08d;--c4:#65717d}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:72rem;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums}
h1{margin:.2em 0;font-size:1.6rem;line-height:1.2;overflow-wrap:anywhere}
h2{margin:2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line);font-size:1.2rem}
h3{margin:1.2rem 0 .4rem;font-size:1rem}
p,li,dd{overflow-wrap:anywhere}
nav a{display:inline-block;margin-right:1rem}
a{color:var(--c1)}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.2rem 1rem;margin:.5rem 0}
dt,footer,figcaption{color:var(--faint)}
dd{margin:0}
pre{padding:.6rem;border:1px solid var(--line);border-radius:.3rem;
white-space:pre-wrap;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-size:.87rem}
th,td{padding:.2rem .5rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
thead th{vertical-align:bottom;color:var(--faint);font-weight:600}
.n{text-align:right}
.heat td{padding:.2rem .35rem;border:1px solid var(--page);text-align:right;
background:rgb(var(--heat)/calc(var(--v,0)*.6))}
.heat .on{outline:2px solid var(--c2);outline-offset:-2px;font-weight:700}
.bar{display:block;min-width:5.5rem;padding:0 .25rem;
background:linear-gradient(90deg,rgb(var(--heat)/.35) calc(var(--v)*100%),transparent 0)}
.charts{display:flex;flex-wrap:wrap;gap:1rem}
figure{flex:1 1 20rem;margin:0;min-width:0;max-width:36rem}
svg{display:block;width:100%;height:auto;font-size:11px;fill:var(--ink)}
svg .axis{stroke:var(--line);fill:none}
svg .limit{stroke:var(--faint);fill:none;stroke-dasharray:4 3}
svg .line{fill:none;stroke-width:1.8}
svg .error{fill:none;stroke-width:.8;opacity:.5}
.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}
svg .line,svg .error{stroke:var(--c)}
svg .dot{fill:var(--c)}
svg .ground{fill:var(--page)}
svg .box{fill:var(--page);stroke:var(--c);stroke-width:1.4}
.graph{max-width:23rem}
.graph svg{font-size:9px}
.drawing{max-width:none}
.drawing svg{min-width:52rem;font-size:9.5px}
.key{margin-right:1rem;white-space:nowrap}
.key::before{content:"";display:inline-block;width:.8em;height:.8em;margin-right:.35em;background:var(--c)}
@media print{nav{display:none}body{max-width:none;font-size:10px}table{font-size:8px}
.scroll{overflow:visible}th,td{white-space:normal}
h2,h3{break-after:avoid}tr,figure{break-inside:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
