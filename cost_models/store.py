"""Everything ever measured, in one SQLite file: ``measurements.sqlite``.

Rows are only added. Samples are raw, in seconds; statistics are derived by whoever reads them. A result is
on disk before ``add_trial`` or ``add_measurement`` returns, so a killed run loses at most the one it was
storing. Several processes may write to one file; a store belongs to the thread that opened it.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from cost_models.database import PROFILE_COMMAND, connect, damaged, explained, now_utc, transaction
from cost_models.environment import differences
from cost_models.errors import InvalidMeasurement, StoreError, UnknownEnvironment
from cost_models.records import Measurement, Trial


class MeasurementStore:
    """One open store. Make it with ``open``, best in a ``with``.

    Every method raises ``StorageFull`` where there is no room, ``IncompatibleStore`` where the file turns out
    to be damaged, and ``StoreError`` where another process keeps it locked for more than a minute.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db

    @classmethod
    def open(cls, path: str | Path, *, create: bool = True) -> "MeasurementStore":
        """Open the store at ``path``; if there is none, make it and its folder, or refuse if not ``create``.

        Raises:
            StoreError: a folder, a place that cannot be written, or nothing there and not ``create``.
            IncompatibleStore: not a measurement store, of a newer schema, or damaged.
        """
        path = Path(path)
        return cls(path, connect(path, create))

    def close(self) -> None:
        """Let go of the file. Closing twice does nothing."""
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
        with transaction(self._db, self.path):
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
            return {digest: json.loads(text) for digest, text in rows}

    def add_kernel(self, key: str, description: Mapping[str, Any]) -> None:
        """Register a kernel. Adding it again changes nothing.

        Raises:
            StoreError: ``key`` is there with another description.
        """
        text = _canonical(description)
        with transaction(self._db, self.path):
            self._db.execute("INSERT OR IGNORE INTO kernels VALUES (?, ?)", (key, text))
            (kept,) = self._db.execute("SELECT description FROM kernels WHERE key = ?", (key,)).fetchone()
        if kept != text:
            raise StoreError(
                f"{self.path}: kernel {key} is {kept} there, not {text}; give another kernel another key"
            )

    def kernels(self) -> dict[str, dict[str, Any]]:
        """Description by key, oldest first."""
        rows = self._rows("SELECT key, description FROM kernels ORDER BY rowid")
        with self._sound_rows():
            return {key: json.loads(text) for key, text in rows}

    def add_trial(self, environment: str, kernel: str, trial: Trial) -> int:
        """Store one trial of a known kernel in a known environment (a digest); returns its id."""
        return self._insert(
            "trials",
            environment=environment,
            kernel=kernel,
            trace=trial.trace,
            samples_s=_samples_text(trial.samples_s),
            error=trial.error,
            build_s=trial.build_s,
            run_s=trial.run_s,
        )

    def trials(self, environment: str, kernel: str) -> dict[int, Trial]:
        """Every trial by id, failed ones included, oldest first."""
        rows = self._rows(
            "SELECT id, trace, samples_s, error, build_s, run_s FROM trials "
            "WHERE environment = ? AND kernel = ? ORDER BY id",
            (environment, kernel),
        )
        with self._sound_rows():
            return {
                id_: Trial(trace=trace, samples_s=_samples(text), error=error, build_s=build_s, run_s=run_s)
                for id_, trace, text, error, build_s, run_s in rows
            }

    def trial_counts(self, environment: str) -> dict[str, int]:
        """How many trials every kernel has there, failed ones included; untried kernels are left out."""
        return dict(
            self._rows(
                "SELECT kernel, count(*) FROM trials WHERE environment = ? GROUP BY kernel", (environment,)
            )
        )

    def add_measurement(self, environment: str, measurement: Measurement, *, trial: int | None = None) -> int:
        """Store one measurement, and the id of the trial whose schedule it timed; returns its own id."""
        return self._insert(
            "measurements",
            environment=environment,
            kernel=measurement.kernel,
            trial=trial,
            how=measurement.how,
            samples_s=_samples_text(measurement.samples_s),
            error=measurement.error,
        )

    def measurements(self, environment: str, kernel: str | None = None) -> dict[int, Measurement]:
        """Every measurement by id, of one kernel or of all, failed ones included, oldest first."""
        rows = self._rows(
            "SELECT id, kernel, how, samples_s, error FROM measurements "
            "WHERE environment = ? AND kernel = coalesce(?, kernel) ORDER BY id",
            (environment, kernel),
        )
        with self._sound_rows():
            return {
                id_: Measurement(kernel=key, how=how, samples_s=_samples(text), error=error)
                for id_, key, how, text, error in rows
            }

    def trial_of(self, measurement: int) -> int | None:
        """The id of the trial whose schedule this measurement (an id) timed; None where it names none."""
        rows = self._rows("SELECT trial FROM measurements WHERE id = ?", (measurement,))
        return rows[0][0] if rows else None

    def check(self) -> None:
        """Read the whole file. Raises IncompatibleStore if it is damaged. Takes seconds on a large store."""
        found = self._rows("PRAGMA quick_check(1)")[0][0]
        if found != "ok":
            raise damaged(self.path, str(found).replace("\n", " "))

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with explained(self.path):
            return self._db.execute(query, values).fetchall()

    def _insert(self, table: str, **row: Any) -> int:
        row["at"] = now_utc()
        query = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        with transaction(self._db, self.path):
            return int(self._db.execute(query, tuple(row.values())).lastrowid or 0)

    @contextmanager
    def _sound_rows(self) -> Iterator[None]:
        try:
            yield
        except (InvalidMeasurement, ValueError, TypeError) as error:
            raise damaged(self.path, error) from error


def _digest(environment: Mapping[str, Any]) -> str:
    """12 hex digits of SHA-256, whatever the order of the names."""
    return hashlib.sha256(_canonical(environment).encode()).hexdigest()[:12]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _samples_text(samples_s: tuple[float, ...]) -> str | None:
    return _canonical([float(sample) for sample in samples_s]) if samples_s else None


def _samples(text: str | None) -> tuple[float, ...]:
    return tuple(json.loads(text)) if text is not None else ()
