"""What the pages of reports are read with."""

import base64
import hashlib
from html.parser import HTMLParser

from squeezenas_tvm.reports.page import SCRIPT

__all__ = ["SCRIPT", "Page"]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page holds; asserts that every element is closed where it must be, that it loads nothing, and
    that one script is in it, the reports' own, which alone it allows.

    Attributes:
        words: what is read; without what marks say when they are pointed at, which is in ``marks``.
        charts: names of the pictures that can be pointed at.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.tags, self.words = text, list[str](), list[str](), ""
        self.marks, self.charts = list[str](), list[str]()
        self.rules = self.script = ""
        self.ids, self.links, self.rows = list[str](), list[str](), list[list[str]]()
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))
        assert {link.removeprefix("#") for link in self.links} <= set(self.ids)
        assert self.tags.count("script") == 1
        assert self.script == SCRIPT
        digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
        assert self.rules.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        known = {name: value or "" for name, value in attributes}
        if known.get("http-equiv") == "Content-Security-Policy":
            self.rules = known.pop("content")
        if tag == "img":
            assert known.pop("src").startswith("data:image/jpeg;base64,")
            assert known["alt"]
        self.marks += [known["data-t"]] if "data-t" in known else []
        self.charts += [known["aria-label"]] if "data-frame" in known else []
        for name, value in known.items():
            assert name not in ("src", "srcset", "action", "onload", "onclick", "onerror")
            assert "//" not in value
            self.ids += [value] if name == "id" else []
            self.links += [value] if name == "href" else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.script += data
        elif "style" not in self.open:
            self.words += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        """The only row that begins so."""
        (found,) = [row for row in self.rows if row[0] == first]
        return found
