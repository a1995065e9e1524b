"""The store: a projection of the journals in SQLite. Written by one connection only; readers use `archive.py`.

`Store` is blocking and belongs to one thread at a time; `Committer` brings the batches of all runs into it in groups.
What is committed together is a run's rows, its stored seq and its reducer's state, so any of them can be trusted.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from threepio_client.archive import RUN_COLUMNS, StoredRun, offsets_of, stored_run
from threepio_client.errors import ThreepioError
from threepio_client.events import EventType, Payload
from threepio_client.journal import sync_directory
from threepio_client.line import Event
from threepio_client.runstate import RunState

log = logging.getLogger("threepiod.store")

HOLE: Final = "hole"
"""Type of the row that stands for lines of the journal that nobody can read."""

CONFLICTS_KEPT: Final = 100
"""Conflicting lines of a run that are kept, 512 KiB each at most; all are counted."""
BUSY_TIMEOUT_MS: Final = 10_000

LOG_BYTES: Final = 4 * 1024 * 1024
"""Bytes written to the log after which it is folded into the store: SQLite's own default is 1,000 pages, as many bytes."""
TAKEN_BYTES: Final = 1536 * 1024
"""Bytes of lines that all runs together may have taken and not stored; as rows they take three times as much."""
READERS: Final = 1
"""Journals read at once: the events of 256 KiB of lines take 2 MiB before they are rows."""
COMMIT_BYTES: Final = 32 * 1024
"""What a commit writes beside the lines: the pages of the run's row and of the indexes that change."""

CACHE_KIB: Final = 2 * 1024
"""SQLite's page cache: with it the daemon stays under its memory limit whatever the store's size."""


class StoreError(ThreepioError):
    """The store cannot be opened or written; the journals hold everything that it was to take."""

    exit_code = 5


class DamagedStore(StoreError):
    """The store's file is damaged, or is no store at all."""


class NewerStore(StoreError):
    """The store was made by a newer version, which alone knows what is in it."""


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
)

_IN_COLUMNS: Final = frozenset(
    {"testName", "parentNames", "nodeid", "status", "phase", "started", "duration", "worker"}
)
"""Payload keys of a testCase that have a column, or that the node id says."""


_REMOVE_TEST: Final = """DELETE FROM tests WHERE id = ? AND (
    SELECT 1 FROM runs CROSS JOIN results ON results.run = runs.id AND results.test = tests.id ORDER BY runs.id DESC LIMIT 1
) IS NULL"""
"""The newest runs are asked first: they have nearly every test."""


class KnownFiles(NamedTuple):
    """What is stored of a run's files.

    Attributes:
        offsets: bytes of each journal file, by number.
        observed: bytes of the observation file.
        final: whether nothing more is expected.
    """

    offsets: dict[int, int]
    observed: int
    final: bool


@dataclass(kw_only=True, slots=True)
class Batch:
    """What one transaction adds to one run.

    Attributes:
        key: the run's number in the store.
        seq, offsets, observed, final, ingest, state: as in `StoredRun`, after this batch.
        nodeids, results, events, conflicts: rows for the tables.
        size: bytes of the lines in it.
    """

    key: int
    nodeids: list[tuple[str]] = field(default_factory=list)
    results: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    conflicts: list[tuple[Any, ...]] = field(default_factory=list)
    size: int = 0
    seq: int = 0
    offsets: str = "{}"
    observed: int = 0
    final: bool = False
    ingest: str = "{}"
    started: float = 0.0
    state: str = "running"
    snapshot: str = "{}"

    def __len__(self) -> int:
        return len(self.results) + len(self.events)

    def take(self, event: Event, size: int, state: RunState) -> None:
        """Add the next event that there is of the run, of a line of `size` bytes, and fold it into the run's state.

        Those between the state's last one and this one cannot be read.
        """
        if event.seq > state.seq + 1:
            self.add_hole(state.seq + 1, event.seq - 1, "unreadable", event.timestamp)
        state.fold(event)
        self.add(event, size)

    def take_conflict(self, seq: int, source: str, line: bytes, state: RunState) -> None:
        """Add a line that came with the seq of another one; `source` is `socket` or `journal`."""
        if state.conflicts < CONFLICTS_KEPT:
            self.conflicts.append((self.key, seq, source, line))
        state.fold_conflict()

    def add(self, event: Event, size: int) -> None:
        """Add one event, of a line of `size` bytes."""
        payload = event.payload
        nodeid, status = payload.get("nodeid"), payload.get("status")
        self.size += size
        if event.type == EventType.TEST_CASE and isinstance(nodeid, str) and isinstance(status, str):
            self.nodeids.append((nodeid,))
            self.results.append(
                (
                    self.key,
                    nodeid,
                    event.seq,
                    status,
                    _plain(payload.get("phase")),
                    _plain(payload.get("started")),
                    _plain(payload.get("duration")),
                    _plain(payload.get("worker")),
                    event.crc,
                    _details(payload),
                )
            )
        else:
            self.events.append((self.key, event.seq, event.type, event.timestamp, event.crc, _json(payload)))

    def add_hole(self, first: int, last: int, reason: str, timestamp: float) -> None:
        """Add that the lines `first` to `last` cannot be read."""
        self.events.append((self.key, first, HOLE, timestamp, 0, _json({"last": last, "reason": reason})))

    def close(
        self, *, seq: int, offsets: dict[int, int], observed: int, final: bool, ingest: Payload, state: RunState
    ) -> None:
        """State where the run stands after this batch."""
        self.seq, self.observed, self.final = seq, observed, final
        self.offsets = _json(offsets)
        self.ingest = _json(ingest)
        self.started = state.started
        self.state = state.verdict().state
        self.snapshot = _json(state.to_snapshot())


class Store:
    """The writing connection."""

    def __init__(self, path: Path) -> None:
        """Open or make the store and bring its schema up to date.

        Raises:
            DamagedStore: it is damaged, or is no store.
            NewerStore: it was made by a newer version.
            StoreError: it cannot be opened.
        """
        self._path = path
        self._is_poisoned = False
        self._unfolded = 0
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._not_opened(error) from error
        try:
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            self._db.execute("PRAGMA journal_mode = WAL")
            # A checkpoint that SQLite makes by itself keeps a failed sync to itself.
            self._db.execute("PRAGMA wal_autocheckpoint = 0")
            # The journal is synced before each commit, so an ack survives a power cut without a sync here.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._migrate()
        except BaseException as error:
            self._db.close()  # rolls back a step that broke, and frees its lock
            if isinstance(error, sqlite3.Error | UnicodeError):  # the latter: a message that quotes damaged text
                raise self._not_opened(error) from error
            raise

    def open_run(self, run_id: str, producer_id: str) -> StoredRun:
        """Return what is stored of a run, after making its row if it is new. The producer may be another one's."""
        found = self.find_run(run_id)
        return self.add_run(run_id, producer_id) if found is None else found

    def add_run(self, run_id: str, producer_id: str, key: int | None = None) -> StoredRun:
        """Make the row of a run that has none, with the number `key` or the next one, and return it."""
        self._do(
            lambda: self._db.execute(
                "INSERT INTO runs (id, run_id, producer_id, seq, observed, started, state, final, ingest, snapshot) "
                "VALUES (?, ?, ?, 0, 0, 0, 'running', 0, '{}', '{}')",
                (key, run_id, producer_id),
            )
        )
        found = self.find_run(run_id)
        assert found is not None
        return found

    def find_run(self, run_id: str) -> StoredRun | None:
        """Return what is stored of a run, or None."""
        row = self._do(
            lambda: self._db.execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        )
        return None if row is None else stored_run(row)

    def runs(self) -> dict[str, KnownFiles]:
        """Return of every run what is stored of its files."""
        rows = self._do(lambda: self._db.execute("SELECT run_id, offsets, observed, final FROM runs").fetchall())
        return {
            run_id: KnownFiles(offsets_of(offsets), observed, bool(final)) for run_id, offsets, observed, final in rows
        }

    def checksum(self, key: int, seq: int) -> int | None:
        """Return the checksum of a stored line of run number `key`, or None if it is not stored."""
        row = self._do(
            lambda: self._db.execute(
                "SELECT crc FROM events WHERE run = :run AND seq = :seq AND type <> :hole "
                "UNION ALL SELECT crc FROM results WHERE run = :run AND seq = :seq",
                {"run": key, "seq": seq, "hole": HOLE},
            ).fetchone()
        )
        return None if row is None else int(row[0])

    def write(self, batches: list[Batch]) -> None:
        """Commit the batches in one transaction: this is the point at which events are stored.

        Raises:
            StoreError: nothing of them, or all of them, is stored; what holds is to be read again.
        """
        self._do(lambda: self._write(batches))
        self._unfolded += sum(batch.size + COMMIT_BYTES for batch in batches)

    def fold_log(self) -> None:
        """Fold a write-ahead log that has grown long into the store's own file, as far as no reader is in the way.

        Raises:
            StoreError: a sync failed: whatever a later one says, what it was to cover may not be on the disk. The log is not
                folded again by this process, because the file could take damage from a log that is not whole. The
                journals have it all.
        """
        if self._is_poisoned or self._unfolded < LOG_BYTES:
            return
        self._unfolded = 0
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            self._is_poisoned = True
            raise StoreError(
                f"cannot sync the store {self._path}: {error}. It grows from now on until threepiod is started again"
            ) from error

    def remove_rows(self, key: int, count: int) -> bool:
        """Remove up to `count` rows of run number `key`, with tests that no run has any more; return whether it is gone.

        Its row of `runs` goes last, so that a removal that was cut short is known.

        Raises:
            StoreError: nothing of this step was done.
        """
        return bool(self._do(lambda: self._remove_rows(key, count)))

    def checkpoint(self) -> bool:
        """Return whether everything that is stored is on the disk now, in the store's own file.

        It is not while somebody reads an older state; nobody is waited for, because commits wait meanwhile.

        Raises:
            StoreError: a sync failed, or something could not be written.
        """
        if self._is_poisoned:
            raise StoreError(f"the store {self._path} is not synced again after a sync that failed")
        return bool(self._do(self._checkpoint))

    def close(self) -> None:
        """Close the store; the last connection folds the write-ahead log into it."""
        self._db.close()

    def _write(self, batches: list[Batch]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for batch in batches:
                if batch.results:
                    db.executemany("INSERT INTO tests (nodeid) VALUES (?) ON CONFLICT DO NOTHING", batch.nodeids)
                    db.executemany(
                        "INSERT INTO results (run, test, seq, status, phase, started, duration, worker, crc, details) "
                        "VALUES (?, (SELECT id FROM tests WHERE nodeid = ?), ?, ?, ?, ?, ?, ?, ?, ?)",
                        batch.results,
                    )
                if batch.events:
                    db.executemany(
                        "INSERT INTO events (run, seq, type, timestamp, crc, payload) VALUES (?, ?, ?, ?, ?, ?)",
                        batch.events,
                    )
                if batch.conflicts:
                    db.executemany(
                        "INSERT INTO conflicts (run, seq, source, line) VALUES (?, ?, ?, ?)", batch.conflicts
                    )
                db.execute(
                    "UPDATE runs SET seq = ?, offsets = ?, observed = ?, started = ?, state = ?, final = ?, ingest = ?, "
                    "snapshot = ? WHERE id = ?",
                    (
                        batch.seq,
                        batch.offsets,
                        batch.observed,
                        batch.started,
                        batch.state,
                        batch.final,
                        batch.ingest,
                        batch.snapshot,
                        batch.key,
                    ),
                )
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _remove_rows(self, key: int, count: int) -> bool:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            query = "SELECT test, seq FROM results WHERE run = ? ORDER BY test, seq LIMIT ?"
            results = db.execute(query, (key, count)).fetchall()
            query = "SELECT seq FROM events WHERE run = ? ORDER BY seq LIMIT ?"
            events = [] if results else db.execute(query, (key, count)).fetchall()
            if results:
                db.execute("DELETE FROM results WHERE run = ? AND (test, seq) <= (?, ?)", (key, *results[-1]))
                db.executemany(_REMOVE_TEST, {(test,) for test, _ in results})
            elif events:
                db.execute("DELETE FROM events WHERE run = ? AND seq <= ?", (key, *events[-1]))
            else:
                db.execute("DELETE FROM conflicts WHERE run = ?", (key,))
                db.execute("DELETE FROM runs WHERE id = ?", (key,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return not (results or events)

    def _checkpoint(self) -> bool:
        db = self._db
        db.execute("PRAGMA busy_timeout = 0")
        try:
            # Syncs the write-ahead log, copies it into the store and syncs that (`synchronous` is not OFF).
            _, pages, copied = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        sync_directory(self._path.parent)
        return bool(copied == pages >= 0)

    def _migrate(self) -> None:
        db = self._db
        db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied TEXT NOT NULL)")
        done = {name for (name,) in db.execute("SELECT name FROM migrations")}
        newer = done - {migration.name for migration in MIGRATIONS}
        if newer:
            raise NewerStore(
                f"the store {self._path} was made by a newer threepiod (it has {max(newer)}): "
                "install that version, or set THREEPIO_STATE_DIR to another directory"
            )
        for migration in MIGRATIONS:
            if migration.name not in done:
                db.execute("BEGIN IMMEDIATE")
                for statement in migration.statements:
                    db.execute(statement)
                db.execute("INSERT INTO migrations VALUES (?, datetime('now'))", (migration.name,))
                db.execute("COMMIT")

    def _not_opened(self, error: Exception) -> StoreError:
        kind = DamagedStore if _is_damage(error) else StoreError
        return kind(f"cannot open the store {self._path}: {error}")

    def _do(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:  # the last two: values that do not fit
            advice = ". Make it again from the journals: threepiod stop, threepiod rebuild" if _is_damage(error) else ""
            raise StoreError(f"cannot use the store {self._path}: {error}{advice}") from error


class Committer:
    """Brings batches into the store: all that wait are one transaction. The store is used in one thread at a time.

    Attributes:
        commits: how many transactions there were.
        taken: bytes of lines that runs have taken and that are not stored.
        room: is set, and replaced, when there is less of that.
        readers: how many threads may read journals at once.
    """

    def __init__(self, store: Store, report: Callable[[str], None] = log.error) -> None:
        """Write into `store`; `report` is told of errors that concern no batch."""
        self._store = store
        self._report = report
        self._limiter = trio.CapacityLimiter(1)
        self._waiting: list[_Job] = []
        self._wake = trio.Event()
        self.commits = 0
        self.taken = 0
        self.room = trio.Event()
        self.readers = trio.CapacityLimiter(READERS)

    @property
    def is_full(self) -> bool:
        """Whether runs together have taken as much as may be in memory: connections then wait before they read on."""
        return self.taken >= TAKEN_BYTES

    def release(self, size: int) -> None:
        """Say that so many bytes of lines are stored or dropped; who waits for room looks again."""
        self.taken -= size
        self.room.set()
        self.room = trio.Event()

    async def commit(self, batch: Batch) -> None:
        """Return when the batch is stored.

        Raises:
            StoreError: it is not known to be stored.
        """
        job = _Job(batch=batch)
        self._waiting.append(job)
        self._wake.set()
        await job.done.wait()
        if job.error is not None:
            raise StoreError(str(job.error)) from job.error

    async def call(self, action: Callable[[Store], Any]) -> Any:
        """Return what `action(store)` returns, run in the store's thread."""
        return await trio.to_thread.run_sync(action, self._store, limiter=self._limiter)

    async def serve(self) -> None:
        """Commit for ever."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            jobs, self._waiting = self._waiting, []
            error = None
            try:
                await self.call(lambda store: store.write([job.batch for job in jobs]))  # noqa: B023 - used up here
                self.commits += 1
            except StoreError as found:
                error = found
            for job in jobs:
                job.error = error
                job.done.set()
            try:
                await self.call(Store.fold_log)  # after the acks: nobody waits for it
            except StoreError as found:
                self._report(str(found))


@dataclass(kw_only=True, slots=True, eq=False)
class _Job:
    batch: Batch
    done: trio.Event = field(default_factory=trio.Event)
    error: StoreError | None = None


def _is_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _details(payload: Payload) -> str | None:
    if payload.keys() <= _IN_COLUMNS:
        return None
    return _json({key: value for key, value in payload.items() if key not in _IN_COLUMNS})


def _plain(value: Any) -> Any:
    """Return what a column can hold: a foreign writer may have put anything there."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else _json(value)
