"""Every link of the manual leads somewhere in a checkout, and what it names of the repository is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from markdown.extensions.toc import slugify

from ..helpers import ROOT
from .hooks import hook
from .pages import DOCS, PAGES, name_of, read

LINKS = hook("links")
_HEADING = re.compile(r"^#{1,6} (.*)$", re.MULTILINE)
_FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_LINK_TEXT = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_FOLDERS = "targets|cost_models|search|squeezenas_tvm|benchmarks|tests|docs"
_OURS = re.compile(rf"`((?:{_FOLDERS})/[a-z0-9_./-]+\.[a-z]+)`")


def links(text: str) -> list[str]:
    found: list[str] = []
    LINKS.with_links(text, lambda link: found.append(link) or link)
    return found


def anchors(page: Path) -> set[str]:
    """Of its headings, as Markdown spells them."""
    headings = _HEADING.findall(_FENCED.sub("", read(page)))
    return {slugify(_LINK_TEXT.sub(r"\1", heading), "-") for heading in headings}


def relative(page: Path) -> Iterator[tuple[str, str]]:
    """Path and anchor of the links that stay in the repository."""
    for link in links(read(page)):
        if not re.match(r"[a-z][a-z0-9+.-]*:", link):
            path, _, anchor = link.partition("#")
            yield path, anchor


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in relative(page):
        there = (page.parent / path).resolve() if path else page
        assert there.is_relative_to(ROOT), path
        assert there.is_file(), path
        if anchor:
            assert there.suffix == ".md", path
            assert anchor in anchors(there), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_it_names_are_there(page: Path) -> None:
    missing = [path for path in _OURS.findall(read(page)) if not (ROOT / path).exists()]
    assert missing == []


def test_what_stands_in_code_is_no_link() -> None:
    text = "[a](b.md) `[c](d.md)`\n```sh\n[e](f.md)\n```\n![g](h.png) [i](https://j.org) ``x`[k](l.md)``"
    assert links(text) == ["b.md", "h.png", "https://j.org"]
    assert LINKS.with_links("[a](b.md#c)", str.upper) == "[a](B.MD#C)"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("../CONTRIBUTING.md#gates", "contributing.md#gates"),
        ("data.md", "data.md"),
        ("#here", "#here"),
        ("https://tvm.apache.org", "https://tvm.apache.org"),
        ("../search/data/list.txt", "files/search/data/list.txt"),
    ],
)
def test_a_link_between_files_becomes_one_between_pages(link: str, expected: str) -> None:
    def on_site(path: str) -> str:
        if path == "CONTRIBUTING.md":
            return "contributing.md"
        return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"

    assert LINKS.relinked(link, "docs/page.md", "page.md", on_site) == expected


def test_every_page_is_in_the_navigation() -> None:
    config = yaml.safe_load(read("mkdocs.yml"))
    elsewhere = config["extra"]["elsewhere"]
    named = {page for page in _leaves(config["nav"]) if not page.startswith("commands/")}
    own = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert named == own | elsewhere.keys()
    assert all((ROOT / path).is_file() for path in elsewhere.values())
    left = {name_of(page) for page in PAGES} - {f"docs/{name}" for name in own} - set(elsewhere.values())
    assert left == {"README.md"}


def _leaves(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for inner in nav.values():
            yield from _leaves(inner)
    elif isinstance(nav, list):
        for inner in nav:
            yield from _leaves(inner)
