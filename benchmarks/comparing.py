"""What benchmarks share: finished parts kept in a file, and schedules timed in turns."""

import contextlib
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plain_loop import build

from cost_models.runner.runner import RunSettings, arguments_of, run_kernel

CAREFUL = RunSettings(number=1, repeat=5, min_repeat_s=0.02)
ROUNDS = 8


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


def in_turns(
    modules: Mapping[str, Any], prefix: str, tvm_target: Any, session: Any
) -> dict[str, list[float]]:
    """Median seconds of each module in each round; those that do not run are left out, which is said.

    Args:
        prefix: of file names; a session that has loaded a file does not load another one of that name.
    """
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{prefix}-{name}.so" for name in modules}
        for name, mod in modules.items():
            build(mod, tvm_target, paths[name])
        for _ in range(ROUNDS):
            for name, mod in modules.items():
                run = run_kernel(session, paths[name], arguments_of(mod), CAREFUL)
                if run.error is None:
                    found[name].append(statistics.median(run.samples_s))
                else:
                    say(f"{paths[name].name}: {run.error}")
    return {name: medians for name, medians in found.items() if len(medians) == ROUNDS}


def say(line: str) -> None:
    """What is going on, to stderr."""
    print(line, file=sys.stderr, flush=True)
