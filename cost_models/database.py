"""The SQLite file under ``store.py``: its tables, opening it safely, and its errors in plain words."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from cost_models.errors import IncompatibleStore, StorageFull, StoreError

SCHEMA_VERSION = 1
PROFILE_COMMAND = "python -m squeezenas_tvm.profile --target NAME"
_FORMAT = "squeezenas_tvm measurements"
_BUSY_TIMEOUT_S = 60.0

_RESULT = """
    id INTEGER PRIMARY KEY,
    environment TEXT NOT NULL REFERENCES environments (digest),
    kernel TEXT NOT NULL REFERENCES kernels (key),
    samples_s TEXT,
    error TEXT,
    at TEXT NOT NULL,
    CHECK ((samples_s IS NULL) <> (error IS NULL))"""
# The foreign key of `measurements` keeps a measurement from naming a trial of another kernel or environment.
_SCHEMA = [
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE environments (digest TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at TEXT NOT NULL)",
    "CREATE TABLE kernels (key TEXT PRIMARY KEY, description TEXT NOT NULL)",
    "CREATE TABLE trials (trace TEXT NOT NULL, build_s REAL NOT NULL, run_s REAL NOT NULL,"
    f"{_RESULT}, UNIQUE (environment, kernel, id))",
    "CREATE TABLE measurements (trial INTEGER, how TEXT NOT NULL CHECK (how IN ('tuned', 'default')),"
    f"{_RESULT}, FOREIGN KEY (environment, kernel, trial) REFERENCES trials (environment, kernel, id))",
    "CREATE INDEX measurements_by_kernel ON measurements (environment, kernel)",
    *(
        f"CREATE TRIGGER {table}_{action} BEFORE {action} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'results are kept for ever, never changed'); END"
        for table in ("trials", "measurements")
        for action in ("UPDATE", "DELETE")
    ),
]


def connect(path: Path, create: bool) -> sqlite3.Connection:
    """Open the store at ``path``; where there is none, make it, with its folder, or refuse if not ``create``.

    Raises:
        StoreError: a folder, a place that cannot be written, or nothing there and not ``create``.
        IncompatibleStore: not a measurement store, of a newer schema, or damaged. The file is left as it was.
    """
    _check_place(path, create)
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    with explained(path):
        # isolation_level=None: transactions start and end where `transaction` says so, on every Python.
        db = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
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
        db.execute("BEGIN IMMEDIATE")
        try:
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


def now_utc() -> str:
    """ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _check_place(path: Path, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; name a file, such as {path / 'measurements.sqlite'}")
    if not create and not path.exists():
        raise StoreError(f"{path}: no measurements there; make them with: {PROFILE_COMMAND}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path}: its folder cannot be made ({error.strerror}); choose a place that can be written"
        ) from error


def _prepare(db: sqlite3.Connection, path: Path, create: bool) -> None:
    with transaction(db, path):  # so that of several processes only one makes the tables
        if _is_fresh(db, path):
            if not create:
                raise IncompatibleStore(
                    f"{path}: is empty, not a measurement store; make one with: {PROFILE_COMMAND}"
                )
            _create_tables(db)
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


def _is_fresh(db: sqlite3.Connection, path: Path) -> bool:
    """True for an empty database, False for a store of this schema; anything else is refused."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables and version == 0:
        return True
    found = (
        db.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() if "meta" in tables else None
    )
    if found != (_FORMAT,):
        raise IncompatibleStore(
            f"{path}: is another program's database, not a measurement store; name another file"
        )
    if version != SCHEMA_VERSION:
        raise IncompatibleStore(
            f"{path}: has schema {version}, this squeezenas_tvm reads schema {SCHEMA_VERSION}; "
            f"use the release that wrote it, or a newer one, or measure into another file"
        )
    return False


def _create_tables(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        db.execute(statement)
    db.executemany("INSERT INTO meta VALUES (?, ?)", [("format", _FORMAT), ("created_at", now_utc())])
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _explain(path: Path, said: str) -> StoreError:
    """SQLite's message decides: Python 3.10 does not give its error codes."""
    if "disk is full" in said or "disk I/O error" in said:
        return StorageFull(
            f"{path}: cannot be written ({said}); every result stored before is kept; "
            f"make room on that disk and give the same command again"
        )
    if "FOREIGN KEY" in said:
        return StoreError(
            f"{path}: the result's environment, kernel or trial is not in the store; add those first"
        )
    if "not a database" in said or "malformed" in said:
        return damaged(path, said)
    if "locked" in said:
        return StoreError(
            f"{path}: another process kept it locked for {_BUSY_TIMEOUT_S:.0f} s; "
            f"stop that process and give the same command again"
        )
    return StoreError(f"{path}: {said}; the file and its folder must be there and writable")
