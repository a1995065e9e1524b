"""The store: a projection of the journals in SQLite. Written by one connection only; readers use `archive.py`.

Blocking, and used in one thread at a time (`committer.py`). What is committed together is a run's rows, its stored seq and
its reducer's state, so any of them can be trusted. Not here: the schema (`schema.py`), lines as rows (`batch.py`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from threepio_client.archive import RUN_COLUMNS, StoredRun, offsets_of, stored_run
from threepio_client.errors import ThreepioError
from threepio_client.events import Phase, Status
from threepio_client.files import foreign, open_own, sync_directory
from threepiod.batch import HOLE, Batch
from threepiod.schema import MIGRATIONS

BUSY_TIMEOUT_MS: Final = 10_000

LOG_BYTES: Final = 4 * 1024 * 1024
"""Bytes written to the log after which it is folded into the store: SQLite's own default is 1,000 pages, as many bytes."""
COMMIT_BYTES: Final = 32 * 1024
"""What a commit writes beside the lines: the pages of the run's row and of the indexes that change."""

_NO_ROOM: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})
"""Errors of a write, by which no sync has failed."""
GROUP: Final = 256
"""Rows of one statement. Of a row by itself most of the time goes into its statement: binding, stepping, and giving up
Python's lock and taking it again. Ten values a row fit into SQLite's limit of 32,766."""

CACHE_KIB: Final = 2 * 1024
"""SQLite's page cache: with it the daemon stays under its memory limit whatever the store's size."""


_Row = TypeVar("_Row")


class StoreError(ThreepioError):
    """The store cannot be opened or written; the journals hold everything that it was to take."""

    exit_code = 5


class DamagedStore(StoreError):
    """The store's file is damaged, or is no store at all."""


class NewerStore(StoreError):
    """The store was made by a newer version, which alone knows what is in it."""


_REMOVE_TEST: Final = """DELETE FROM tests WHERE id = ? AND (
    SELECT 1 FROM runs CROSS JOIN results ON results.run = runs.id AND results.test = tests.id ORDER BY runs.id DESC LIMIT 1
) IS NULL"""
"""The newest runs are asked first: they have nearly every test."""


def _groups(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Yield the rows in groups of GROUP, and what is left in groups whose sizes are powers of two."""
    at = 0
    while left := len(rows) - at:
        size = min(GROUP, 1 << left.bit_length() - 1)
        yield rows[at : at + size]
        at += size


def _statements(head: str, row: str, tail: str = "") -> dict[int, str]:
    """Return the statements for each size of a group, by size."""
    sizes = (1 << bit for bit in range(GROUP.bit_length()))
    return {size: head + ",".join([row] * size) + tail for size in sizes}


_FIND_TESTS: Final = _statements("SELECT nodeid, id FROM tests WHERE nodeid IN (", "?", ")")
_INSERT_TESTS: Final = _statements("INSERT INTO tests (id, nodeid) VALUES ", "(?,?)")
_INSERT_PASSED: Final = _statements(
    "INSERT INTO results (run, test, seq, status, phase, started, duration, worker, crc) VALUES ",
    f"(?,?,?,'{Status.PASS}','{Phase.CALL}',?,?,?,?)",
)


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


class Store:
    """The writing connection.

    Attributes:
        kept: the store as it was before its schema was brought up to date, if it was; else None.
    """

    def __init__(self, path: Path, migrating: Callable[[], None] = lambda: None) -> None:
        """Open or make the store and bring its schema up to date, after making a copy of it.

        Args:
            path: the store's file.
            migrating: called before its schema is brought up to date, which takes minutes for a large store.

        Raises:
            DamagedStore: it is damaged, or is no store.
            NewerStore: it was made by a newer version.
            StoreError: it cannot be opened.
        """
        self._path = path
        self._is_poisoned = False
        self._unfolded = 0
        self.kept: Path | None = None
        if why := foreign(path):
            raise StoreError(f"cannot use the store {path}: {why}. Move it away: the journals fill a new one")
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
            self._migrate(migrating)
        except BaseException as error:
            self._db.close()  # rolls back a step that broke, and frees its lock
            # OSError: of its copy. UnicodeError: a message that quotes damaged text.
            if isinstance(error, sqlite3.Error | OSError | UnicodeError):
                raise self._not_opened(error) from error
            raise

    def open_run(self, run_id: str, producer_id: str) -> StoredRun:
        """Return what is stored of a run, after making its row if it is new. The producer may be another one's.

        The row of a run whose first line was not there is without a producer: it is the first one's that comes.
        """
        found = self.find_run(run_id)
        if found is None:
            return self.add_run(run_id, producer_id)
        if producer_id and not found.producer_id:
            change = "UPDATE runs SET producer_id = ? WHERE id = ?"
            self._do(lambda: self._db.execute(change, (producer_id, found.key)))
            return self.open_run(run_id, producer_id)
        return found

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

    @property
    def is_log_long(self) -> bool:
        """Whether it is time for `fold_log`."""
        return not self._is_poisoned and self._unfolded >= LOG_BYTES

    def fold_log(self) -> None:
        """Fold a write-ahead log that has grown long into the store's own file, as far as no reader is in the way.

        Raises:
            StoreError: a sync failed: whatever a later one says, what it was to cover may not be on the disk. The log is not
                folded again by this process, because the file could take damage from a log that is not whole. The
                journals have it all.
        """
        if not self.is_log_long:
            return
        self._unfolded = 0
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) in _NO_ROOM:  # tried again after as many lines
                raise StoreError(f"cannot fold the log of the store {self._path}: {error}. Make room") from error
            self._is_poisoned = True
            raise StoreError(
                f"cannot sync the store {self._path}: {error}. It grows from now on until threepiod is started again"
            ) from error

    def begin_removal(self, key: int) -> None:
        """Note that run number `key` is being removed (`OverRun.is_being_removed`), so that this is finished."""
        mark = "UPDATE runs SET snapshot = json_set(snapshot, '$.isBeingRemoved', 1) WHERE id = ?"
        self._do(lambda: self._db.execute(mark, (key,)))

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

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done with the connection, or nothing."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _write(self, batches: list[Batch]) -> None:
        with self._transaction() as db:
            for batch in batches:
                self._write_tests(batch)
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

    def _write_tests(self, batch: Batch) -> None:
        db, key = self._db, batch.key
        ids = self._test_ids(batch.nodeids)
        for rows in _groups(batch.passed):
            values: list[Any] = []
            for nodeid, seq, started, duration, worker, crc in rows:
                values += (key, ids[nodeid], seq, started, duration, worker, crc)
            db.execute(_INSERT_PASSED[len(rows)], values)
        if batch.results:
            db.executemany(
                "INSERT INTO results (run, test, seq, status, phase, started, duration, worker, crc, details) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(key, ids[nodeid], *row) for nodeid, *row in batch.results],
            )

    def _test_ids(self, nodeids: list[str]) -> dict[str, int]:
        """Return the numbers of tests by node id; those that are new are numbered in their order."""
        db = self._db
        (last,) = db.execute("SELECT coalesce(max(id), 0) FROM tests").fetchone()
        ids: dict[str, int] = {}
        for group in _groups(nodeids):
            ids.update(db.execute(_FIND_TESTS[len(group)], group))
            new = dict.fromkeys(nodeid for nodeid in group if nodeid not in ids)
            for rows in _groups(list(enumerate(new, start=last + 1))):
                db.execute(_INSERT_TESTS[len(rows)], list(chain.from_iterable(rows)))
                ids.update((nodeid, number) for number, nodeid in rows)
            last += len(new)
        return ids

    def _remove_rows(self, key: int, count: int) -> bool:
        with self._transaction() as db:
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

    def _migrate(self, migrating: Callable[[], None]) -> None:
        db = self._db
        db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied TEXT NOT NULL)")
        done = {name for (name,) in db.execute("SELECT name FROM migrations")}
        newer = done - {migration.name for migration in MIGRATIONS}
        if newer:
            raise NewerStore(
                f"the store {self._path} was made by a newer threepiod (it has {max(newer)}): "
                "install that version, or set THREEPIO_STATE_DIR to another directory"
            )
        missing = [migration.name for migration in MIGRATIONS if migration.name not in done]
        if done and missing:
            migrating()
            self.kept = self._copy(missing[0])
        for migration in MIGRATIONS:
            if migration.name not in done:
                with self._transaction():
                    for statement in migration.statements:
                        db.execute(statement)
                    db.execute("INSERT INTO migrations VALUES (?, datetime('now'))", (migration.name,))

    def _copy(self, before: str) -> Path:
        """Keep the store as it is before a migration, beside it; return where."""
        kept = self._path.with_name(f"{self._path.name}.before-{before}")
        part = kept.with_name(f"{kept.name}.part")
        os.close(open_own(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        try:
            with closing(sqlite3.connect(part)) as copy:
                self._db.backup(copy)
            fd = open_own(part, os.O_RDWR)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            part.replace(kept)
            sync_directory(kept.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return kept

    def _not_opened(self, error: Exception) -> StoreError:
        kind = DamagedStore if _is_damage(error) else StoreError
        return kind(f"cannot open the store {self._path}: {error}")

    def _do(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:  # the last two: values that do not fit
            advice = ". Make it again from the journals: threepiod stop, threepiod rebuild" if _is_damage(error) else ""
            raise StoreError(f"cannot use the store {self._path}: {error}{advice}") from error


def _is_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
