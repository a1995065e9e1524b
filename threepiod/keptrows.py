"""Rows of the groups that are at work, kept so that the store need not be asked for them: at most so many, of all groups.

Not here: which groups are at work, and what is made of the rows (`pages.py`).
"""

from __future__ import annotations

from typing import Final

from threepio_client.events import Status
from threepiod.grouppage import Row

ROWS_KEPT: Final = 24_000
"""350 bytes each; of a group that is let go the store is asked."""
DETAILS_KEPT: Final = 1024 * 1024
"""Characters of details that are kept with rows; for more the store is asked."""
ASK: Final = "?"
"""In the place of details that are not kept."""
_PASS: Final = str(Status.PASS)


class KeptGroup:
    """Rows of one group.

    Attributes:
        name: the group.
        passed: of tests that passed.
        results: others.
        details: characters of their details.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.passed: list[Row] = []
        self.results: list[Row] = []
        self.details = 0

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.passed) + len(self.results)

    def are_apart(self) -> bool:
        """Return whether each test that passed has one row, none is among the others, and none is named like the group."""
        names = {row[0] for row in self.passed}
        return (
            len(names) == len(self.passed)
            and self.name not in names
            and not any(row[0] in names or row[2] == _PASS for row in self.results)
        )


class KeptRows:
    """Rows of all groups of a run that are at work."""

    def __init__(self) -> None:
        self._groups: dict[str, KeptGroup] = {}
        self._size = self._details = 0

    def of(self, name: str) -> KeptGroup | None:
        """Return what is kept of a group."""
        return self._groups.get(name)

    def take(self, passed: list[Row], results: list[Row]) -> list[str]:
        """Keep rows in the order in which they were stored; return the groups that had to be let go for it."""
        self._take_passed(passed)
        begin, group = "", None
        for row in results:
            if group is None or not row[0].startswith(begin):
                begin, group = self._group(row[0])
            size = len(row[8] or "")
            if self._details + size > DETAILS_KEPT:
                row, size = (*row[:8], ASK), 0
            group.results.append(row)
            group.details += size
            self._details += size
        self._size += len(passed) + len(results)
        let_go = []
        while self._size > ROWS_KEPT:
            let_go.append(max(self._groups, key=lambda name: self._groups[name].size))
            self.drop(let_go[-1])
        return let_go

    def drop(self, name: str) -> None:
        """Keep nothing of a group any more."""
        group = self._groups.pop(name, None)
        if group is not None:
            self._size -= group.size
            self._details -= group.details

    def _take_passed(self, rows: list[Row]) -> None:
        """Keep rows of tests that passed: where the first and the last name begin with one group's, all between them do."""
        if not rows:
            return
        first = min(rows)[0]
        begin, group = self._group(first)
        # A test may be named like its group: what lies between such a name and another may be of any group.
        if len(rows) == 1 or (first.startswith(begin) and max(rows)[0].startswith(begin)):
            group.passed += rows
            return
        middle = len(rows) // 2
        self._take_passed(rows[:middle])
        self._take_passed(rows[middle:])

    def _group(self, nodeid: str) -> tuple[str, KeptGroup]:
        """Return what the names of its tests begin with, and the group."""
        name = nodeid.partition("::")[0]
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = KeptGroup(name)
        return f"{name}::", group
