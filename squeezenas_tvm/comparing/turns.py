"""Bundles timed by turns on this machine, each turn in a process of its own.

What disturbs a machine for seconds disturbs all of them alike, and no process's memory or threads are in the
way of another's: ratios hold where times do not.
"""

import json
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from cost_models.statistics import median_interval
from squeezenas_tvm.errors import FailedWork, UsageError
from squeezenas_tvm.terminal.progress import progress
from targets.support.child_python import child_python

ROUNDS, REPEATS = 7, 20
_TIMEOUT_S = 600.0  # of a turn

Rounds = Sequence[Sequence[float]]
"""Milliseconds of each run of each turn of a bundle."""


@dataclass(frozen=True)
class Pair:
    """Two bundles that were timed by turns.

    Attributes:
        first, second: milliseconds of each run, as many rounds of both.
    """

    first: Rounds
    second: Rounds

    @property
    def medians_ms(self) -> tuple[float, float]:
        """Over all runs of each."""
        first, second = (statistics.median(chain.from_iterable(own)) for own in (self.first, self.second))
        return first, second

    @cached_property
    def ratios(self) -> list[float]:
        """Second over first, of the medians of each round."""
        pairs = zip(self.first, self.second, strict=True)
        return [statistics.median(second) / statistics.median(first) for first, second in pairs]

    @property
    def ratio(self) -> float:
        """Their median."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """Holds the true ratio with a confidence of 95 %, from six rounds on."""
        return median_interval(self.ratios)

    @property
    def told_apart(self) -> bool:
        """Whether the rounds agree on which is the faster; else the difference is inside the spread."""
        low, high = self.interval
        return not low <= 1 <= high

    def said(self, first: str, second: str) -> str:
        """In a sentence or two; what both are called."""
        (one_ms, other_ms), (low, high) = self.medians_ms, self.interval
        told = (
            f"By turns, {len(self.ratios)} rounds: {first} {one_ms:.3g} ms, {second} {other_ms:.3g} ms, "
            f"{self.ratio:.2f} times as long ({low:.2f} to {high:.2f})."
        )
        if self.told_apart:
            return told
        return f"{told} The difference is inside the spread: here, one is as fast as the other."


def by_turns(
    folders: Sequence[Path], *, rounds: int = ROUNDS, repeats: int = REPEATS, shown: bool = True
) -> list[Rounds]:
    """Of each bundle the milliseconds of ``repeats`` runs a round, after some that do not count.

    The order is turned round from round to round, so that being first is nobody's.

    Args:
        shown: draw how far it is.

    Raises:
        UsageError: a bundle is damaged, or for another machine.
        FailedWork: one does not run here.
    """
    found: list[list[list[float]]] = [[] for _ in folders]
    places = list(range(len(folders)))
    with progress("time by turns", rounds * len(folders), shown=shown) as step:
        for number in range(rounds):
            for place in places if number % 2 == 0 else reversed(places):
                found[place].append(_turn(folders[place], repeats))
                step(f"{folders[place].name} {statistics.median(found[place][-1]):.3g} ms")
    return list(found)


def _turn(folder: Path, repeats: int) -> list[float]:
    command = child_python("squeezenas_tvm.comparing.timing_process", str(folder), str(repeats))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FailedWork(f"{folder}: {repeats} runs took more than {_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        if done.returncode == UsageError.exit_code:
            raise UsageError(last)
        raise FailedWork(f"{folder}: it does not run here: {last}")
    samples_ms: list[float] = json.loads(done.stdout)
    return samples_ms
