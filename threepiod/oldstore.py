"""OldStore: what the store of before a rebuild has, read row by row as far as it can be read. Nothing is written to it
but its own write-ahead log, which any opening brings in.
"""

from __future__ import annotations

import json
import sqlite3
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from threepio_client.archive import RUN_COLUMNS, StoredRun, stored_run
from threepio_client.events import EventType
from threepio_client.line import Event
from threepiod.batch import HOLE
from threepiod.store import NewerStore, Store, StoreError

READER_POLLS: Final = 50
READER_POLL_S: Final = 0.1
"""How often and how long to wait for somebody who reads the old store: 5 s in all, longer than any command of ours."""

ROWS: Final = 1_000, 50_000
"""Events of the old store that are in memory at once, 1 KiB each and more: few at first, then twice as many each time."""
READS: Final = 16
"""How often a run's rows are gone through, to find some, with so many in memory; of a very large run more are."""

_RESULTS: Final = (
    "SELECT r.seq, t.nodeid, r.status, r.phase, r.started, r.duration, r.worker, r.crc, r.details FROM results r "
    "LEFT JOIN tests t ON t.id = r.test WHERE r.run = ? AND r.seq >= ? AND r.seq <= ? "
    "ORDER BY r.test {order}, r.seq {order}"
)
_EVENTS: Final = (
    f"SELECT seq, type, timestamp, crc, payload FROM events WHERE run = ? AND seq >= ? AND seq <= ? AND type <> '{HOLE}' "
    "ORDER BY seq {order}"
)
_SEQS: Final = (
    f"SELECT seq FROM events WHERE run = ? AND type <> '{HOLE}' ORDER BY seq {{order}}",
    "SELECT seq FROM results WHERE run = ? ORDER BY test {order}, seq {order}",
)
_CONFLICTS: Final = "SELECT seq, source, line FROM conflicts WHERE run = ? ORDER BY rowid {order}"


class OldStore:
    """The store that is to be replaced.

    Attributes:
        damage: what is wrong with it, in words; empty if it is whole or not there.
        has_every_run: whether `runs` could return every run.
    """

    def __init__(self, path: Path) -> None:
        """Open the store, if there is one.

        Raises:
            StoreError: it was made by a newer version, or somebody else is using it.
        """
        self.damage: list[str] = []
        self.has_every_run = True
        self._db: sqlite3.Connection | None = None
        if not path.exists():
            return
        try:
            with closing(Store(path)) as store:  # also brings its schema up to date, so that one way of reading serves
                is_copied = _checkpoint(store)
        except NewerStore:
            raise
        except StoreError as error:
            if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise
            self.damage.append(str(error.__cause__ or error))
        else:
            if not is_copied:
                raise StoreError(f"somebody has been reading the store {path} for long: try again when that is over")
        try:
            self._db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
            (verdict,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                self.damage.append(verdict)
        except (sqlite3.Error, UnicodeError) as error:
            self.damage.append(str(error))

    def runs(self) -> list[StoredRun]:
        """Return the runs, in the order of their numbers."""
        found: dict[int, StoredRun] = {}
        before = len(self.damage) if self._db is not None else 0
        for row in self._read(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY id {{order}}"):
            try:
                run = stored_run(row)
            except (ValueError, TypeError, AttributeError) as error:
                self.damage.append(f"the row of run {row[1]!r} cannot be read: {error}")
            else:
                found[run.key] = run
        self.has_every_run = len(self.damage) == before
        return [found[key] for key in sorted(found)]

    def rows_of(self, run: StoredRun) -> OldRows:
        """Return the rows of a run."""
        return OldRows(self, run)

    def conflicts(self, run: StoredRun) -> list[tuple[int, str, bytes]]:
        """Return the conflicting lines of a run, with their seq and source."""
        return list(self._read(_CONFLICTS, run.key))

    def seqs(self, key: int) -> array[int]:
        """Return the seqs that are stored of a run, sorted."""
        return array("q", sorted({row[0] for query in _SEQS for row in self._read(query, key) if type(row[0]) is int}))

    def events(self, key: int, first: int, last: int) -> dict[int, Event]:
        """Return the events of a run from one seq to another by seq, each with what its row has of it."""
        found = {}
        for row in self._read(_EVENTS, key, first, last):
            try:
                seq, kind, timestamp, crc, payload = row
                found[seq] = Event(seq, kind, json.loads(payload), float(timestamp), _checked(crc))
            except (ValueError, TypeError) as error:
                self.damage.append(f"event {row[0]} of run number {key} cannot be read: {error}")
        for seq, nodeid, status, phase, started, duration, worker, crc, details in self._read(
            _RESULTS, key, first, last
        ):
            try:
                if not isinstance(nodeid, str) or not isinstance(status, str):
                    raise ValueError("its test is not known")
                payload = {"nodeid": nodeid, "status": status, "phase": phase, "started": started}
                payload |= {"duration": duration, "worker": worker, **(json.loads(details) if details else {})}
                ended = float(started or 0.0) + float(duration or 0.0) / 1000
                found[seq] = Event(seq, EventType.TEST_CASE, payload, ended, _checked(crc))
            except (ValueError, TypeError) as error:
                self.damage.append(f"result {seq} of run number {key} cannot be read: {error}")
        return found

    def close(self) -> None:
        """Close the connection."""
        if self._db is not None:
            self._db.close()

    def _read(self, query: str, *parameters: Any) -> Iterator[Any]:
        """Yield the rows of a query: from its first one, and where that comes to damage, from its last one."""
        if self._db is None:
            return
        for order in ("ASC", "DESC"):
            try:
                yield from self._db.execute(query.format(order=order), parameters)
                return
            except (sqlite3.Error, UnicodeError) as error:
                self.damage.append(str(error))


def _checkpoint(store: Store) -> bool:
    for _ in range(READER_POLLS):
        if store.checkpoint():
            return True
        time.sleep(READER_POLL_S)
    return False


def _checked(crc: Any) -> int:
    if type(crc) is not int or not 0 <= crc < 1 << 32:
        raise ValueError("its checksum is none")
    return crc


class OldRows:
    """The rows of one run, looked at only where the journal has not got their lines."""

    def __init__(self, store: OldStore, run: StoredRun) -> None:
        self._store = store
        self._run = run
        self._seqs: array[int] | None = None
        self._events: dict[int, Event] = {}
        self._until = 0
        self._rows = ROWS[0]

    def between(self, after: int, before: int) -> Iterator[Event]:
        """Yield the events with a seq beyond `after` and below `before`, in their order; none that was passed already."""
        before = min(before, self._run.seq + 1)
        if after + 1 >= before:
            return
        if self._seqs is None:
            self._seqs = self._store.seqs(self._run.key)
        seqs = self._seqs
        for at in range(bisect_right(seqs, after), bisect_left(seqs, before)):
            seq = seqs[at]
            if seq >= self._until:
                last = seqs[min(at + self._rows, len(seqs)) - 1]
                self._rows = min(2 * self._rows, max(ROWS[1], len(seqs) // READS))
                self._events = {}  # before others take their place
                self._events, self._until = self._store.events(self._run.key, seq, last), last + 1
            if seq in self._events:
                yield self._events[seq]
