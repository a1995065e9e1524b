"""The causes of a run's failures, as its pages tell them: counted as they are stored, a few failures at a time.

What is known of them lies in a temporary table of the reading connection, so that memory does not grow with their number.
Not here: what a cause is (`threepio_client.causes`).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from operator import attrgetter
from typing import Final

from threepio_client.badresults import BAD_SUBTESTS, IS_BAD, TAKEN_BACK, taken_back
from threepio_client.causes import fingerprint, message_of
from threepio_client.report.markdown import EXAMPLES_SHOWN, Told
from threepiod.batch import Failure, failure_of
from threepiod.taken import Taken

FAILURES: Final = 50
"""Failures that are taken in together."""
FINGERPRINTS: Final = 16
"""Messages, of up to 64 KiB, whose cause is known without looking again."""
_FAILED: Final = f"""
    SELECT r.seq, r.phase, r.details, t.nodeid FROM results r INDEXED BY bad_results CROSS JOIN tests t ON t.id = r.test
    WHERE r.run = ? AND r.seq > ? AND r.seq <= ? AND r.{IS_BAD} ORDER BY r.seq LIMIT ?"""
_BROKEN: Final = """
    SELECT e.seq, 'collect', e.payload, NULL FROM broken b CROSS JOIN events e ON e.run = b.run AND e.seq = b.seq
    WHERE b.run = ? AND b.seq > ? AND b.seq <= ?"""
TABLES: Final = """
    CREATE TEMP TABLE IF NOT EXISTS causes (
        run INTEGER, fingerprint TEXT, first INTEGER, count INTEGER, error_type TEXT, place TEXT, message TEXT,
        examples TEXT, PRIMARY KEY (run, fingerprint)) WITHOUT ROWID;
"""
"""Statement that makes the table."""


class Causes:
    """The causes of one run."""

    def __init__(self, store: sqlite3.Connection, key: int) -> None:
        """Begin with none.

        Args:
            store: a connection with TABLES.
            key: the run's number in the store.
        """
        self._store = store
        self._key = key
        self._seq = 0
        self._taken: Taken[Failure] = Taken(attrgetter("seq"))
        self._fingerprints: dict[tuple[str, ...], str] = {}
        self._more: Counter[str] = Counter()
        self._left_out: set[int] = set()

    def take(self, failures: list[Failure]) -> None:
        """Keep failures until they are folded, so that the store need not be asked for them."""
        self._taken.add(failures)

    def keep_from(self, seq: int) -> None:
        """Know that those that are taken from now on are all after this line; what lies before is in the store."""
        self._taken.keep_from(seq)

    def fold(self, until: int, *, has_broken: bool) -> bool:
        """Take in some failures; return whether there is more.

        Args:
            until: the last line that is looked at; failures may have been taken of later ones.
            has_broken: whether something could not be collected: the table `broken`.
        """
        if self._seq >= until:
            return False
        if self._seq < self._taken.since:
            last = min(until, self._taken.since)
            failures = self._stored(_FAILED, self._key, self._seq, last, FAILURES)
        else:
            last = until
            failures = self._taken.next(self._seq, until, FAILURES)
        until = failures[-1].seq if len(failures) == FAILURES else last
        if has_broken:
            failures = sorted([*failures, *self._stored(_BROKEN, self._key, self._seq, until)])
        for failure in failures:
            if failure.seq not in self._left_out:
                self._take(failure)
        self._seq = until
        return True

    def leave_out_taken_back(self) -> None:
        """Count the failures of a run that is over again, without subtests that the runner took back, if there are any."""
        of_run = {"run": self._key}
        by = self._store.execute(TAKEN_BACK, of_run).fetchall()
        subtests = self._store.execute(BAD_SUBTESTS, of_run).fetchall() if by else []
        self._left_out = taken_back(subtests, [(seq, nodeid, json.loads(counts)) for seq, nodeid, counts in by])
        if self._left_out:
            self._store.execute("DELETE FROM causes WHERE run = ?", (self._key,))
            self._more.clear()
            self._taken = Taken(attrgetter("seq"))
            self._seq = 0

    def _stored(self, query: str, *values: object) -> list[Failure]:
        """Return failures of the store: their seq, phase, JSON with the error, and node id, if that is not in the JSON."""
        found = []
        for seq, phase, text, nodeid in self._store.execute(query, values):
            said = json.loads(text) if text else {}
            name = said.get("nodeid") if nodeid is None else nodeid
            found.append(failure_of(seq, phase, str(name), said.get("error")))
        return found

    def _take(self, failure: Failure) -> None:
        seq, phase, nodeid, error = failure
        texts = tuple(error.values())  # most failures look exactly like one before
        name = self._fingerprints.get(texts)
        if name is not None and name in self._more:
            self._more[name] += 1
            return
        if name is None:
            if len(self._fingerprints) >= FINGERPRINTS:
                self._add_up()
                self._fingerprints.clear()
            name = self._fingerprints[texts] = fingerprint(error)
        known = self._store.execute(
            "SELECT count, examples FROM causes WHERE run = ? AND fingerprint = ?", (self._key, name)
        ).fetchone()
        if known is None:
            self._store.execute(
                "INSERT INTO causes VALUES (?, ?, ?, 1, ?, ?, ?, ?)",
                (self._key, name, seq, *texts[:2], message_of(error), json.dumps([[phase, nodeid]])),
            )
        elif known[0] < EXAMPLES_SHOWN:
            examples = json.dumps([*json.loads(known[1]), [phase, nodeid]])
            query = "UPDATE causes SET count = count + 1, examples = ? WHERE run = ? AND fingerprint = ?"
            self._store.execute(query, (examples, self._key, name))
        else:
            self._more[name] += 1

    def _add_up(self) -> None:
        """Write down how many failures more the causes have whose examples are all known."""
        query = "UPDATE causes SET count = count + ? WHERE run = ? AND fingerprint = ?"
        self._store.executemany(query, [(count, self._key, name) for name, count in self._more.items()])
        self._more.clear()

    def told(self) -> list[Told]:
        """Return the causes, the most frequent first."""
        self._add_up()
        query = (
            "SELECT fingerprint, count, error_type, place, message, examples FROM causes WHERE run = ? "
            "ORDER BY count DESC, first"
        )
        return [
            Told(name, count, error_type, place, message, [(phase, nodeid) for phase, nodeid in json.loads(examples)])
            for name, count, error_type, place, message, examples in self._store.execute(query, (self._key,))
        ]
