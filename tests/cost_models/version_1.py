"""Files as version 1 of the measurement store left them."""

import json
import sqlite3
from pathlib import Path

from .storing import BOARD, FINGERPRINT, KERNEL

HERE = FINGERPRINT.digest
# How version 1 made its tables. Never to be changed: files like that are out there.
VERSION_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE environments (digest TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE kernels (key TEXT PRIMARY KEY, description TEXT NOT NULL);
CREATE TABLE trials (trace TEXT NOT NULL, build_s REAL NOT NULL, run_s REAL NOT NULL,
    id INTEGER PRIMARY KEY,
    environment TEXT NOT NULL REFERENCES environments (digest),
    kernel TEXT NOT NULL REFERENCES kernels (key),
    samples_s TEXT,
    error TEXT,
    at TEXT NOT NULL,
    CHECK ((samples_s IS NULL) <> (error IS NULL)), UNIQUE (environment, kernel, id));
CREATE TABLE measurements (trial INTEGER, how TEXT NOT NULL CHECK (how IN ('tuned', 'default')),
    id INTEGER PRIMARY KEY,
    environment TEXT NOT NULL REFERENCES environments (digest),
    kernel TEXT NOT NULL REFERENCES kernels (key),
    samples_s TEXT,
    error TEXT,
    at TEXT NOT NULL,
    CHECK ((samples_s IS NULL) <> (error IS NULL)),
    FOREIGN KEY (environment, kernel, trial) REFERENCES trials (environment, kernel, id));
CREATE INDEX measurements_by_kernel ON measurements (environment, kernel);
CREATE TRIGGER trials_UPDATE BEFORE UPDATE ON trials
BEGIN SELECT RAISE(ABORT, 'results are kept for ever, never changed'); END;
CREATE TRIGGER trials_DELETE BEFORE DELETE ON trials
BEGIN SELECT RAISE(ABORT, 'results are kept for ever, never changed'); END;
CREATE TRIGGER measurements_UPDATE BEFORE UPDATE ON measurements
BEGIN SELECT RAISE(ABORT, 'results are kept for ever, never changed'); END;
CREATE TRIGGER measurements_DELETE BEFORE DELETE ON measurements
BEGIN SELECT RAISE(ABORT, 'results are kept for ever, never changed'); END;
INSERT INTO meta VALUES
    ('format', 'squeezenas_tvm measurements'), ('created_at', '2025-01-31T08:00:00+00:00');
INSERT INTO kernels VALUES ('conv1x1-16-32', '{"op":"conv"}'), ('pool', '{"op":"pool"}');
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""
# id, kernel, trace, samples_s, error, build_s, run_s
TRIALS_1 = [
    (3, KERNEL, '[["split"],[]]', "[0.30000000000000004,1e-07]", None, 0.7, 0.1),
    (7, "pool", "[]", None, "LLVM: no such µ-architecture", 0.2, 0.0),
    (8, "pool", "[1]", "[0.001]", None, 0.2, 0.0),
]
# id, kernel, how, trial, samples_s, error
MEASUREMENTS_1 = [
    (2, KERNEL, "tuned", 3, "[3.3333333333333335e-05]", None),
    (5, KERNEL, "default", None, None, "board unplugged"),
    (6, "pool", "tuned", 8, "[0.002,0.003]", None),
]


def make_version_1(path: Path, more_trials: int = 0) -> None:
    """A file as version 1 left it; with ``more_trials`` also long ones, numbered from 1001."""
    long = [(1001 + n, KERNEL, "x" * 3000, "[0.5]", None, 0.0, 0.0) for n in range(more_trials)]
    raw = sqlite3.connect(path, isolation_level=None)
    raw.executescript(VERSION_1)
    raw.execute("PRAGMA foreign_keys = ON")
    raw.execute("BEGIN")
    fingerprint = json.dumps(BOARD)
    raw.execute("INSERT INTO environments VALUES (?, ?, '2025-01-31T08:00:01+00:00')", (HERE, fingerprint))
    raw.executemany(
        "INSERT INTO trials (id, environment, kernel, trace, samples_s, error, build_s, run_s, at) "
        f"VALUES (?, '{HERE}', ?, ?, ?, ?, ?, ?, '2025-01-31T09:00:00+00:00')",
        [*TRIALS_1, *long],
    )
    raw.executemany(
        "INSERT INTO measurements (id, environment, kernel, how, trial, samples_s, error, at) "
        f"VALUES (?, '{HERE}', ?, ?, ?, ?, ?, '2025-01-31T10:00:00+00:00')",
        MEASUREMENTS_1,
    )
    raw.execute("COMMIT")
    raw.close()
