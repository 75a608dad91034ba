"""Latency of kernels on one target, and sums of them: the table that search and estimates read.

Needs neither TVM nor the device. A table belongs to one environment (device, power mode, compiler versions,
flags, dtype, measuring protocol); rows of another are never mixed in. Raw samples are kept in every row,
statistics are derived from them. A kernel that no schedule works for has an estimate, and says so.
"""

import csv
import hashlib
import io
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cost_models.database.records import SCHEDULED
from cost_models.database.store import MeasurementStore
from cost_models.errors import IncompatibleTable, InvalidMeasurement, MissingEntry
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape
from cost_models.statistics import interval_width
from targets.support.files import write_whole

SCHEMA_VERSION = 2  # version 1 had neither estimates nor reasons, and is still read
ROWS, HEADER = "kernels.csv", "table.json"
_COLUMNS = ("kernel", "how", "trials", "samples_s", "estimate_s", "reason")


@dataclass(frozen=True)
class Latency:
    """Latency of a kernel, a block or a network.

    Attributes:
        median_s: of the samples; for several kernels, the sum of their medians.
        low_s, high_s: 10th and 90th percentile of the samples; for several kernels, the sums, which is what
            one sees when disturbances hit all of them alike.
        samples: how many stand behind the number, 0 for an estimate; for several kernels, the smallest count.
        kernels: how many kernels were added up; 0 for the identity skip, which costs nothing.
        tuned: how many of them run a schedule that was found by tuning, here or for a similar kernel.
        estimated: how many of them could not be measured; estimates count in the sums of seconds.
        interval_s: seconds between the ends of the 95 % interval of the median; infinite for a single sample,
            nothing for an estimate; for several kernels, the sum.
    """

    median_s: float = 0.0
    low_s: float = 0.0
    high_s: float = 0.0
    samples: int = 0
    kernels: int = 0
    tuned: int = 0
    estimated: int = 0
    interval_s: float = 0.0

    @property
    def width(self) -> float:
        """``interval_s`` as a share of the median; 0 for what costs nothing."""
        return self.interval_s / self.median_s if self.median_s else 0.0

    @classmethod
    def of_samples(cls, samples_s: tuple[float, ...], *, tuned: bool) -> "Latency":
        """Statistics of the samples of one kernel (at least one, in seconds)."""
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
    def total(cls, parts: Iterable["Latency"]) -> "Latency":
        """Sum of parts that run one after another."""
        found = list(parts)
        return cls(
            sum(p.median_s for p in found),
            sum(p.low_s for p in found),
            sum(p.high_s for p in found),
            min((p.samples for p in found if p.kernels), default=0),
            sum(p.kernels for p in found),
            sum(p.tuned for p in found),
            sum(p.estimated for p in found),
            sum(p.interval_s for p in found),
        )


@dataclass(frozen=True)
class Row:
    """One kernel of a table.

    Attributes:
        how: whose schedule it runs, ``default``, ``tuned`` or ``transferred``; ``estimated`` if none works.
        trials: how many schedules were tried.
        samples_s: raw, in seconds; none where it is estimated.
        estimate_s: what an estimated one is taken to cost; None for the others.
        reason: why it is estimated; empty for the others.
    """

    how: str
    trials: int
    samples_s: tuple[float, ...] = ()
    estimate_s: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.how not in (*SCHEDULED, "estimated"):
            raise InvalidMeasurement(
                f"how must be one of {', '.join(SCHEDULED)}, estimated; found {self.how!r}"
            )
        values = self.samples_s if self.estimate_s is None else (self.estimate_s,)
        if not values or not all(math.isfinite(value) and value > 0 for value in values):
            raise InvalidMeasurement(f"latencies must be finite and > 0 s, found {values}")
        estimated = (not self.samples_s, self.estimate_s is not None, bool(self.reason))
        if estimated != (self.how == "estimated",) * 3:
            raise InvalidMeasurement(
                "an estimated row has estimate_s and reason, any other has samples_s alone"
            )

    @property
    def latency(self) -> Latency:
        if self.estimate_s is not None:
            return Latency(self.estimate_s, self.estimate_s, self.estimate_s, kernels=1, estimated=1)
        return Latency.of_samples(self.samples_s, tuned=self.how != "default")


Estimate = Callable[[str, Mapping[str, Any]], float | None]  # kernel's key and description -> seconds


@dataclass(frozen=True)
class LatencyTable:
    """Measured kernels of one target.

    A sum of rows estimates a network whose kernels run one after another; what happens between kernels (cache
    contents, launches) is not in it. Looking up what was not measured is an error, never a guess.

    Attributes:
        target: name of the target.
        fingerprint: of the environment, as ``targets.Fingerprint.as_dict`` gives it.
        rows: by ``Kernel.key``.
        machine: in words, where and when it was measured: model, cores, memory, date.
        boards: on which it was measured over RPC, with what each told of its state before and after; the last
            run's alone.

    Source: sums over a table of blocks as in FBNet (arXiv:1812.03443) and SqueezeNAS (arXiv:1908.01748).
    """

    target: str
    fingerprint: Mapping[str, Any]
    rows: Mapping[str, Row] = field(default_factory=dict)
    machine: str | None = None
    boards: Sequence[Mapping[str, Any]] = ()

    def kernel(self, kernel: Kernel) -> Latency:
        """Latency of one kernel. Raises MissingEntry when it was not measured."""
        if kernel.key not in self.rows:
            raise MissingEntry(kernel.key, self.target)
        return self.rows[kernel.key].latency

    def graph(self, graph: Graph, inputs: Mapping[str, Shape]) -> Latency:
        """Latency of a block or a network: the sum over its kernels. Raises MissingEntry for a hole."""
        return Latency.total(self.kernel(kernel) for kernel in split_into_kernels(graph, inputs))

    @classmethod
    def from_store(
        cls,
        store: MeasurementStore,
        target: str,
        fingerprint: Mapping[str, Any],
        estimate: Estimate | None = None,
    ) -> "LatencyTable":
        """What was measured there: see ``MeasurementStore.fastest``.

        Args:
            estimate: asked for kernels whose every measurement failed; None leaves them out.
        """
        environment = store.find_environment(fingerprint)
        counts, descriptions = store.trial_counts(environment), store.kernels()
        fastest = store.fastest(environment)
        failed = {m.kernel: m.error for m in store.measurements(environment).values() if m.error}
        rows = {}
        for key in sorted(fastest.keys() | failed.keys()):
            if key in fastest:
                _, best = fastest[key]
                rows[key] = Row(best.how, counts.get(key, 0), best.samples_s)
            elif estimate and (seconds := estimate(key, descriptions[key])) is not None:
                rows[key] = Row("estimated", counts.get(key, 0), estimate_s=seconds, reason=failed[key])
        return cls(target, dict(fingerprint), rows)

    def save(self, folder: Path, *, made_by: str) -> None:
        """Write ``kernels.csv`` and ``table.json`` (schema, target, fingerprint, checksum, maker).

        Args:
            made_by: program and version.

        Raises CostModelError when there is no room, or the place cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for key, row in self.rows.items():
            samples = " ".join(f"{s:.9g}" for s in row.samples_s)
            estimate = "" if row.estimate_s is None else f"{row.estimate_s:.9g}"
            writer.writerow((key, row.how, row.trials, samples, estimate, row.reason))
        header = {
            "schema_version": SCHEMA_VERSION,
            "target": self.target,
            "fingerprint": dict(self.fingerprint),
            "made_by": made_by,
            "machine": self.machine,
            "boards": list(self.boards),
            "sha256": {ROWS: hashlib.sha256(text.getvalue().encode()).hexdigest()},
        }
        write_whole(folder / ROWS, text.getvalue(), "the latency table")
        write_whole(folder / HEADER, json.dumps(header, indent=2) + "\n", "the latency table")

    @classmethod
    def load(cls, folder: str | Path, *, target: str | None = None) -> "LatencyTable":
        """Read a table's folder.

        Args:
            target: name of the target it must be for; any when None.

        Raises:
            IncompatibleTable: not a table, a newer schema, damaged, or of another target.
        """
        folder = Path(folder)
        header = _read_header(folder)
        if target is not None and header["target"] != target:
            raise IncompatibleTable(
                f"{folder}: is a table of {header['target']}, not of {target}; give --table the folder of a "
                f"profile of {target}, or make one: python -m squeezenas_tvm.profile --target {target}"
            )
        try:
            content = (folder / ROWS).read_bytes()
        except OSError as error:
            raise IncompatibleTable(f"{folder / ROWS}: cannot be read ({error.strerror}); {_AGAIN}") from None
        if hashlib.sha256(content).hexdigest() != header["sha256"][ROWS]:
            raise IncompatibleTable(f"{folder / ROWS}: differs from its checksum in {HEADER}; {_AGAIN}")
        rows = _read_rows(content, header["schema_version"], folder / ROWS)
        machine, boards = header.get("machine"), tuple(header.get("boards", ()))
        return cls(header["target"], header["fingerprint"], rows, machine, boards)


_AGAIN = "profile again into the same folder: what was measured is kept there and not repeated"


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / HEADER
    try:
        header: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = header["schema_version"]
        if version not in range(1, SCHEMA_VERSION + 1):
            raise IncompatibleTable(
                f"{path}: schema {version}, this program reads 1 to {SCHEMA_VERSION}; "
                "update it or profile again"
            )
        sound = isinstance(header["target"], str) and isinstance(header["sha256"][ROWS], str)
        sound = sound and isinstance(header["fingerprint"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise IncompatibleTable(
            f"{folder}: no sound table there (a folder with {HEADER} and {ROWS}, made by profile)"
        )
    return header


def _read_rows(content: bytes, version: int, path: Path) -> dict[str, Row]:
    """Raises IncompatibleTable naming the row that is none."""
    columns = _COLUMNS if version > 1 else _COLUMNS[:4]
    try:
        header, *lines = csv.reader(io.StringIO(content.decode()))
    except (ValueError, csv.Error):
        header, lines = [], []
    if tuple(header) != columns:
        raise IncompatibleTable(f"{path}: not the rows of a table ({', '.join(columns)}); {_AGAIN}")
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, 1):
        try:
            key, row = _read_row(line, len(columns))
            if key in rows:
                raise InvalidMeasurement("the kernel has a row already, allowed is one each")
            rows[key] = row
        except (ValueError, InvalidMeasurement) as error:
            name = f"row {number}, {line[0]!r}" if line else f"row {number}"
            raise IncompatibleTable(f"{path}: {name}: {error}; {_AGAIN}") from None
    return rows


def _read_row(cells: Sequence[str], count: int) -> tuple[str, Row]:
    """Raises ValueError or InvalidMeasurement."""
    if len(cells) != count or not cells[0]:
        raise ValueError(f"{count} cells expected and a kernel in the first, found {len(cells)}")
    key, how, trials, samples, estimate, reason = (*cells, "", "")[: len(_COLUMNS)]
    samples_s = tuple(float(sample) for sample in samples.split())
    return key, Row(how, int(trials), samples_s, float(estimate) if estimate else None, reason)
