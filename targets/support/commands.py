"""Command lines that the user is told to type: quoted for a shell, so that they can be pasted as they are."""

import shlex
from collections.abc import Iterable

PROGRAM = "squeezenas-tvm"


def command_line(*words: object) -> str:
    """``squeezenas-tvm`` with its command and arguments; paths and specs may hold spaces."""
    return shell_line((PROGRAM, *words))


def module_line(module: str, *words: object) -> str:
    """``python -m MODULE``, for what is no command."""
    return shell_line(("python", "-m", module, *words))


def shell_line(words: Iterable[object]) -> str:
    """Words of any command as one line of shell."""
    return shlex.join(map(str, words))
