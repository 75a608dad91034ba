"""The pages of the manual: their blocks, and the command lines in these."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from ..helpers import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md", "search/**/*.md")
    for path in ROOT.glob(pattern)
)
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_ASSIGNED = re.compile(r"^([A-Z]+)=(.*)$")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(page: Path | str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: Path | str, *languages: str) -> list[str]:
    """Texts of the fenced blocks in these languages, in order."""
    return [text for _, language, text in _BLOCK.findall(read(page)) if language in languages]


def commands(page: Path | str) -> list[list[str]]:
    """The words of every command line of the page: of shell all, of a console what follows a ``$``."""
    lines = [words for block in blocks(page, "sh") for words in _words(block)]
    typed = (line[2:] for block in blocks(page, "console") for line in block.splitlines() if line[:2] == "$ ")
    return [*lines, *(shlex.split(line) for line in typed)]


def _words(block: str) -> Iterator[list[str]]:
    """Lines joined, comments left out, variables that the block sets written out, one command a list."""
    known: dict[str, str] = {}
    for line in block.replace("\\\n", " ").splitlines():
        for name, value in known.items():
            line = line.replace(f"${name}", value)
        split = shlex.split(line, comments=True)
        if len(split) == 1 and (assigned := _ASSIGNED.match(split[0])):
            known[assigned[1]] = assigned[2]
            continue
        words: list[str] = []
        for word in split:
            if word in ("&", "&&", "|"):
                yield words
                words = []
            else:
                words.append(word)
        if words:
            yield words
