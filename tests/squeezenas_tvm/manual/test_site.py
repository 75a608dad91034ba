"""The manual as a site: built strictly, without network, and readable without."""

import importlib
import posixpath
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import squeezenas_tvm as st
from squeezenas_tvm.cli import COMMANDS, build_parser

from ..helpers import ROOT
from .hooks import hook
from .pages import read

WITHOUT_NETWORK = (
    "import socket, sys\n"
    "def refuse(*given, **named):\n"
    "    raise AssertionError(f'asked the network: {given}')\n"
    "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
    "from mkdocs.__main__ import cli\n"
    "cli()\n"
)
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
NOT_LOADED = {"canonical", "prev", "next", "alternate"}  # kinds of <link> that name a page


class Loads(HTMLParser):
    """What a page loads, the pages that it leads to, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded, self.links, self.ids, self.words = set[str](), set[str](), set[str](), ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        for name, value in given.items():
            if (tag, name) in LOADED and given.get("rel") not in NOT_LOADED:
                self.loaded.add(value)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built where no network answers."""
    out = tmp_path_factory.mktemp("site") / "site"
    line = [sys.executable, "-c", WITHOUT_NETWORK, "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def page(site: Path, name: str) -> Loads:
    return Loads((site / name).read_text(encoding="utf-8"))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for path in pages:
        for loaded in Loads(path.read_text(encoding="utf-8")).loaded:
            assert "//" not in loaded or loaded.startswith("data:"), f"{path.name} loads {loaded}"
            if not loaded.startswith("data:"):
                there = path.parent / loaded.partition("?")[0].partition("#")[0]
                assert there.is_file() or path.name == "404.html", f"{path.name} loads {loaded}"


def test_files_that_are_no_pages_are_copied(site: Path) -> None:
    for name, file in (("data.html", "search/data/camvid_classes.txt"), ("measuring.html", "cost_models")):
        (link,) = [link for link in page(site, name).links if f"files/{file}" in link]
        assert (site / posixpath.normpath(posixpath.join(posixpath.dirname(name), link))).is_file()
    assert len(list((site / "files").rglob("overlay.jpg"))) == 2  # of the results
    assert not list(site.rglob("hooks"))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_every_option_of_a_command(site: Path, name: str) -> None:
    module = importlib.import_module(f"squeezenas_tvm.{name}")
    parser = build_parser(name, module.add_arguments, example="")
    words = page(site, f"commands/{name}.html").words
    options = [option for action in parser._actions for option in action.option_strings]
    assert {"--json", "--help"} <= set(options)
    assert all(option in words for option in options)
    assert module.EXAMPLE.strip().splitlines()[0][:60] in words


def test_the_reference_has_every_public_name(site: Path) -> None:
    api = page(site, "api.html")
    shown = {anchor.rpartition(".")[2] for anchor in api.ids}
    assert set(st.__all__) <= shown
    assert "before anything long" in api.words  # Raises, as docstrings tell it


def test_a_command_page_says_what_help_says() -> None:
    commands = hook("commands")
    text = commands.page("networks")
    assert text.startswith("# networks\n\nList the published architectures")
    assert "| `--space SPACE` | only those of this space |" in text
    assert "default 1024x2048" in text
    assert "| `serve`" not in commands.board_page()
    assert "## serve\n" in commands.board_page()
    assert "--tracker HOST:PORT" in commands.board_page()
    assert all(f"[`{name}`]({name}.md)" in commands.index() for name in COMMANDS)


def test_make_builds_it_strictly() -> None:
    assert "mkdocs build --strict" in read("Makefile")
    assert "make docs" in read(".ci/run")
