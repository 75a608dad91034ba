"""When a careful timing has enough samples: rounds of a kernel between bursts of the reference. No TVM.

A round is disturbed where the reference beside it is slower than its fastest in the same timing.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from cost_models.errors import CostModelError
from cost_models.statistics import ENOUGH, disturbed_rounds, drift, outliers, relative_width
from targets.spec import Measure

MIN_ROUNDS = 2

Burst = Callable[[], tuple[float, ...]]  # takes a few samples, in seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Care:
    """When a careful timing has enough samples.

    Attributes:
        interval_width: of the 95 % interval of the median, as a share of the median.
        drift: by how much the reference beside a round may be over its fastest level, as a share.
        budget_s: for all rounds; two are made in any case.
        burst: samples a round; fewer where two rounds of a slow kernel would not fit into the budget.
    """

    interval_width: float = 0.05
    drift: float = 0.1
    budget_s: float = 1.5
    burst: int = 5

    def __post_init__(self) -> None:
        if not min(self.interval_width, self.drift, self.budget_s) > 0 or self.burst < 1:
            raise CostModelError(
                "Care: interval_width, drift and budget_s must be > 0, burst >= 1; "
                f"found {self.interval_width}, {self.drift}, {self.budget_s} and {self.burst}"
            )

    @classmethod
    def of(cls, measure: Measure) -> "Care":
        """As a target's file says: ``repeat`` samples are there after the two rounds made in any case."""
        return cls(
            interval_width=measure.interval_width,
            drift=measure.drift,
            budget_s=measure.budget_s,
            burst=math.ceil(measure.repeat / MIN_ROUNDS),
        )


@dataclass(frozen=True, slots=True)
class Rounds:
    """Bursts of a kernel and, around each of them, bursts of the reference where there is one."""

    bursts: tuple[tuple[float, ...], ...] = ()
    beside: tuple[tuple[float, ...], ...] = ()

    @property
    def samples_s(self) -> tuple[float, ...]:
        return tuple(chain.from_iterable(self.bursts))

    @property
    def levels_s(self) -> tuple[float, ...]:
        """Of the reference, one a burst."""
        return tuple(map(statistics.median, self.beside))

    def are_enough(self, care: Care) -> bool:
        """Whether the interval of the median is narrow, and the reference says that two rounds were quiet."""
        narrow = len(self.samples_s) >= ENOUGH and relative_width(self.samples_s) <= care.interval_width
        return narrow and self._quiet(care) >= MIN_ROUNDS

    def notes(self, care: Care) -> list[str]:
        """What is wrong with them, one phrase each."""
        width, disturbed = relative_width(self.samples_s), disturbed_rounds(self.levels_s, care.drift)
        found = []
        if width > care.interval_width:
            found.append(f"interval wider than {care.interval_width * 100:g} %: {width * 100:.0f} %")
        if len(self.samples_s) < ENOUGH:
            found.append(f"few samples: {len(self.samples_s)}")
        if self._quiet(care) < MIN_ROUNDS:
            found.append(f"drift: the reference took up to {drift(self.levels_s) + 1:.2f} times its fastest")
        if disturbed:
            numbers = " ".join(str(index + 1) for index in disturbed)
            found.append(f"disturbed rounds: {numbers} of {len(self.bursts)}")
        if far := outliers(self.samples_s):
            found.append(f"outliers: {far} of {len(self.samples_s)}")
        return found

    def _quiet(self, care: Care) -> int:
        return len(self.bursts) - len(disturbed_rounds(self.levels_s, care.drift))


def take_rounds(kernel: Burst, reference: Burst | None, care: Care) -> Rounds:
    """Reference, kernel, reference, kernel, ..., reference: until they are enough or the budget is spent."""
    started = time.perf_counter()
    rounds = Rounds((), () if reference is None else (reference(),))
    while len(rounds.bursts) < MIN_ROUNDS or not (
        rounds.are_enough(care) or time.perf_counter() - started >= care.budget_s
    ):
        bursts = (*rounds.bursts, kernel())
        rounds = Rounds(bursts, () if reference is None else (*rounds.beside, reference()))
    return rounds
