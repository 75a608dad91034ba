"""Child processes that run Python: they import what this process does, and nothing from the current folder.

``python -m NAME`` and ``python -c`` look for modules in the current folder first, and run whatever lies there
under the name of one of ours or of Python's own.
"""

import json
import os
import sys
import sysconfig
from pathlib import Path

_HOME = os.path.realpath(Path(__file__).parents[2])  # of our packages

# Isolated Python (-I) has no folder but its own, so this imports nothing of anybody else.
_START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def child_python(module: str, *arguments: str) -> list[str]:
    """Command line that runs a module as a program, as ``python -m`` does, wherever it is started."""
    return [sys.executable, "-I", "-c", _START, json.dumps(sealed_path()), module, *arguments]


def sealed_path() -> list[str]:
    """The folders of ``sys.path`` without the current one, unless that is where packages are installed."""
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # it was deleted
        here = ""
    installed = {_HOME, *(os.path.realpath(place) for place in sysconfig.get_paths().values())}
    places = [place for place in sys.path if os.path.isabs(place)]
    kept = [place for place in places if (real := os.path.realpath(place)) != here or real in installed]
    return kept if any(os.path.realpath(place) == _HOME for place in kept) else [_HOME, *kept]
