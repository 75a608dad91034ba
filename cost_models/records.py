"""What a timing gave: raw samples in seconds, or the reason why there are none. No TVM, no files."""

import math
import statistics
from dataclasses import dataclass

from cost_models.errors import InvalidMeasurement


def _check(samples_s: tuple[float, ...], error: str | None) -> None:
    if bool(samples_s) == (error is not None):
        raise InvalidMeasurement("give samples_s or error, exactly one of them")
    bad = [s for s in samples_s if not (math.isfinite(s) and s > 0)]
    if bad:
        raise InvalidMeasurement(f"samples must be finite and > 0 s, found {bad[0]!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One schedule of one kernel, tried while tuning.

    Attributes:
        trace: the schedule as MetaSchedule's trace, JSON text; replays on the same kernel in another process.
        samples_s: one value per repeat, each the mean of ``number`` runs; empty when ``error`` is set.
        error: why it could not be built or run.
        build_s, run_s: what the trial itself cost, for throughput reports.
    """

    trace: str
    samples_s: tuple[float, ...] = ()
    error: str | None = None
    build_s: float = 0.0
    run_s: float = 0.0

    def __post_init__(self) -> None:
        _check(self.samples_s, self.error)

    @property
    def median_s(self) -> float:
        """Median sample; infinite when the trial failed, so that failures sort last."""
        return statistics.median(self.samples_s) if self.samples_s else math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The careful timing of a kernel's best schedule, with the samples that a table's entry is made of.

    Attributes:
        how: ``tuned`` (best of the trials) or ``default`` (no trial worked; default schedule).
    """

    kernel: str
    how: str
    samples_s: tuple[float, ...] = ()
    error: str | None = None

    def __post_init__(self) -> None:
        _check(self.samples_s, self.error)
        if self.how not in ("tuned", "default"):
            raise InvalidMeasurement(f"how must be 'tuned' or 'default', found {self.how!r}")

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples_s) if self.samples_s else math.inf
