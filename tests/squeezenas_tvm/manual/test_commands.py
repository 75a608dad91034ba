"""Every command line of the manual is one that its program takes."""

import re
from pathlib import Path

import pytest

from squeezenas_tvm import emulated_board
from squeezenas_tvm.cli import PROGRAM

from ..helpers import ROOT
from ..suggestions import parsed_words
from .pages import PAGES, blocks, commands, name_of

WITH_COMMANDS = [page for page in PAGES if commands(page)]
_MODULE = re.compile(r"squeezenas_tvm\.(\w+)")
_MAKE_TARGETS = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def own_words(words: list[str]) -> list[str] | None:
    """COMMAND ARGUMENTS of ours, however they are started; None for another program's line."""
    if Path(words[0]).name == PROGRAM:
        return words[1:]
    for place, word in enumerate(words[:-1]):
        if word == "-m" and (module := _MODULE.fullmatch(words[place + 1])):
            return [module[1], *words[place + 2 :]]
    return None


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_command_lines_are_taken(page: Path) -> None:
    for words in commands(page):
        own = own_words(words)
        if own is None:
            assert not any(PROGRAM in word or word.startswith("squeezenas_tvm.") for word in words[:2]), words
        elif own[0] == "emulated_board":
            emulated_board._parser().parse_args(own[1:])
        else:
            parsed_words(own)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_programs_and_targets_of_the_repository_are_there(page: Path) -> None:
    for words in commands(page):
        if words[0] == "make":
            wanted = [word for word in words[1:] if "=" not in word]
            assert set(wanted) <= set(" ".join(_MAKE_TARGETS).split()), words
        scripts = [word for word in words if word.startswith(("benchmarks/", "docs/"))]
        for script in scripts:
            source = (ROOT / script).read_text(encoding="utf-8")
            options = {word for word in words if word.startswith("--")} if script.endswith(".py") else set()
            assert all(f'"{option}"' in source for option in options - {"--json"}), words


def test_the_manual_has_command_lines_where_they_belong() -> None:
    names = {name_of(page) for page in WITH_COMMANDS}
    assert {"README.md", "CONTRIBUTING.md", "docs/tutorial.md", "docs/jetson.md", "docs/data.md"} <= names
    found = sum(own_words(words) is not None for page in PAGES for words in commands(page))
    assert found > 80


def test_lines_are_read_as_a_shell_reads_them() -> None:
    page = "benchmarks/results/fastdense/depth/README.md"
    first = commands(page)[0]
    assert blocks(page, "sh")[0].startswith("W=")
    assert first[:3] == [PROGRAM, "search", "--task"]
    assert first[first.index("--data") + 1] == "synthetic:200:128x256"
    assert first[-2:] == ["--out", "found"]
    assert [".venv/bin/" + PROGRAM, "targets", "check", "jetson-xavier"] in commands("docs/jetson.md")
