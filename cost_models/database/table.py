"""Latency of kernels on one target, and sums of them: the table that search and estimates read.

Needs neither TVM nor the device. A table belongs to one environment (device, power mode, compiler versions,
flags, dtype, measuring protocol); rows of another are never mixed in. Raw samples are kept in every row,
statistics are derived from them. A kernel that no schedule works for has an estimate, and says so.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from cost_models.database.environment import differences
from cost_models.database.history import History
from cost_models.database.profiled import Profiled, merged, told_by_labels
from cost_models.database.records import How
from cost_models.database.rows import COLUMNS, Row, SampleStatistics, rows_from_csv, rows_to_csv
from cost_models.errors import IncompatibleTable, InvalidMeasurement, MissingEntry
from cost_models.estimate import Estimate
from cost_models.ir.fusion import Kernel, split_into_kernels
from cost_models.ir.graph import Graph
from cost_models.ir.ops import Shape
from targets.support.document import DocumentWithFiles
from targets.target import profile_command

ROWS, HEADER = "kernels.csv", "table.json"

Guess = Callable[[str, Mapping[str, Any]], float | None]  # kernel's key and description -> seconds


class TableDocument(DocumentWithFiles):
    """``table.json``, see ``LatencyTable``. Rows of schema 1 have no estimates; 2 lacks ``profiled``."""

    WHAT: ClassVar[str] = "a latency table"
    SCHEMA: ClassVar[int] = 3
    REFUSAL = IncompatibleTable
    AGAIN: ClassVar[str] = (
        "profile again into the same folder, where what was measured is kept and not repeated, or give the "
        "folder of another profile"
    )
    FILE: ClassVar[str] = HEADER

    target: str
    fingerprint: dict[str, Any]
    machine: str | None = None
    boards: tuple[dict[str, Any], ...] = ()
    profiled: tuple[Profiled, ...] = ()


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
        profiled: what it was made for, the earliest first.
        made_by: program and version; empty before it is saved.

    Source: sums over a table of blocks as in FBNet (arXiv:1812.03443) and SqueezeNAS (arXiv:1908.01748).
    """

    target: str
    fingerprint: Mapping[str, Any]
    rows: Mapping[str, Row] = field(default_factory=dict)
    machine: str | None = None
    boards: Sequence[Mapping[str, Any]] = ()
    profiled: Sequence[Profiled] = ()
    made_by: str = field(default="", compare=False)

    def kernels(self, kernels: Sequence[Kernel]) -> list[Estimate | None]:
        """What was measured; None for the others, estimated rows among them."""
        rows = (self.rows.get(kernel.key) for kernel in kernels)
        return [None if row is None else row.estimate for row in rows]

    def digest(self) -> str:
        """Of the rows."""
        return hashlib.sha256(rows_to_csv(dict(sorted(self.rows.items()))).encode()).hexdigest()

    def resolutions(self, kernel: Kernel) -> frozenset[str]:
        """Those that were profiled and have the kernel, HxW."""
        return frozenset(one.resolution for one in self.profiled if kernel.key in one.kernels)

    def statistics(self, kernel: Kernel) -> SampleStatistics:
        """Of the samples of one kernel. Raises MissingEntry when it was not measured."""
        if kernel.key not in self.rows:
            raise MissingEntry(kernel.key, self.target)
        return self.rows[kernel.key].statistics

    def graph(self, graph: Graph, inputs: Mapping[str, Shape]) -> SampleStatistics:
        """Of a block or a network: the sum over its kernels. Raises MissingEntry for a hole."""
        return SampleStatistics.total(self.statistics(kernel) for kernel in split_into_kernels(graph, inputs))

    def also_for(self, folder: Path, profiled: Iterable[Profiled] = ()) -> "LatencyTable":
        """The table, made for what the one in ``folder`` was made for, and for more.

        Whatever is there of another environment, or damaged, counts as nothing.
        """
        earlier: Sequence[Profiled] = ()
        try:
            if (folder / HEADER).exists():
                there = LatencyTable.load(folder)
                earlier = [] if differences(there.fingerprint, self.fingerprint) else there.profiled
        except IncompatibleTable:
            pass
        return replace(self, profiled=merged(earlier, profiled))

    @classmethod
    def from_history(cls, history: History, target: str, guess: Guess | None = None) -> "LatencyTable":
        """What was measured there: see ``MeasurementStore.fastest``.

        Args:
            guess: asked for kernels whose every measurement failed; None leaves them out.
        """
        store, environment = history.store, history.environment
        counts, descriptions = store.trial_counts(environment), store.kernels()
        fastest = store.fastest(environment)
        failed = {m.kernel: m.error for m in store.measurements(environment).values() if m.error}
        rows = {}
        for key in sorted(fastest.keys() | failed.keys()):
            if key in fastest:
                _, best = fastest[key]
                rows[key] = Row(best.how, counts.get(key, 0), best.samples_s)
            elif guess and (seconds := guess(key, descriptions[key])) is not None:
                rows[key] = Row(How.ESTIMATED, counts.get(key, 0), estimate_s=seconds, reason=failed[key])
        return cls(target, dict(history.fingerprint), rows)

    def save(self, folder: Path, *, made_by: str) -> None:
        """Write ``kernels.csv`` and ``table.json``.

        Args:
            made_by: program and version.

        Raises FailedWrite when there is no room, or the place cannot be written.
        """
        files = {ROWS: rows_to_csv(self.rows)}
        document = TableDocument(
            schema_version=TableDocument.SCHEMA,
            made_by=made_by,
            target=self.target,
            fingerprint=dict(self.fingerprint),
            machine=self.machine,
            boards=tuple(dict(board) for board in self.boards),
            profiled=tuple(self.profiled),
            sha256=TableDocument.sums(files),
        )
        document.save_with(folder, files)

    @classmethod
    def load(cls, folder: str | Path, *, target: str | None = None) -> "LatencyTable":
        """Read a table's folder.

        Args:
            target: name of the target it must be for; any when None.

        Raises:
            IncompatibleTable: not a table, a newer schema, damaged, or of another target.
        """
        folder = Path(folder)
        header = TableDocument.load(folder / HEADER)
        if target is not None and header.target != target:
            raise IncompatibleTable(
                f"{folder}: is a table of {header.target}, not of {target}; give --table the folder of a "
                f"profile of {target}, or make one: {profile_command(target)}"
            )
        content = header.content(folder, ROWS)
        try:
            rows = rows_from_csv(content, COLUMNS if header.schema_version > 1 else COLUMNS[:4])
        except InvalidMeasurement as error:
            raise IncompatibleTable(f"{folder / ROWS}: {error}; {header.AGAIN}") from None
        return cls(
            header.target,
            header.fingerprint,
            rows,
            header.machine,
            header.boards,
            tuple(header.profiled if header.schema_version > 2 else told_by_labels(rows)),
            header.made_by,
        )
