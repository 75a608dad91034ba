"""The SQLite file under ``store.py``: its tables, opening it safely, and its errors in plain words."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cost_models.errors import IncompatibleStore, StorageFull, StoreError
from targets.support.commands import command_line

SCHEMA_VERSION = 2
PROFILE_COMMAND = command_line("profile", "--target", "NAME")
_FORMAT = "squeezenas_tvm measurements"
_BUSY_TIMEOUT_S = 60.0

_RUN = """
    id INTEGER PRIMARY KEY,
    environment TEXT NOT NULL REFERENCES environments (digest),
    board TEXT NOT NULL,
    at TEXT NOT NULL"""
_OUTCOME = """
    samples_s TEXT,
    error TEXT CHECK ((samples_s IS NULL) <> (error IS NULL))"""
# Schedules are long and last: whoever reads samples alone does not read them.
# The foreign key of `measurements` keeps a measurement from naming a trial of another kernel or environment.
_RESULTS = [
    "CREATE TABLE blocks (key TEXT PRIMARY KEY, description TEXT NOT NULL)",
    f"""CREATE TABLE trials ({_RUN}, {_OUTCOME},
    kernel TEXT NOT NULL REFERENCES kernels (key),
    origin TEXT NOT NULL CHECK (origin IN ('evolution', 'tiles', 'transfer')),
    build_s REAL NOT NULL,
    upload_s REAL NOT NULL,
    run_s REAL NOT NULL,
    schedule TEXT NOT NULL,
    UNIQUE (environment, kernel, id))""",
    f"""CREATE TABLE measurements ({_RUN}, {_OUTCOME},
    kernel TEXT NOT NULL REFERENCES kernels (key),
    how TEXT NOT NULL CHECK (how IN ('default', 'tuned', 'transferred')),
    trial INTEGER,
    reference_s TEXT,
    notes TEXT,
    FOREIGN KEY (environment, kernel, trial) REFERENCES trials (environment, kernel, id))""",
    "CREATE INDEX measurements_by_kernel ON measurements (environment, kernel)",
    f"""CREATE TABLE block_timings ({_RUN}, {_OUTCOME},
    block TEXT NOT NULL REFERENCES blocks (key),
    cache TEXT NOT NULL CHECK (cache IN ('warm', 'cold')),
    sum_s REAL)""",
    f"CREATE TABLE reference_runs ({_RUN}, samples_s TEXT NOT NULL)",
    *(
        f"CREATE TRIGGER {table}_{action} BEFORE {action} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'results are kept for ever, never changed'); END"
        for table in ("trials", "measurements", "block_timings", "reference_runs")
        for action in ("UPDATE", "DELETE")
    ),
]
_NEW = [
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"INSERT INTO meta VALUES ('format', '{_FORMAT}'), "
    "('created_at', strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'))",
    "CREATE TABLE environments (digest TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at TEXT NOT NULL)",
    "CREATE TABLE kernels (key TEXT PRIMARY KEY, description TEXT NOT NULL)",
    *_RESULTS,
]
# SQLite cannot alter a CHECK: the tables are made anew and their rows copied, with their ids.
_FROM_1_TO_2 = [
    *(
        f"DROP TRIGGER {table}_{action}"
        for table in ("trials", "measurements")
        for action in ("UPDATE", "DELETE")
    ),
    "DROP INDEX measurements_by_kernel",
    "ALTER TABLE trials RENAME TO trials_1",
    "ALTER TABLE measurements RENAME TO measurements_1",
    *_RESULTS,
    "INSERT INTO trials (id, environment, board, at, samples_s, error, kernel, origin, build_s, upload_s, "
    "run_s, schedule) SELECT id, environment, '', at, samples_s, error, kernel, 'evolution', build_s, 0, "
    "run_s, trace FROM trials_1",
    "INSERT INTO measurements (id, environment, board, at, samples_s, error, kernel, how, trial) "
    "SELECT id, environment, '', at, samples_s, error, kernel, how, trial FROM measurements_1",
    "DROP TABLE measurements_1",
    "DROP TABLE trials_1",
]


def connect(path: Path, create: bool) -> sqlite3.Connection:
    """Open the store at ``path``; where there is none, make it, with its folder, or refuse if not ``create``.

    A file of an older schema is upgraded in place, all of it or nothing. The connection may be used from
    several threads, one at a time.

    Raises:
        StoreError: a folder, a place that cannot be written, or nothing there and not ``create``.
        IncompatibleStore: not a measurement store, of a newer schema, or damaged. The file is left as it was.
    """
    _check_place(path, create)
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    with explained(path):
        # isolation_level=None: transactions start and end where `transaction` says so, on every Python.
        db = sqlite3.connect(
            uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(db, path, create)
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All of the block's statements are stored, or none; stored means on disk."""
    with explained(path):
        try:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite itself ends it after some errors, such as a full disk
                db.execute("ROLLBACK")
            raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into this package's, which say what to do."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a mistake of the caller, such as a closed store
    except sqlite3.DatabaseError as error:
        raise _explain(path, str(error)) from error


def damaged(path: Path, what: object) -> IncompatibleStore:
    """The error for a file whose contents cannot be trusted."""
    return IncompatibleStore(
        f"{path}: is not a sound measurement store ({what}); "
        f"name another file, or move this one away and measure again"
    )


def _check_place(path: Path, create: bool) -> None:
    try:
        if path.is_dir():
            raise StoreError(f"{path}: is a folder; name a file, such as {path / 'measurements.sqlite'}")
        if not create and not path.exists():
            raise StoreError(f"{path}: no measurements there; make them with: {PROFILE_COMMAND}")
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path}: its folder cannot be made or entered ({error.strerror}); "
            f"choose a place that can be written"
        ) from error


def _prepare(db: sqlite3.Connection, path: Path, create: bool) -> None:
    with transaction(db, path):  # so that of several processes only one makes or upgrades the tables
        version = _schema_of(db, path)
        if version is None and not create:
            raise IncompatibleStore(
                f"{path}: is empty, not a measurement store; make one with: {PROFILE_COMMAND}"
            )
        if version != SCHEMA_VERSION:
            for statement in _NEW if version is None else _FROM_1_TO_2:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    _write_ahead(db)
    db.execute("PRAGMA synchronous = FULL")  # a result that was reported outlives a power cut too
    db.execute("PRAGMA foreign_keys = ON")


def _write_ahead(db: sqlite3.Connection) -> None:
    """Let one process write while others read. Here SQLite does not wait by itself for a lock."""
    give_up_at = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)


def _schema_of(db: sqlite3.Connection, path: Path) -> int | None:
    """Version of a store's schema, None for an empty database; what this release cannot read is refused."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables and version == 0:
        return None
    found = (
        db.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() if "meta" in tables else None
    )
    if found != (_FORMAT,):
        raise IncompatibleStore(
            f"{path}: is another program's database, not a measurement store; name another file"
        )
    if not 1 <= version <= SCHEMA_VERSION:
        raise IncompatibleStore(
            f"{path}: has schema {version}, this squeezenas_tvm reads schema {SCHEMA_VERSION}; "
            f"use the release that wrote it, or a newer one, or measure into another file"
        )
    return int(version)


def _explain(path: Path, said: str) -> StoreError:
    """SQLite's message decides: Python 3.10 does not give its error codes."""
    if "disk is full" in said or "disk I/O error" in said:
        return StorageFull(
            f"{path}: cannot be written ({said}); every result stored before is kept; "
            f"make room on that disk and give the same command again"
        )
    if "FOREIGN KEY" in said:
        return StoreError(
            f"{path}: the result's environment, kernel, block or trial is not in the store; add those first"
        )
    if any(what in said for what in ("not a database", "malformed", "user-defined function")):
        return damaged(path, said)
    if "locked" in said:
        return StoreError(
            f"{path}: another process kept it locked for {_BUSY_TIMEOUT_S:.0f} s; "
            f"stop that process and give the same command again"
        )
    return StoreError(f"{path}: {said}; the file and its folder must be there and writable, even to read")
