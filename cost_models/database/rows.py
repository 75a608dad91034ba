"""Rows of a table: raw samples of a kernel, how they came to be, and what they say. As text, CSV."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cost_models.database.records import SCHEDULED, How
from cost_models.errors import InvalidMeasurement
from cost_models.estimate import CONFIDENCE, Estimate, Source
from cost_models.statistics import interval_width, median_interval

COLUMNS = ("kernel", "how", "trials", "samples_s", "estimate_s", "reason")


@dataclass(frozen=True)
class SampleStatistics:
    """What the samples of a kernel say, and those of several kernels together; no estimate of anything else.

    Attributes:
        median_s: of the samples; for several kernels, the sum of their medians.
        p10_s, p90_s: 10th and 90th percentile of the samples; for several kernels, the sums, which is what
            one sees when disturbances hit all of them alike.
        samples: how many stand behind the number, 0 for an estimate; for several kernels, the smallest count.
        kernels: how many kernels were added up; 0 for the identity skip, which costs nothing.
        tuned: how many of them run a schedule that was found by tuning, here or for a similar kernel.
        estimated: how many of them could not be measured; estimates count in the sums of seconds.
        interval_s: seconds between the ends of the 95 % interval of the median; infinite for a single sample,
            nothing for an estimate; for several kernels, the sum.
        predicted: how many of them were not measured but predicted from others; the ends of their intervals
            then stand for percentiles.
    """

    median_s: float = 0.0
    p10_s: float = 0.0
    p90_s: float = 0.0
    samples: int = 0
    kernels: int = 0
    tuned: int = 0
    estimated: int = 0
    interval_s: float = 0.0
    predicted: int = 0

    @property
    def width(self) -> float:
        """``interval_s`` as a share of the median; 0 for what costs nothing."""
        return self.interval_s / self.median_s if self.median_s else 0.0

    @classmethod
    def of(cls, samples_s: tuple[float, ...], *, tuned: bool) -> "SampleStatistics":
        """Of one kernel: at least one sample, in seconds."""
        tenths = (
            statistics.quantiles(samples_s, n=10, method="inclusive") if len(samples_s) > 1 else samples_s
        )
        return cls(
            statistics.median(samples_s),
            tenths[0],
            tenths[-1],
            len(samples_s),
            kernels=1,
            tuned=int(tuned),
            interval_s=interval_width(samples_s),
        )

    @classmethod
    def told(cls, estimate: Estimate) -> "SampleStatistics":
        """Of one kernel that nobody measured."""
        low_s, high_s = estimate.low_s, estimate.high_s
        return cls(estimate.median_s, low_s, high_s, kernels=1, interval_s=high_s - low_s, predicted=1)

    @classmethod
    def total(cls, parts: Iterable["SampleStatistics"]) -> "SampleStatistics":
        """Sum of parts that run one after another."""
        found = list(parts)
        return cls(
            sum(p.median_s for p in found),
            sum(p.p10_s for p in found),
            sum(p.p90_s for p in found),
            min((p.samples for p in found if p.kernels), default=0),
            sum(p.kernels for p in found),
            sum(p.tuned for p in found),
            sum(p.estimated for p in found),
            sum(p.interval_s for p in found),
            sum(p.predicted for p in found),
        )


@dataclass(frozen=True)
class Row:
    """One kernel of a table.

    Attributes:
        how: whose schedule it runs, or that none works.
        trials: how many schedules were tried.
        samples_s: raw, in seconds; none where it is estimated.
        estimate_s: what an estimated one is taken to cost; None for the others.
        reason: why it is estimated; empty for the others.
    """

    how: How
    trials: int
    samples_s: tuple[float, ...] = ()
    estimate_s: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.how not in tuple(How):
            raise InvalidMeasurement(
                f"how must be one of {', '.join((*SCHEDULED, How.ESTIMATED))}; found {self.how!r}"
            )
        values = self.samples_s if self.estimate_s is None else (self.estimate_s,)
        if not values or not all(math.isfinite(value) and value > 0 for value in values):
            raise InvalidMeasurement(f"latencies must be finite and > 0 s, found {values}")
        estimated = (not self.samples_s, self.estimate_s is not None, bool(self.reason))
        if estimated != (self.how == How.ESTIMATED,) * 3:
            raise InvalidMeasurement(
                "an estimated row has estimate_s and reason, any other has samples_s alone"
            )

    @property
    def median_s(self) -> float:
        """Of the samples; what it is taken to cost where there are none."""
        return statistics.median(self.samples_s) if self.estimate_s is None else self.estimate_s

    @property
    def statistics(self) -> SampleStatistics:
        if self.estimate_s is not None:
            return SampleStatistics(*(self.estimate_s,) * 3, kernels=1, estimated=1)
        return SampleStatistics.of(self.samples_s, tuned=self.how != How.DEFAULT)

    @property
    def estimate(self) -> Estimate | None:
        """The median and the interval that holds the true one; None where nothing was measured."""
        if not self.samples_s:
            return None
        low_s, high_s = median_interval(self.samples_s, round(100 * CONFIDENCE))
        return Estimate(statistics.median(self.samples_s), low_s, high_s, Source.MEASURED)


def rows_to_csv(rows: Mapping[str, Row]) -> str:
    """One line a row, in their order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for key, row in rows.items():
        samples = " ".join(f"{s:.9g}" for s in row.samples_s)
        estimate = "" if row.estimate_s is None else f"{row.estimate_s:.9g}"
        writer.writerow((key, row.how, row.trials, samples, estimate, row.reason))
    return text.getvalue()


def rows_from_csv(content: bytes, columns: Sequence[str] = COLUMNS) -> dict[str, Row]:
    """The inverse of ``rows_to_csv``.

    Args:
        columns: those that must be there; tables of schema 1 have the first four.

    Raises:
        InvalidMeasurement: other columns, or it names the row that is none.
    """
    try:
        header, *lines = csv.reader(io.StringIO(content.decode()))
    except (ValueError, csv.Error):
        header, lines = [], []
    if tuple(header) != tuple(columns):
        raise InvalidMeasurement(f"not the rows of a table ({', '.join(columns)})")
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, 1):
        try:
            key, row = _read_row(line, len(columns))
            if key in rows:
                raise InvalidMeasurement("the kernel has a row already, allowed is one each")
            rows[key] = row
        except (ValueError, InvalidMeasurement) as error:
            name = f"row {number}, {line[0]!r}" if line else f"row {number}"
            raise InvalidMeasurement(f"{name}: {error}") from None
    return rows


def _read_row(cells: Sequence[str], count: int) -> tuple[str, Row]:
    """Raises ValueError or InvalidMeasurement."""
    if len(cells) != count or not cells[0]:
        raise ValueError(f"{count} cells expected and a kernel in the first, found {len(cells)}")
    key, how, trials, samples, estimate, reason = (*cells, "", "")[: len(COLUMNS)]
    samples_s = tuple(float(sample) for sample in samples.split())
    allowed: dict[str, How] = {word.value: word for word in How}
    if how not in allowed:
        raise InvalidMeasurement(f"how must be one of {', '.join(allowed)}; found {how!r}")
    return key, Row(allowed[how], int(trials), samples_s, float(estimate) if estimate else None, reason)
