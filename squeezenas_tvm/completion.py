"""Completion of command lines by the shell: a script that is made once, so that a tab starts no Python."""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from squeezenas_tvm.cli import COMMANDS, PROGRAM, build_parser, emit, failed
from squeezenas_tvm.errors import UsageError
from targets import list_targets

SHELLS = ("bash", "zsh")


def completion_script(shell: str) -> str:
    """What ``shell`` reads to complete commands, options, names of targets and of architectures, and files.

    Raises UsageError for another shell.
    """
    if shell not in SHELLS:
        raise UsageError(f"--completion {shell}: allowed: {', '.join(SHELLS)}")
    import shtab

    script: str = shtab.complete(_all_commands(), shell)
    return script


def main(argv: Sequence[str]) -> int:
    """Print the script for a shell. Returns the exit code."""
    try:
        if len(argv) != 1:
            raise UsageError(f"--completion takes the name of a shell: {', '.join(SHELLS)}")
        script = completion_script(argv[0])
    except UsageError as error:
        return failed(error, error.exit_code)
    return 0 if emit(script) else 141


def _all_commands() -> argparse.ArgumentParser:
    """One parser for what each command parses for itself."""
    from search.architecture import list_architectures

    parser = argparse.ArgumentParser(prog=PROGRAM)
    parser.add_argument("--version", action="store_true", help="print it")
    commands = parser.add_subparsers()
    known = {"target": [*list_targets()], "architecture": list_architectures()}
    known["network"] = known["what"] = known["architecture"]
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"squeezenas_tvm.{name}")
        own = build_parser(name, module.add_arguments, example=module.EXAMPLE)
        for action in own._actions:
            _complete(action, known)
        commands.add_parser(name, help=summary, parents=[own], add_help=False, conflict_handler="resolve")
    return parser


def _complete(action: argparse.Action, known: dict[str, list[str]]) -> None:
    """Names where they are known, else files and folders where it takes such."""
    import shtab

    if action.dest in known and action.choices is None:
        action.choices = known[action.dest]  # of this parser alone, which reads no command line
    elif action.type is Path:
        action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE  # type: ignore[attr-defined]
