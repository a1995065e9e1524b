"""The store's schema, as the ordered steps that make it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """One step of the schema. Applied once, in order, each in a transaction with its record."""

    name: str
    statements: tuple[str, ...]


MIGRATIONS: Final = (
    Migration(
        name="0001-runs-tests-results-events",
        statements=(
            """CREATE TABLE runs (
                id INTEGER PRIMARY KEY,
                run_id TEXT NOT NULL UNIQUE,
                producer_id TEXT NOT NULL,
                seq INTEGER NOT NULL,
                offset INTEGER NOT NULL,
                observed INTEGER NOT NULL,
                started REAL NOT NULL,
                state TEXT NOT NULL,
                final INTEGER NOT NULL,
                ingest TEXT NOT NULL,
                snapshot TEXT NOT NULL
            )""",
            "CREATE INDEX runs_by_start ON runs (started)",
            # Ids are given in the order of first sight: a suite runs in much the same order every time, so that rows
            # of `results` come nearly sorted, and the history of a test is one look-up a run.
            "CREATE TABLE tests (id INTEGER PRIMARY KEY, nodeid TEXT NOT NULL UNIQUE)",
            """CREATE TABLE results (
                run INTEGER NOT NULL,
                test INTEGER NOT NULL,
                seq INTEGER NOT NULL,
                status TEXT NOT NULL,
                phase TEXT,
                started REAL,
                duration REAL,
                worker TEXT,
                crc INTEGER NOT NULL,
                details TEXT,
                PRIMARY KEY (run, test, seq)
            ) WITHOUT ROWID""",
            "CREATE INDEX bad_results ON results (run, seq) WHERE status IN ('FAIL', 'ERROR')",
            """CREATE TABLE events (
                run INTEGER NOT NULL,
                seq INTEGER NOT NULL,
                type TEXT NOT NULL,
                timestamp REAL NOT NULL,
                crc INTEGER NOT NULL,
                payload TEXT NOT NULL,
                PRIMARY KEY (run, seq)
            ) WITHOUT ROWID""",
        ),
    ),
    Migration(
        name="0002-journal-of-several-files",
        statements=(
            "ALTER TABLE runs ADD COLUMN offsets TEXT NOT NULL DEFAULT '{}'",
            """UPDATE runs SET offsets = '{"0":' || offset || '}'""",
            "ALTER TABLE runs DROP COLUMN offset",
            # Lines that came with the seq of another line and other content: kept to be looked at, never shown as results.
            "CREATE TABLE conflicts (run INTEGER NOT NULL, seq INTEGER NOT NULL, source TEXT NOT NULL, line BLOB NOT NULL)",
            "CREATE INDEX conflicts_by_run ON conflicts (run, seq)",
        ),
    ),
    Migration(
        name="0003-runs-listed-from-an-index",
        statements=(
            # Every question begins with when each run began; a run's own row has its snapshot, of kilobytes.
            "DROP INDEX runs_by_start",
            "CREATE INDEX runs_by_start ON runs (started, run_id)",
        ),
    ),
    Migration(
        name="0004-events-found-without-their-payloads",
        statements=(
            # In a table without row ids SQLite reads a whole row to compare its key once that has overflow pages, and a
            # chunk of collected node ids had 256 KiB then.
            """CREATE TABLE events_by_rowid (
                run INTEGER NOT NULL,
                seq INTEGER NOT NULL,
                type TEXT NOT NULL,
                timestamp REAL NOT NULL,
                crc INTEGER NOT NULL,
                payload TEXT NOT NULL,
                PRIMARY KEY (run, seq)
            )""",
            "INSERT INTO events_by_rowid SELECT run, seq, type, timestamp, crc, payload FROM events ORDER BY run, seq",
            "DROP TABLE events",
            "ALTER TABLE events_by_rowid RENAME TO events",
        ),
    ),
)
