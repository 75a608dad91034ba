"""Command lines that texts name as the next step: found, and parsed as the command would."""

import argparse
import importlib
import re
import shlex
from collections.abc import Sequence

from squeezenas_tvm.cli import COMMANDS, build_parser
from targets.support.commands import PROGRAM

_WORDS = r"""(?:'[^']*'|"[^"]*"|(?!; | \(|, or )[^\n'"])*"""
_LINE = re.compile(rf"(?:{PROGRAM} |-m squeezenas_tvm\.)(?:{'|'.join(COMMANDS)})\b{_WORDS}")


def suggested(text: str) -> list[str]:
    """Every command line in a text; a backslash at the end of a line goes on in the next."""
    return [match[0] for match in _LINE.finditer(text.replace("\\\n", " "))]


def parsed(line: str) -> argparse.Namespace:
    """What its command reads; raises UsageError where the command would refuse the words."""
    words = shlex.split(line.replace("-m squeezenas_tvm.", f"{PROGRAM} "))
    assert words[0] == PROGRAM, line
    return parsed_words(words[1:])


def parsed_words(words: Sequence[str]) -> argparse.Namespace:
    """The same of COMMAND ARGUMENTS."""
    module = importlib.import_module(f"squeezenas_tvm.{words[0]}")
    return build_parser(words[0], module.add_arguments, example="").parse_args(words[1:])
