"""Rows of the groups that are at work, kept so that the store need not be asked for them: at most so many, of all runs.

Not here: which groups are at work, and what is made of the rows (`pages.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import islice
from operator import eq, itemgetter
from typing import Final

from threepio_client.events import Phase, Status
from threepio_client.line import NAME_LIMIT
from threepio_client.report.markdown import LONGEST_MS
from threepiod.grouppage import Row, nodeid_of

ROWS_KEPT: Final = 16_000
"""Of all runs, some 350 bytes each; of a group that is let go the store is asked."""
DETAILS_KEPT: Final = 2 * 1024 * 1024
"""Characters of details that are kept with rows, of all runs; for more the store is asked."""
SHORT: Final = 200
"""Characters of details that are kept with a row in any case."""
ASK: Final = "?"
"""In the place of details that are not kept."""
_status: Final = itemgetter(2)
_PASS: Final = str(Status.PASS)
_SKIP: Final = str(Status.SKIP)


@dataclass(slots=True)
class Room:
    """What all runs together keep.

    Attributes:
        rows: how many, those with long names as several.
        details: characters of their details.
    """

    rows: int = 0
    details: int = 0


class KeptGroup:
    """Rows of one group.

    Attributes:
        name: the group.
        passed: of tests that passed, as `Batch.passed` has them.
        results: others.
        long: what long names of these count beside the rows themselves.
        details: characters of their details.
        is_let_go: whether none are kept any more, because its page is made of the store's rows.
    """

    def __init__(self, name: str, *, is_let_go: bool = False) -> None:
        self.name = name
        self.is_let_go = is_let_go
        self.passed: list[Row] = []
        self.results: list[Row] = []
        self.long = 0
        self.details = 0

    @property
    def size(self) -> int:
        """How many rows there are, as `Room` counts them."""
        return len(self.passed) + len(self.results) + self.long

    def passed_apart(self) -> list[Row] | None:
        """Return the rows of tests that passed, sorted, if they are told apart from the others.

        So each has one row, none is among the others, and none is named like the group.
        """
        rows = sorted(self.passed, key=nodeid_of)
        names = list(map(nodeid_of, rows))
        if any(map(eq, names, islice(names, 1, None))) or names[:1] == [self.name]:
            return None
        if self.results and not set(map(nodeid_of, self.results)).isdisjoint(names):
            return None
        return None if _PASS in map(_status, self.results) else rows

    def skipped_apart(self) -> tuple[list[Row], list[Row]]:
        """Return the rows of tests that were skipped, and the others; none of them if a test has more than one."""
        skipped = [row for row in self.results if row[2] == _SKIP]
        names = set(map(nodeid_of, skipped))
        others = [row for row in self.results if row[2] != _SKIP]
        if len(names) < len(skipped) or not names.isdisjoint(map(nodeid_of, others)):
            return [], self.results
        return skipped, others


class KeptRows:
    """Rows of all groups of a run that are at work."""

    def __init__(self, room: Room) -> None:
        """Keep none; `room` is that of all runs."""
        self._groups: dict[str, KeptGroup] = {}
        self._room = room

    def of(self, name: str) -> KeptGroup | None:
        """Return what is kept of a group."""
        group = self._groups.get(name)
        return None if group is None or group.is_let_go else group

    def take(self, passed: list[Row], results: list[Row]) -> list[str]:
        """Keep rows in the order in which they were stored; return the groups that had to be let go for it."""
        room = self._room
        passed = sorted(passed, key=nodeid_of)  # so each group's are together, and most are so already
        first = 0
        while first < len(passed):
            begin, group = self._group(passed[first][0])
            is_file = not passed[first][0].startswith(begin)  # which is a test by itself
            end = first + 1 if is_file else bisect_left(passed, f"{group.name}:;", first, key=nodeid_of)
            if not group.is_let_go:
                group.passed += passed[first:end]
                room.rows += end - first
            first = end
        begin = ""
        for row in results:
            nodeid, _, status, phase, started, duration, worker, _, details = row
            if not begin or not nodeid.startswith(begin):
                begin, group = self._group(nodeid)
            if group.is_let_go:
                continue
            room.rows += 1
            if status == _PASS and (plain := _plain(row)) is not None:
                group.passed.append(plain)
                continue
            if details:
                size = len(details)
                if size > SHORT and room.details + size > DETAILS_KEPT:
                    row, size = (*row[:8], ASK), 0
                group.details += size
                room.details += size
            texts = f"{nodeid}{status}{phase}{worker}"
            if type(started) is str or type(duration) is str:  # of a foreign writer
                texts += f"{started}{duration}"
            if len(texts) >= NAME_LIMIT:
                more = len(texts) // NAME_LIMIT
                group.long += more
                room.rows += more
            group.results.append(row)
        let_go: list[str] = []
        if room.rows > ROWS_KEPT:
            for name in sorted(self._groups, key=lambda name: self._groups[name].size, reverse=True):
                if room.rows <= ROWS_KEPT:
                    break
                let_go.append(name)
                self.drop(name)
                self._groups[name] = KeptGroup(name, is_let_go=True)  # its next rows would keep others out
        return let_go

    def drop(self, name: str) -> None:
        """Keep nothing of a group any more."""
        group = self._groups.pop(name, None)
        if group is not None:
            self._room.rows -= group.size
            self._room.details -= group.details

    def drop_all(self) -> None:
        """Keep nothing any more."""
        for name in list(self._groups):
            self.drop(name)

    def _group(self, nodeid: str) -> tuple[str, KeptGroup]:
        """Return what the names of its tests begin with, and the group."""
        name = nodeid.partition("::")[0]
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = KeptGroup(name)
        return f"{name}::", group


def _plain(row: Row) -> Row | None:
    """Return the row that a test which passed would have in `Batch.passed`, had its name nothing that JSON escapes.

    None if it would have none: it has more to be told, or was measured in another way than adapters do.
    """
    nodeid, seq, _, phase, started, duration, worker, crc, details = row
    if phase != Phase.CALL or details is not None or type(started) is not float or type(duration) is not float:
        return None
    if not 0.0 <= duration < LONGEST_MS or duration != round(duration, 3):
        return None
    if len(nodeid) > NAME_LIMIT or (worker is not None and (type(worker) is not str or len(worker) > NAME_LIMIT)):
        return None
    return nodeid, seq, started, duration, worker, crc
