"""Keeper: sees to it that what is taken of a run survives a power cut, in the adapter's files or in one of our own.

A file whose sync failed is not trusted any more: its lines, and those that come in no file at all, are written to a
continuation of our own, and synced there.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import trio

from threepio_client.events import EventType
from threepio_client.journal import JournalWriter
from threepio_client.line import encode
from threepio_client.newfiles import make_next_file
from threepio_client.paths import StateDir
from threepio_client.runjournal import RunJournal
from threepio_client.runstate import RunState

log = logging.getLogger("threepiod.keeper")


class Keeper:
    """Syncs the files of one run.

    Attributes:
        unsynced: numbers of the files from which lines were taken since the last sync.
    """

    def __init__(self, state_dir: StateDir, journal: RunJournal) -> None:
        self.unsynced: set[int] = set()
        self._state_dir = state_dir
        self._journal = journal
        self._poisoned: set[int] = set()
        self._named: set[int] = set()
        self._own: JournalWriter | None = None

    def is_sound(self, number: int) -> bool:
        """Return whether lines of this file may be trusted to be there after the next sync."""
        if number in self._poisoned:
            return False
        if not self._journal.has(number):
            try:
                self._journal.look()
            except OSError:
                return False
        return self._journal.has(number)

    def keep(self, raw: bytes, state: RunState | None) -> int:
        """Write a line to our own file of the run; return the file's number.

        Args:
            raw: the line without its newline.
            state: the run's state, for the runStart that a new file begins with; None if the line is the runStart.

        Raises:
            JournalError: it cannot be written.
        """
        if self._own is None:
            header = [encode(1, EventType.RUN_START, state.start, state.started)] if state and state.start else []
            self._own = make_next_file(self._state_dir, self._journal.run_id, header)
            log.warning(
                "run %s: the daemon journals its lines in %s, because its own journal cannot hold them",
                self._journal.run_id,
                self._own.path,
            )
        self._own.append_line(raw + b"\n")
        return self._own.number

    async def sync(self) -> None:
        """Return when everything that was taken is on the disk, with the names of its files.

        Raises:
            OSError: it is not known to be; the file that failed is not trusted any more, and not synced again.
        """
        unsynced, self.unsynced = self.unsynced, set()
        for number in sorted(unsynced):
            try:
                if not self._journal.has(number):
                    self._journal.look()
                await trio.to_thread.run_sync(self._sync, number)
            except OSError as error:
                self._poisoned.add(number)
                if self._own is not None and self._own.number == number:
                    self._own.close()
                    self._own = None
                raise OSError(
                    error.errno,
                    f"cannot sync its journal (file {number}): {error.strerror}. What was not synced is written again "
                    "elsewhere",
                ) from error

    def close(self) -> None:
        """Close our own file, if there is one."""
        if self._own is not None:
            self._own.close()

    def _sync(self, number: int) -> None:
        self._journal.sync(number)
        if number not in self._named:
            # Where its directory was removed, and it with it, the store is all there is.
            with suppress(FileNotFoundError):
                self._journal.sync_name(number)
            self._named.add(number)
