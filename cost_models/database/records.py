"""What a timing gave: raw samples in seconds, or the reason why there are none. No TVM, no files."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cost_models.errors import InvalidMeasurement
from cost_models.estimate import Word
from targets.support.files import now_utc

ORIGINS = ("evolution", "tiles", "transfer")
CACHES = ("warm", "cold")
DISTURBED = ("slow state", "drift")  # how notes begin that tell of a device that was not itself


class How(Word):
    """How a kernel got its number: whose schedule was timed, or that none works."""

    DEFAULT = "default"
    TUNED = "tuned"  # the best of a search
    TRANSFERRED = "transferred"  # a neighbour's, adapted
    ESTIMATED = "estimated"  # a row alone, never a measurement


SCHEDULED = (How.DEFAULT, How.TUNED, How.TRANSFERRED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One schedule of one kernel, tried while tuning.

    Attributes:
        schedule: its text form, JSON: a list is a MetaSchedule trace, an object a tile of our convolution;
            gives the same kernel in another process.
        samples_s: one value per repeat, each the mean of ``number`` runs; empty when ``error`` is set.
        error: why it could not be built or run.
        origin: ``evolution`` (MetaSchedule), ``tiles`` (of our convolution) or ``transfer`` (of a neighbour).
        board: where it ran, HOST:PORT; empty when it did not get that far, or comes from a file of schema 1.
        build_s, upload_s, run_s: what the trial itself cost, for throughput reports.
    """

    schedule: str
    samples_s: tuple[float, ...] = ()
    error: str | None = None
    origin: str = "evolution"
    board: str = ""
    build_s: float = 0.0
    upload_s: float = 0.0
    run_s: float = 0.0

    def __post_init__(self) -> None:
        _check_outcome(self.samples_s, self.error)
        _check_choice("origin", self.origin, ORIGINS)

    @property
    def median_s(self) -> float:
        """Median sample; infinite when the trial failed, so that failures sort last."""
        return _median_s(self.samples_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The careful timing of one schedule of a kernel, with the samples that a table's entry is made of.

    Attributes:
        kernel: its key.
        how: whose schedule it is, one of ``SCHEDULED``.
        reference_s: samples of the reference kernel taken in between, in order; empty where there was none.
        notes: what a reader should know, such as a drift of the machine.
        board: where it ran, HOST:PORT; empty when it did not get that far, or comes from a file of schema 1.
    """

    kernel: str
    how: How
    samples_s: tuple[float, ...] = ()
    error: str | None = None
    reference_s: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    board: str = ""

    def __post_init__(self) -> None:
        _check_outcome(self.samples_s, self.error)
        _check_latencies("reference_s", self.reference_s)
        _check_choice("how", self.how, SCHEDULED)

    @property
    def median_s(self) -> float:
        """Median sample; infinite when the timing failed."""
        return _median_s(self.samples_s)

    @property
    def disturbed(self) -> bool:
        """Whether the reference kernel beside it says that the device was not at its usual speed."""
        return any(note.startswith(DISTURBED) for note in self.notes)


def that_counts(timings: Sequence[Measurement]) -> Measurement | None:
    """Of timings of one schedule the fastest that was not disturbed, or else the fastest.

    What disturbs a machine makes it slower, never faster, and not all of it is seen by the reference.
    """
    good = [timing for timing in timings if timing.error is None]
    return min(good, key=lambda timing: (timing.disturbed, timing.median_s), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockTiming:
    """The timing of a block as one module, to tell how far its kernels' times add up.

    Attributes:
        block: its key.
        cache: ``warm`` (run after run) or ``cold`` (caches overwritten before every run).
        sum_s: the sum of its kernels' medians at that time; None where one of them had none.
        board: where it ran, HOST:PORT; empty when it did not get that far.
    """

    block: str
    cache: str
    samples_s: tuple[float, ...] = ()
    error: str | None = None
    sum_s: float | None = None
    board: str = ""

    def __post_init__(self) -> None:
        _check_outcome(self.samples_s, self.error)
        _check_latencies("sum_s", () if self.sum_s is None else (self.sum_s,))
        _check_choice("cache", self.cache, CACHES)

    @property
    def median_s(self) -> float:
        """Median sample; infinite when the timing failed."""
        return _median_s(self.samples_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceRun:
    """The reference kernel on one board at one moment: several of them tell how the machine drifts.

    Attributes:
        samples_s: at least one.
        at: when, ISO 8601 with its time zone, to the second; now where it is left out.
    """

    board: str
    samples_s: tuple[float, ...]
    at: str = field(default_factory=now_utc)

    def __post_init__(self) -> None:
        if not self.samples_s:
            raise InvalidMeasurement("samples_s must hold at least one sample")
        _check_latencies("samples_s", self.samples_s)

    @property
    def median_s(self) -> float:
        """Median sample."""
        return _median_s(self.samples_s)


def _check_outcome(samples_s: tuple[float, ...], error: str | None) -> None:
    if bool(samples_s) == (error is not None):
        raise InvalidMeasurement("give samples_s or error, exactly one of them")
    _check_latencies("samples_s", samples_s)


def _check_latencies(name: str, values_s: Iterable[float]) -> None:
    for value in values_s:
        if not (math.isfinite(value) and value > 0):
            raise InvalidMeasurement(f"{name} must be finite and > 0 s, found {value!r}")


def _check_choice(name: str, found: str, allowed: tuple[str, ...]) -> None:
    if found not in allowed:
        raise InvalidMeasurement(f"{name} must be one of {', '.join(allowed)}; found {found!r}")


def _median_s(samples_s: tuple[float, ...]) -> float:
    return statistics.median(samples_s) if samples_s else math.inf
