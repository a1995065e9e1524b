"""When the adapter syncs its journal, and what of it is known to be on the disk. No file is touched here.

While a daemon is connected and acks, it is the daemon that syncs. Not here: the sync itself (`journal.py`), and what is done
where it fails (`adapter.py`).
"""

from __future__ import annotations

from math import inf
from typing import Final

from threepio_client import clock
from threepio_client.link import Link
from threepio_client.settings import SyncPolicy

SYNC_WINDOW_S: Final = 0.100
"""Without a daemon, what was written in this time may be lost in a power cut ..."""
SYNC_SHARE: Final = 100
"""... or in this many times the disk's own sync time, if that is longer: so that syncing costs about 1 %."""
CONNECTED_SYNC_WINDOW_S: Final = 1.0
"""While a daemon is connected, it syncs: only after this long without an ack - several of its ticks, commits and syncs -
the adapter does so itself."""


class Syncing:
    """The syncs of one run.

    Attributes:
        window_s: how long nothing is synced after a sync.
        seq: the last line that a sync of ours has covered.
        end: byte of the journal's file up to which everything is known to be on the disk, by a sync or by acks.
    """

    def __init__(self, policy: SyncPolicy) -> None:
        """Begin with a journal that has nothing to be synced."""
        self.window_s = SYNC_WINDOW_S
        self.seq = self.end = 0
        self._policy = policy
        self._mark = (0, 0)  # a later line, and the byte behind it, which an ack may reach
        self._covered_at = clock.monotonic()

    def due_at(self, now: float, seq: int, link: Link | None) -> float:
        """Return when it is time to sync; what is not after `now` means at once.

        Args:
            now: `clock.monotonic`.
            seq: the last line of the journal.
            link: the connection to the daemon, if there is one.
        """
        if self._policy is SyncPolicy.EXIT:
            return inf
        if self._policy is SyncPolicy.ALWAYS:
            return 0.0
        window_s = self.window_s
        if link is not None and link.is_open:
            window_s = max(window_s, CONNECTED_SYNC_WINDOW_S)
            # The daemon's word, or nothing before this line that it could have spoken of.
            if link.heard > self._covered_at:
                self._covered_at = link.heard
            if link.acked >= seq - 1:
                self._covered_at = now
        return self._covered_at + window_s

    def cover(self, seq: int, end: int) -> None:
        """Note that a sync has covered the file up to this line and byte."""
        self.seq, self.end = seq, end

    def go_on(self, seq: int, end: int) -> None:
        """Note that the journal goes on in another file, which is synced up to this line and byte."""
        self.cover(seq, end)
        self._mark = (seq, end)

    def note_acked(self, acked: int, seq: int, end: int) -> None:
        """Note the daemon's highest ack; the journal has lines up to `seq`, which end at byte `end` of its file."""
        if acked >= self._mark[0]:
            self.end = max(self.end, self._mark[1])
            self._mark = (seq, end)

    def over(self, began: float) -> float:
        """Note that a sync is over which began then, whatever came of it; return when the next one is due."""
        self._covered_at = clock.monotonic()
        self.stretch(self._covered_at - began)
        return 0.0 if self._policy is SyncPolicy.ALWAYS else self._covered_at + self.window_s

    def stretch(self, sync_s: float) -> None:
        """Have the window fit a disk whose sync takes so many seconds."""
        self.window_s = max(SYNC_WINDOW_S, SYNC_SHARE * sync_s)
