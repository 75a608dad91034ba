"""What something costs on a device, how sure that is, and who says so: one type, whoever tells it.

Five sources, best first: ``measured``, a row of the target's table; ``measured by others``, a row of a table
that somebody published, of a device that nobody here can reach; ``predicted``, learned from the rows
of that table, or scaled from another processor's; ``other processor``, another one's as they are; ``prior``,
a physical model of a device from its data sheet and what others published.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cost_models.errors import InvalidMeasurement
from cost_models.ir.fusion import Kernel

CONFIDENCE = 0.9  # that an estimate's interval holds the latency
OUTSIDE = 4.0  # a prior's factor either way: one was 3.4 times off under another run-time of the same board
UNCOUNTED = 16.0  # the same of kernels whose work nobody has counted


class Word(str, Enum):
    """A word of a closed vocabulary; in files, in text and in comparisons it is the plain string."""

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return repr(self.value)

    def __format__(self, form: str) -> str:
        return format(str(self.value), form)


class Source(Word):
    """Who says so, the best first."""

    MEASURED = "measured"
    OTHERS = "measured by others"
    PREDICTED = "predicted"
    ELSEWHERE = "other processor"
    PRIOR = "prior"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Latency of a kernel, or of anything else that runs.

    Attributes:
        median_s: as likely too high as too low.
        low_s, high_s: ends of the interval that holds nine of ten; never percentiles of samples.
        far: nothing like it was measured; the interval is a guess, too, and the user should be told.
    """

    median_s: float
    low_s: float
    high_s: float
    source: Source
    far: bool = False

    @staticmethod
    def within(median_s: float, factor: float, source: Source, *, far: bool = False) -> "Estimate":
        """With an interval that reaches so many times up and down."""
        return Estimate(median_s, median_s / factor, median_s * factor, source, far)


def prior_factor(kernel: Kernel) -> float:
    """How far off a prior may be, either way."""
    return OUTSIDE if kernel.is_counted else UNCOUNTED


def outside(kernel: Kernel, median_s: float) -> Estimate:
    """What a prior says of a kernel, nothing like which was measured."""
    return Estimate.within(median_s, prior_factor(kernel), Source.PRIOR, far=True)


@dataclass(frozen=True, slots=True)
class NetworkEstimate:
    """Latency of a network.

    Attributes:
        median_s: as likely too high as too low.
        low_s, high_s: the sums of its kernels' ends, as wide as if all errors had one sign; where networks
            were timed whole, together with the errors of their estimates.
        kernels: how many calls of kernels were added up.
        shares: of the median by source, the best first; only those that occur.
        unsure: kernels whose cost is far from all that was measured, or a prior's, each once.
        calibrated: on networks timed whole; otherwise the plain sum of its kernels.
    """

    median_s: float
    low_s: float
    high_s: float
    kernels: int
    shares: Mapping[Source, float]
    unsure: tuple[Kernel, ...]
    calibrated: bool = False

    def __post_init__(self) -> None:
        if not all(math.isfinite(s) and s >= 0 for s in (self.low_s, self.median_s, self.high_s)):
            raise InvalidMeasurement(
                f"a latency of {self.median_s} s ({self.low_s} to {self.high_s}) is none: what is known of "
                "the device is damaged; profile it again"
            )


class LatencySource(Protocol):
    """Whoever tells what kernels cost on one device: a table, a predictor, a prior, several of them."""

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        """Of each; None for what this source does not know."""
        ...

    def digest(self) -> str:
        """Changes with what it says of any kernel; the same in every process."""
        ...
