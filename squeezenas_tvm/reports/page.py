"""The HTML of reports: elements, tables, heat maps, and the page around them. Text is always escaped.

A page needs nothing but itself: no script, no font, no picture from elsewhere. What it may do is said in it:
run the one script that is in it, by its sum, and load nothing. So what got into it as HTML would do nothing.
"""

import base64
import hashlib
import html
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
STYLE = (_HERE / "page.css").read_text(encoding="utf-8")
SCRIPT = (_HERE / "page.js").read_text(encoding="utf-8")
_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%)?")
_VOID = ("img",)
NONE = "-"  # in a table: there is no such number


class Markup(str):
    """HTML. Every other string is text, and is escaped where it becomes part of HTML."""


def element(name: str, *children: str, **attributes: str) -> Markup:
    """``<name attributes>children</name>``; a trailing ``_`` of an attribute's name falls away."""
    end = "" if name in _VOID else f"</{name}>"
    words = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{words}>{join(children)}{end}")


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


def shares(parts: Sequence[tuple[str, float]]) -> Markup:
    """A bar that is divided as its parts are, with what each is for those who do not see it.

    Args:
        parts: at most eight: what it is, and its amount.
    """
    total = sum(amount for _, amount in parts)
    said = ", ".join(f"{name} {amount / total:.1%}" for name, amount in parts) if total else "nothing"
    marks = [
        element("i", style=f"--v:{amount / total:.4f}", class_=f"c{style}", title=name)
        for style, (name, amount) in enumerate(parts, 1)
        if total and amount
    ]
    return element("div", *marks, class_="shares", role="img", **{"aria-label": said})


def folded(summary: str, *content: str) -> Markup:
    """What is shown when it is asked for, under a line that says what it is."""
    return element("details", element("summary", summary), *content)


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
        figures: what is read first: numbers, each with what it is.
    """

    title: str
    summary: str
    sections: Sequence[PageSection]
    document: Mapping[str, object]
    figures: Sequence[tuple[str, str]] = ()


def page(report: Report, origin: str, version: str = "") -> str:
    """The whole file.

    Args:
        origin: what made it, from what, when; stands at the end.
        version: of a page that is served, and asks whether there is a newer one.
    """
    links = [element("a", section.title, href=f"#{section.anchor}") for section in report.sections]
    sections = [
        element("section", element("h2", section.title), section.content, id=section.anchor)
        for section in report.sections
    ]
    top = [element("h1", report.title), paragraph(report.summary), _figures(report.figures)]
    header = element("header", *top, element("nav", *links))
    script = element("script", Markup(SCRIPT))
    served = {"data-version": version} if version else {}
    body = element(
        "body", header, element("main", *sections), element("footer", paragraph(origin)), script, **served
    )
    rules = f'<meta http-equiv="Content-Security-Policy" content="{allowed(served=bool(version))}">\n'
    rules += '<link rel="icon" href="data:,">\n' if version else ""  # else browsers ask for one
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'{rules}<meta name="color-scheme" content="light dark">\n'
        f"{element('title', report.title)}\n<style>{STYLE}</style>\n</head>\n{body}\n</html>\n"
    )


def allowed(*, served: bool) -> str:
    """What a page may do, for browsers: the Content-Security-Policy.

    Args:
        served: it may ask who served it for its version.
    """
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    asks = "; connect-src 'self'" if served else ""
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        f"base-uri 'none'; form-action 'none'{asks}"
    )


def _figures(figures: Sequence[tuple[str, str]]) -> Markup:
    tiles = [element("div", element("b", value), element("span", what)) for value, what in figures if value]
    return element("div", *tiles, class_="figures") if tiles else Markup()
