"""The tests of a group, as its page is told them one after the other: rows that were kept, else those of the store.

Nearly all tests just passed, so that is done in the shortest way. Not here: which groups are told and when (`pages.py`),
which rows are kept (`keptrows.py`), and how the page grows (`grouppage.py`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain
from typing import Any, Final, NamedTuple

from threepio_client.events import Phase, Status
from threepio_client.report.markdown import RESULTS_SHOWN
from threepio_client.report.model import NEVER_RAN, Case, by_test, tests_of
from threepio_client.results import Result, of_row
from threepiod.grouppage import GroupPage, Row, Several, nodeid_of
from threepiod.keptrows import ASK, KeptGroup

_STORED: Final = """
    SELECT t.nodeid, r.seq, r.status, r.phase, r.started, r.duration, r.worker, r.crc, r.details
    FROM tests t CROSS JOIN results r ON r.run = :run AND r.test = t.id
    WHERE t.nodeid {} ORDER BY t.nodeid, r.seq"""
_ALONE: Final = frozenset(map(str, (Status.FAIL, Status.ERROR, Status.XFAIL, Status.XPASS, Status.SKIP)))
_SAID_APART: Final = frozenset({"subtest", "attempt", "countedAs", "takenBack"})
"""Keys of details: there is more to be known of the test than this result."""


class Slot(NamedTuple):
    """What was in flight when the run ended: its node id, whether it has results, and how the status answer tells it."""

    group: str
    nodeid: str
    has_results: bool
    told: dict[str, Any]


class GroupTests:
    """The tests of one run's groups.

    Attributes:
        slots: what was in flight when the run ended.
        has_broken: whether something could not be collected: the table `broken` of the connection.
        has_never_ran: whether its table `never_ran` is filled.
    """

    def __init__(self, store: sqlite3.Connection, key: int) -> None:
        """Begin with a run that goes on.

        Args:
            store: a connection with the temporary tables of `pages.py`.
            key: the run's number in the store.
        """
        self.slots: list[Slot] = []
        self.has_broken = self.has_never_ran = False
        self._store = store
        self._key = key

    def tell(self, page: GroupPage, kept: KeptGroup | None) -> None:
        """Tell the tests of a group, sorted by node id."""
        name = page.name
        rows: Iterable[Row]
        if kept is not None and (passed := kept.passed_apart()) is not None:
            if passed:
                page.add_passed(passed)
            skipped, results = kept.skipped_apart()
            if skipped and not page.add_skipped(sorted(skipped, key=nodeid_of)):
                results = kept.results
            rows = map(self._whole, sorted(results))
        elif kept is not None:
            rows = map(self._whole, sorted([*kept.passed, *kept.results]))
        else:
            ends = {"run": self._key, "name": name, "first": f"{name}::", "end": f"{name}:;"}
            alone = self._store.execute(_STORED.format("= :name"), ends).fetchall()
            below = self._store.execute(_STORED.format(">= :first AND t.nodeid < :end"), ends)
            rows = chain(alone, below)
        if self.has_broken and (broken := self._broken(name)):
            rows = merge(rows, broken)
        rows = iter(rows)
        first = next(rows, None)
        while first is not None:
            following = next(rows, None)
            if following is not None and following[0] == first[0]:
                several = Several(first[0])
                several.add(self._result(first), first)
                while following is not None and following[0] == first[0]:
                    several.add(self._result(following), following)
                    following = next(rows, None)
                self._tell_one(page, several)
            elif not page.add_plain(first) and not (len(first) == 9 and self._tell_alone(page, first)):
                several = Several(first[0])
                several.add(self._result(first), first)
                self._tell_one(page, several)
            first = following
        told = {slot.nodeid: slot.told for slot in self.slots if slot.group == name and not slot.has_results}
        for case in tests_of({}, {}, list(told.values())):
            page.add(case)
        page.add_rest(self._never_ran(name) if self.has_never_ran else ())

    def _never_ran(self, name: str) -> Iterator[Case]:
        query = "SELECT nodeid FROM never_ran WHERE run = ? AND name = ? ORDER BY nodeid"
        for (nodeid,) in self._store.execute(query, (self._key, name)):
            yield Case(nodeid, NEVER_RAN, 0, None, 0.0, None, ())

    def _tell_alone(self, page: GroupPage, row: Row) -> bool:
        """Tell a test that has only this result, if that says all there is; return whether it does."""
        status, crc, details = row[2], row[7], row[8]
        if status not in _ALONE or crc is None or not isinstance(details, str) or self.slots:
            return False
        result = self._result(row)
        if not _SAID_APART.isdisjoint(result.details) or row[0] == page.name:
            return False
        page.results += 1
        page.ran += 1
        page.add(Case(result.nodeid, status, 1, result.started, result.duration_ms, result.worker, (result,)))
        return True

    def _tell_one(self, page: GroupPage, several: Several) -> None:
        page.results += several.stored
        slots = [slot.told for slot in self.slots if slot.nodeid == several.nodeid]
        found = by_test([*several.results, *several.deciding])
        page.ran += bool(found and several.stored) and several.nodeid != page.name
        for case in tests_of(found, {}, slots if found else []):
            page.add(case._replace(results=case.results[:RESULTS_SHOWN]), several.left_out)

    def _result(self, row: Row) -> Result:
        if len(row) == 6:
            nodeid, seq, started, duration, worker, _ = row
            return Result(nodeid, seq, Status.PASS, Phase.CALL, started, duration or 0.0, worker, {})
        nodeid, seq, status, phase, started, duration, worker, _, details = row
        return of_row((nodeid, seq, status, phase, started, duration, worker, details))

    def _whole(self, row: Row) -> Row:
        """Return a kept row with its details, also where these were not kept."""
        if row[-1] != ASK:
            return row
        query = (
            "SELECT r.details FROM tests t JOIN results r ON r.run = ? AND r.test = t.id "
            "WHERE t.nodeid = ? AND r.seq = ?"
        )
        (details,) = self._store.execute(query, (self._key, row[0], row[1])).fetchone()
        return (*row[:8], details)

    def _broken(self, name: str) -> list[Row]:
        """Return what could not be collected of a group, as rows that no result has: without a checksum."""
        query = (
            "SELECT e.seq, e.payload FROM broken b CROSS JOIN events e ON e.run = b.run AND e.seq = b.seq "
            "WHERE b.run = ? AND b.name = ?"
        )
        found: list[Row] = []
        for seq, text in self._store.execute(query, (self._key, name)):
            payload = json.loads(text)
            details = json.dumps({"error": payload.get("error")})
            found.append((str(payload.get("nodeid")), seq, Status.ERROR, Phase.COLLECT, None, 0.0, None, None, details))
        return sorted(found)
