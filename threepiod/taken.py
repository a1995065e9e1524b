"""Rows of a run that were taken as they were stored, so that the store need not be asked for them.

Not here: what is made of them (`pages.py`, `pagecauses.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from sys import maxsize
from typing import Generic, TypeVar

Row = TypeVar("Row", bound=tuple[object, ...])


class Taken(Generic[Row]):
    """Rows in the order of their lines, all that there are after some line; what lies before it is in the store only.

    Attributes:
        since: that line; as long as it is not known, no row is kept.
    """

    def __init__(self, seq_of: Callable[[Row], int]) -> None:
        """Begin with none; `seq_of` returns the line of a row."""
        self.since = maxsize
        self._seq_of = seq_of
        self._rows: list[Row] = []

    def keep_from(self, seq: int) -> None:
        """Know that the rows that are added from now on are those after this line, and keep no others."""
        self._rows, self.since = [], seq

    def add(self, rows: Iterable[Row]) -> None:
        """Add the next rows."""
        if self.since < maxsize:
            self._rows += rows

    def next(self, after: int, until: int, count: int) -> list[Row]:
        """Return rows of lines after one and up to another, at most so many; they and what is before them are let go."""
        first = bisect_right(self._rows, after, key=self._seq_of)
        end = min(bisect_right(self._rows, until, key=self._seq_of), first + count)
        found = self._rows[first:end]
        del self._rows[:end]
        return found
