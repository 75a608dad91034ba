"""What the pages of reports are read with."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page holds; asserts that every element is closed where it must be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.tags, self.words = text, list[str](), list[str](), ""
        self.ids, self.links, self.rows = list[str](), list[str](), list[list[str]]()
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))
        assert {link.removeprefix("#") for link in self.links} <= set(self.ids)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            assert name not in ("src", "srcset", "action", "onload", "onclick", "onerror")
            assert "//" not in (value or "")
            self.ids += [value or ""] if name == "id" else []
            self.links += [value or ""] if name == "href" else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        """The only row that begins so."""
        (found,) = [row for row in self.rows if row[0] == first]
        return found
