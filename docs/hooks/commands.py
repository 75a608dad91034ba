"""The reference of the commands, from the very parsers that read them. A hook of MkDocs."""

import argparse
import importlib

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from squeezenas_tvm import emulated_board
from squeezenas_tvm.cli import COMMANDS, PROGRAM, build_parser

FOLDER = "commands"
_EXIT = "Exit codes: 0 done, 1 failed work, 2 wrong use or input, 130 stopped with Ctrl-C, 143 with SIGTERM."


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a page for each command, and one that lists them."""
    for name, text in {"index": index(), **{name: page(name) for name in COMMANDS}}.items():
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    files.append(File.generated(config, f"{FOLDER}/emulated_board.md", content=board_page()))
    return files


def index() -> str:
    """The list of commands."""
    rows = [f"| [`{name}`]({name}.md) | {cell(summary)} |" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "# Commands",
            "",
            f"Each is `{PROGRAM} NAME` and `python -m squeezenas_tvm.NAME`. Pages say what `--help` says.",
            "",
            "| command | does |",
            "|---|---|",
            *rows,
            "",
            f"{_EXIT} With `--json` one document goes to stdout; progress and notes always go to stderr.",
            "",
            "A board for those who have none is [a program of its own](emulated_board.md).",
            "",
        ]
    )


def page(name: str) -> str:
    """All that a command takes."""
    module = importlib.import_module(f"squeezenas_tvm.{name}")
    parser = build_parser(name, module.add_arguments, example=module.EXAMPLE)
    example = module.EXAMPLE.strip()
    return f"# {name}\n\n{parser.description}\n\n```sh\n{example}\n```\n\n{arguments(parser)}\n"


def board_page() -> str:
    """The emulated board's program, with what each of its commands takes."""
    parser = emulated_board._parser()
    parts = [f"# emulated_board\n\n```text\n{(parser.description or '').strip()}\n```\n\n{arguments(parser)}"]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            parts += [f"## {name}\n\n{arguments(own, 3)}" for name, own in action.choices.items()]
    return "\n\n".join(parts) + "\n"


def arguments(parser: argparse.ArgumentParser, level: int = 2) -> str:
    """Tables of a parser's arguments, one a group."""
    formatter, parts = parser._get_formatter(), []
    for group in parser._action_groups:
        rows = [
            f"| `{formatter._format_action_invocation(action).strip()}` | "
            f"{cell(formatter._expand_help(action)) if action.help else ''} |"
            for action in group._group_actions
            if action.help is not argparse.SUPPRESS
        ]
        if rows:
            title = group.title or "arguments"
            heading = f"{'#' * level} {title[0].upper()}{title[1:]}"
            parts.append("\n".join([heading, "", "| argument | what it is |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def cell(text: str) -> str:
    """Text in one line of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
