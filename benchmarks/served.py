"""Programs that stay up, each a process of its own, and answer each line that they get by a line of JSON."""

import contextlib
import json
import select
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from squeezenas_tvm.errors import FailedWork


class Served:
    """One of them."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(environment)
        )

    def answer(self, limit_s: float) -> dict[str, Any]:
        """Its next line; an error where it ends or is too slow."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, limit_s))
        if not ready:
            self.end()
            return {"error": f"no answer within {limit_s:.0f} s"}
        line = self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": "its process died, see above"}
        return told

    def ask(self, limit_s: float) -> dict[str, Any]:
        """What it answers to an empty line, or an error."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        return self.answer(limit_s)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def output_of(command: Sequence[str], limit_s: float, what: str) -> str:
    """What a program prints. Raises FailedWork with its last line where it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise FailedWork(f"{what}: not done within {limit_s:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}, without a word"]
        raise FailedWork(f"{what}: {lines[-1][:300]}")
    return done.stdout


def failure(error: Exception) -> dict[str, str]:
    """What such a program says in place of an answer."""
    return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def checked(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer. Raises FailedWork where it is an error, with whose it is."""
    if "error" in answer:
        raise FailedWork(f"{name}: {answer['error']}")
    return answer


def spread(samples_ms: Sequence[float]) -> dict[str, float]:
    """Median, ends of what eight in ten took, and how many there are."""
    low, high = (float(value) for value in np.percentile(samples_ms, [10, 90]))
    return {"median": statistics.median(samples_ms), "p10": low, "p90": high, "runs": len(samples_ms)}
