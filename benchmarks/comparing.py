"""What benchmarks share: schedules timed in turns."""

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plain_loop import build
from records import say

from cost_models.runner.runner import RunSettings, arguments_of, run_kernel

CAREFUL = RunSettings(number=1, repeat=5, min_repeat_s=0.02)
ROUNDS = 8


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
