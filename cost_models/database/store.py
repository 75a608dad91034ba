"""Everything ever measured, in one SQLite file: ``measurements.sqlite``.

Rows are only added. Samples are raw, in seconds; statistics are derived by whoever reads them. A result is
on disk before ``add_trial`` or ``add_measurement`` returns, so a killed run loses at most the one it was
storing. Several processes may write to one file, and several threads to one store.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from cost_models.database.environment import differences
from cost_models.database.records import BlockTiming, How, Measurement, ReferenceRun, Trial, that_counts
from cost_models.database.sqlite import PROFILE_COMMAND, connect, damaged, explained, transaction
from cost_models.errors import InvalidMeasurement, StoreError, UnknownEnvironment
from targets.support.files import now_utc
from targets.support.strict_json import parse_json

_Record = TypeVar("_Record", Trial, Measurement, BlockTiming, ReferenceRun)
_SEQUENCES = ("samples_s", "reference_s", "notes")


class MeasurementStore:
    """One open store. Make it with ``open``, best in a ``with``.

    Every method raises ``StorageFull`` where there is no room, ``IncompatibleStore`` where the file turns out
    to be damaged, and ``StoreError`` where another process keeps it locked for more than a minute.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        # One transaction or query at a time
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: str | Path, *, create: bool = True) -> "MeasurementStore":
        """Open the store at ``path``; if there is none, make it and its folder, or refuse if not ``create``.

        A file of an older schema is upgraded in place; nothing in it is lost.

        Raises:
            StoreError: a folder, a place that cannot be written, or nothing there and not ``create``.
            IncompatibleStore: not a measurement store, of a newer schema, or damaged.
        """
        path = Path(path)
        return cls(path, connect(path, create))

    def close(self) -> None:
        """Let go of the file. Closing twice does nothing."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> "MeasurementStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add_environment(self, fingerprint: Mapping[str, Any]) -> str:
        """Register where measurements come from (``targets.Fingerprint.as_dict``); returns its digest.

        Adding it again changes nothing.
        """
        digest = _digest(fingerprint)
        row = (digest, _canonical(fingerprint), now_utc())
        with self._lock, transaction(self._db, self.path):
            self._db.execute("INSERT OR IGNORE INTO environments VALUES (?, ?, ?)", row)
        return digest

    def find_environment(self, fingerprint: Mapping[str, Any]) -> str:
        """The digest of ``fingerprint``, for reading what was measured there.

        Raises:
            UnknownEnvironment: it is not in the store; the message says how the nearest one differs.
        """
        known = self.environments()
        digest = _digest(fingerprint)
        if digest in known:
            return digest
        if not known:
            raise UnknownEnvironment(f"{self.path}: nothing measured yet; measure with: {PROFILE_COMMAND}")
        nearest = min((differences(there, fingerprint) for there in known.values()), key=len)
        raise UnknownEnvironment(
            f"{self.path}: not measured in this environment; the nearest of {len(known)} there has "
            f"{', '.join(nearest)}; ask for that one, or measure with: {PROFILE_COMMAND}"
        )

    def environments(self) -> dict[str, dict[str, Any]]:
        """Fingerprint by digest, oldest first."""
        rows = self._rows("SELECT digest, fingerprint FROM environments ORDER BY rowid")
        with self._sound_rows():
            return {digest: _object(text) for digest, text in rows}

    def add_kernel(self, key: str, description: Mapping[str, Any]) -> None:
        """Register a kernel. Adding it again changes nothing.

        Raises:
            StoreError: ``key`` is there with another description.
        """
        self._describe("kernels", key, description)

    def kernels(self) -> dict[str, dict[str, Any]]:
        """Description by key, oldest first."""
        return self._described("kernels")

    def add_block(self, key: str, description: Mapping[str, Any]) -> None:
        """Register a block that is timed as one module. Adding it again changes nothing.

        Raises:
            StoreError: ``key`` is there with another description.
        """
        self._describe("blocks", key, description)

    def blocks(self) -> dict[str, dict[str, Any]]:
        """Description by key, oldest first."""
        return self._described("blocks")

    def add_trial(self, environment: str, kernel: str, trial: Trial) -> int:
        """Store one trial of a known kernel in a known environment (a digest); returns its id."""
        return self._insert("trials", environment=environment, kernel=kernel, **_columns(trial))

    def add_trials(self, environment: str, trials: Iterable[tuple[str, Trial]]) -> None:
        """Store trials, each after its kernel, all of them or none."""
        more = {"environment": environment, "at": now_utc()}
        rows = [{"kernel": kernel, **more, **_columns(trial)} for kernel, trial in trials]
        with self._lock, transaction(self._db, self.path):
            for row in rows:
                self._db.execute(_insertion("trials", row), tuple(row.values()))

    def trials(self, environment: str, kernel: str) -> dict[int, Trial]:
        """Every trial by id, failed ones included, oldest first."""
        return self._records(Trial, "trials", "environment = ? AND kernel = ?", environment, kernel)

    def trial_counts(self, environment: str, kernel: str | None = None) -> dict[str, int]:
        """How many trials one kernel or every one has, failed ones included; untried kernels are left out."""
        where = "environment = ?" if kernel is None else "environment = ? AND kernel = ?"
        query = f"SELECT kernel, count(*) FROM trials WHERE {where} GROUP BY kernel"
        return dict(self._rows(query, environment, *([] if kernel is None else [kernel])))

    def add_measurement(self, environment: str, measurement: Measurement, *, trial: int | None = None) -> int:
        """Store one measurement, and the id of the trial whose schedule it timed; returns its own id."""
        return self._insert("measurements", environment=environment, trial=trial, **_columns(measurement))

    def measurements(self, environment: str, kernel: str | None = None) -> dict[int, Measurement]:
        """Every measurement by id, of one kernel or of all, failed ones included, oldest first."""
        where = "environment = ? AND kernel = coalesce(?, kernel)"
        return self._records(Measurement, "measurements", where, environment, kernel)

    def timings(
        self, environment: str, kernel: str | None = None
    ) -> dict[str, dict[int | None, list[Measurement]]]:
        """Measurements of one kernel or of all, oldest first: kernel -> id of the trial -> its timings.

        The default schedule, which no trial stands behind, has None for an id.
        """
        where = "environment = ? AND kernel = coalesce(?, kernel)"
        query = f"SELECT trial, {_names(Measurement)} FROM measurements WHERE {where} ORDER BY id"
        found: dict[str, dict[int | None, list[Measurement]]] = {}
        rows = self._rows(query, environment, kernel)
        with self._sound_rows():
            for trial, *row in rows:
                timing = _record(Measurement, row)
                found.setdefault(timing.kernel, {}).setdefault(trial, []).append(timing)
        return found

    def fastest(
        self, environment: str, kernel: str | None = None
    ) -> dict[str, tuple[int | None, Measurement]]:
        """What a kernel's latency is, of one or of all: id of the trial and timing of its best schedule.

        Of several timings of one schedule one counts, see ``that_counts``. Kernels without a good timing are
        left out.
        """
        found = {}
        for key, schedules in self.timings(environment, kernel).items():
            counting = {id_: timing for id_, all_ in schedules.items() if (timing := that_counts(all_))}
            if counting:
                trial = min(counting, key=lambda trial: counting[trial].median_s)
                found[key] = (trial, counting[trial])
        return found

    def add_block_timing(self, environment: str, timing: BlockTiming) -> int:
        """Store the timing of a known block in a known environment (a digest); returns its id."""
        return self._insert("block_timings", environment=environment, **_columns(timing))

    def block_timings(self, environment: str) -> dict[int, BlockTiming]:
        """Every timing of a block by id, failed ones included, oldest first."""
        return self._records(BlockTiming, "block_timings", "environment = ?", environment)

    def add_reference(self, environment: str, run: ReferenceRun) -> int:
        """Store a run of the reference kernel in a known environment (a digest); returns its id."""
        return self._insert("reference_runs", environment=environment, **_columns(run))

    def references(self, environment: str) -> dict[int, ReferenceRun]:
        """Every run of the reference kernel by id, in the order in which they were stored."""
        return self._records(ReferenceRun, "reference_runs", "environment = ?", environment)

    def check(self) -> None:
        """Read the whole file. Raises IncompatibleStore if it is damaged. Takes seconds on a large store."""
        found = self._rows("PRAGMA quick_check(1)")[0][0]
        if found != "ok":
            raise damaged(self.path, str(found).replace("\n", " "))

    def _describe(self, table: str, key: str, description: Mapping[str, Any]) -> None:
        text = _canonical(description)
        with self._lock, transaction(self._db, self.path):
            self._db.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", (key, text))
            query = f"SELECT description FROM {table} WHERE key = ?"
            (kept,) = self._db.execute(query, (key,)).fetchone()
        if kept != text:
            thing = table[:-1]
            raise StoreError(
                f"{self.path}: {thing} {key} is {kept} there, not {text}; give another {thing} another key"
            )

    def _described(self, table: str) -> dict[str, dict[str, Any]]:
        rows = self._rows(f"SELECT key, description FROM {table} ORDER BY rowid")
        with self._sound_rows():
            return {key: _object(text) for key, text in rows}

    def _records(self, kind: type[_Record], table: str, where: str, *values: Any) -> dict[int, _Record]:
        rows = self._rows(f"SELECT id, {_names(kind)} FROM {table} WHERE {where} ORDER BY id", *values)
        with self._sound_rows():
            return {id_: _record(kind, row) for id_, *row in rows}

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock, explained(self.path):
            return self._db.execute(query, values).fetchall()

    def _insert(self, table: str, **row: Any) -> int:
        row.setdefault("at", now_utc())
        with self._lock, transaction(self._db, self.path):
            return int(self._db.execute(_insertion(table, row), tuple(row.values())).lastrowid or 0)

    @contextmanager
    def _sound_rows(self) -> Iterator[None]:
        try:
            yield
        except (InvalidMeasurement, ValueError, TypeError, AttributeError) as error:
            raise damaged(self.path, error) from error


def _digest(environment: Mapping[str, Any]) -> str:
    """12 hex digits of SHA-256, whatever the order of the names."""
    return hashlib.sha256(_canonical(environment).encode()).hexdigest()[:12]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _insertion(table: str, row: Mapping[str, Any]) -> str:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"


def _names(kind: type[Any]) -> str:
    """Columns of a record: they have the names of its attributes."""
    return ", ".join(field.name for field in fields(kind))


def _columns(record: Any) -> dict[str, Any]:
    """Column -> value as SQLite keeps it: sequences as JSON, empty ones as NULL."""
    row = {field.name: getattr(record, field.name) for field in fields(record)}
    lists = {name: _canonical(row[name]) if row[name] else None for name in _SEQUENCES if name in row}
    return row | lists


def _record(kind: type[_Record], row: Sequence[Any]) -> _Record:
    """The inverse of ``_columns``; ``row`` is in the order of ``_names``."""
    values: dict[str, Any] = dict(zip(_names(kind).split(", "), row, strict=True))
    words = {"how": How(values["how"])} if "how" in values else {}
    lists = {name: _sequence(values[name]) for name in _SEQUENCES if name in values}
    return kind(**values | words | lists)


def _sequence(text: str | None) -> tuple[Any, ...]:
    if text is None:
        return ()
    found = parse_json(text)
    if not isinstance(found, list):
        raise ValueError(f"found {type(found).__name__}, allowed: a list")
    return tuple(found)


def _object(text: str) -> dict[str, Any]:
    found = parse_json(text)
    if not isinstance(found, dict):
        raise ValueError(f"found {type(found).__name__}, allowed: an object")
    return found
