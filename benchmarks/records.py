"""Finished parts of a benchmark, kept in a file, and what it says on the way."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any


class Records:
    """Finished parts of the benchmark, one JSON object a line, in a file if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        self.all: list[dict[str, Any]] = []
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):  # empty, or cut off when a run was killed
                self.all.append(json.loads(line))

    def find(self, **wanted: object) -> dict[str, Any] | None:
        """The newest record with these values."""
        return next((r for r in reversed(self.all) if wanted.items() <= r.items()), None)

    def add(self, record: dict[str, Any]) -> dict[str, Any]:
        """Keep a record. Returns it."""
        self.all.append(record)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(record))  # first the line break: the line before may be cut off
        return record


def say(line: str) -> None:
    """What is going on, to stderr."""
    print(line, file=sys.stderr, flush=True)
