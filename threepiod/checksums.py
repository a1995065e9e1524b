"""The checksums of the lines of a run that were taken last: whether a line that comes again is the same one."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

from threepio_client.line import Event
from threepio_client.protocol import WINDOW_EVENTS

CHECKSUMS: Final = WINDOW_EVENTS
"""Lines whose checksum is in memory: as many as one adapter may have un-acked, 40 KiB a run."""


class Checksums:
    """The checksums of the lines that were taken last."""

    def __init__(self, seq: int) -> None:
        self._first = self._last = seq
        self._ring = array("I", bytes(array("I").itemsize * CHECKSUMS))

    def add(self, events: Iterable[Event]) -> None:
        """Note lines. Seqs go up, except after a start over."""
        ring = self._ring
        for event in events:
            ring[event.seq % CHECKSUMS] = event.crc
            self._last = event.seq

    def get(self, seq: int) -> int | None:
        """Return the checksum of a line that was taken, or None if it is too long ago."""
        return self._ring[seq % CHECKSUMS] if max(self._first, self._last - CHECKSUMS) < seq <= self._last else None
