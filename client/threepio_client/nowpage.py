"""The now page: which test is in flight, in which phase, since when - written without a system call.

A memory-mapped file beside the journal, one slot a worker. Anybody may read it at any moment: each slot has a sequence
lock (odd while it is being written), and the page is still there after SIGKILL. A test's next phase is one store of eight
bytes, its time, so that it needs no lock. Layout: `docs/protocol.md`.
"""

import mmap
import os
import struct
import time
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from threepio_client.events import Phase
from threepio_client.files import leave_to_owner
from threepio_client.forks import forget_in_children
from threepio_client.line import plain_text

MAGIC: Final = b"3pioNOW2"
SLOT_SIZE: Final = 1024
SLOTS: Final = 32
"""One for the session and 31 workers: 33 KiB a run. Workers beyond that have no slot and are not in `in_flight`."""

_HEADER: Final = struct.Struct("<8sHHB3xQ")  # magic, slots, slot size, end, last journaled seq
_END_AT: Final = 12
_HEADER_SIZE: Final = 64
_SEQ: Final = struct.Struct("<Q")
_SEQ_AT: Final = 16
_LOCK: Final = struct.Struct("<I")
_BODY: Final = struct.Struct("<BBHdQdd16s")  # phase, is it a test, bytes of text, since, seq, call, teardown, worker
_SINCE_AT: Final = 8
_CALL_AT: Final = 24
_TEARDOWN_AT: Final = 32
_TEXT_AT: Final = _LOCK.size + _BODY.size
TEXT_LIMIT: Final = SLOT_SIZE - _TEXT_AT
"""Bytes of a node id in a slot; a longer one is cut at the end."""

READ_TRIES: Final = 20
READ_PAUSE_S: Final = 0.001
"""A writer is inside a slot for about a microsecond, but on a busy machine it may lose the processor just there: with eight
tries at once, 1 of 1,406 readings of a suite found nothing that way."""

_PHASES: Final = (Phase.COLLECT, Phase.SETUP, Phase.CALL, Phase.TEARDOWN, Phase.SESSION_END)
_CODE: Final = {phase: code for code, phase in enumerate(_PHASES, start=1)}
_CALL: Final = Phase.CALL  # CPython 3.11 takes ten times as long to look up an enumeration's member
_TEARDOWN: Final = Phase.TEARDOWN

# Bound once: a test may replace what `os` holds while we run.
_fstat: Final = os.fstat
_dup: Final = os.dup
_dup2: Final = os.dup2
_close: Final = os.close
_get_inheritable: Final = os.get_inheritable


class End(IntEnum):
    """What a page says of the end of its session, which is after the end of its run: the runner prints its summary."""

    UNKNOWN = 0
    """By an adapter that does not tell."""
    TO_COME = 1
    TOLD = 2


class InFlight(NamedTuple):
    """What one slot says.

    Attributes:
        text: node id of a test, or the file being imported, or empty where the session itself is meant.
        is_test: whether `text` is the node id of a test.
        phase: what is being done.
        since: start of the phase, seconds since the epoch.
        seq: last event journaled when the text was stated.
        worker: xdist worker id, empty without workers.
        whole: False if the text was cut because it did not fit.
    """

    text: str
    is_test: bool
    phase: Phase
    since: float
    seq: int
    worker: str
    whole: bool


class Page(NamedTuple):
    """What a page says.

    Attributes:
        seq: the last journaled event.
        slots: what is in flight.
        whole: False where a slot could not be read: its writer was killed within it.
        end: what it says of the session's end.
    """

    seq: int
    slots: list[InFlight]
    whole: bool
    end: End = End.UNKNOWN


class NowPage:
    """The writing side of a page: the adapter's process, and each worker for its own slot."""

    def __init__(self, path: Path, slot: int, worker: str = "", *, create: bool) -> None:
        """Map the page.

        Args:
            path: the file.
            slot: number of the slot that is written.
            worker: xdist worker id, empty without workers.
            create: whether the file is to be made.

        Raises:
            OSError: the file cannot be made, opened or mapped, or is no now page.
        """
        size = _HEADER_SIZE + SLOTS * SLOT_SIZE
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        fd = os.open(path, flags, 0o600)
        try:
            if create:
                leave_to_owner(fd, os.fstat(fd))
                # Written in full, not a sparse file: a full disk is an error here, not SIGBUS at the first store.
                page = _HEADER.pack(MAGIC, SLOTS, SLOT_SIZE, End.TO_COME, 0).ljust(size, b"\0")
                while page:
                    page = page[os.write(fd, page) :]
            if os.fstat(fd).st_size < size or os.pread(fd, len(MAGIC), 0) != MAGIC:
                raise OSError(f"{path} is not a now page")
            found = os.fstat(fd)
            self._file_id = (found.st_dev, found.st_ino)
            # A map keeps a descriptor of its own, which gets the lowest free number; it does not tell which.
            self._fd = os.dup(fd)
            os.close(self._fd)
            self._map = mmap.mmap(fd, size)
        finally:
            os.close(fd)
        if not 0 <= slot < SLOTS:
            raise OSError(f"the now page has no slot {slot}")
        self._place(slot, worker)
        self._use(memoryview(self._map))
        forget_in_children(self)

    def _place(self, slot: int, worker: str) -> None:
        at = _HEADER_SIZE + slot * SLOT_SIZE
        self._lock_at = at // 4
        self._phase_at = at + _LOCK.size
        self._since_at = (at + _SINCE_AT) // 8
        self._call_at = (at + _CALL_AT) // 8
        self._teardown_at = (at + _TEARDOWN_AT) // 8
        self._text_at = at + _TEXT_AT
        self._worker = worker.encode("ascii", "replace")
        self._lock = 0

    def set_seq(self, seq: int) -> None:
        """State the last journaled event of the run."""
        self._numbers[_SEQ_AT // 8] = seq

    def set(self, text: str, phase: Phase, since: float, *, is_test: bool = True) -> None:
        """State what is in flight in this slot; `since` in seconds since the epoch."""
        try:
            data = text.encode()
        except UnicodeEncodeError:
            data = plain_text(text).encode()
        stated = size = len(data)
        if size > TEXT_LIMIT:
            stated, size, data = TEXT_LIMIT + 1, TEXT_LIMIT, data[:TEXT_LIMIT]
        page, locks, lock_at, text_at = self._bytes, self._locks, self._lock_at, self._text_at
        lock = self._lock = self._lock + 2
        locks[lock_at] = lock + 1
        seq = self._numbers[_SEQ_AT // 8]
        _BODY.pack_into(page, self._phase_at, _CODE[phase], is_test, stated, since, seq, 0.0, 0.0, self._worker)
        page[text_at : text_at + size] = data
        locks[lock_at] = lock

    def set_phase(self, phase: Phase, since: float) -> None:
        """State the next phase of what is in flight already."""
        if phase is _CALL:
            self.set_call(since)
        elif phase is _TEARDOWN:
            self.set_teardown(since)
        else:
            lock = self._lock = self._lock + 2
            self._locks[self._lock_at] = lock + 1
            self._bytes[self._phase_at] = _CODE[phase]
            self._times[self._since_at] = since
            self._times[self._call_at] = self._times[self._teardown_at] = 0.0
            self._locks[self._lock_at] = lock

    def set_call(self, since: float) -> None:
        """State that the call has begun, as `set_phase` does."""
        self._times[self._call_at] = since

    def set_teardown(self, since: float) -> None:
        """State that the teardown has begun, as `set_phase` does."""
        self._times[self._teardown_at] = since

    def clear(self) -> None:
        """State that nothing is in flight in this slot."""
        self._bytes[self._phase_at] = 0

    def forget(self) -> None:
        """In a forked child: the page is its parent's, and what is stated here nobody reads."""
        self._use(memoryview(bytearray(_HEADER_SIZE + SLOTS * SLOT_SIZE)))

    def _use(self, page: memoryview) -> None:
        self._bytes = page
        self._locks, self._numbers, self._times = page.cast("I"), page.cast("Q"), page.cast("d")

    def close(self) -> None:
        """Unmap the page; the file stays.

        The map closes the number of its descriptor, whatever that is by now: a file that the suite opened under this
        number, after it had closed ours, is put back.
        """
        for view in (self._locks, self._numbers, self._times, self._bytes):
            view.release()  # else the map cannot be closed
        self.forget()
        try:
            found = _fstat(self._fd)
        except OSError:
            self._map.close()  # the suite closed the descriptor, and the number is free
            return
        if (found.st_dev, found.st_ino) == self._file_id:
            self._map.close()
            return
        inheritable = _get_inheritable(self._fd)
        kept = _dup(self._fd)
        self._map.close()
        _dup2(kept, self._fd, inheritable)
        _close(kept)


class NoPage(NowPage):
    """Stands where a page could not be made: what is stated in it nobody reads."""

    def __init__(self) -> None:
        self._place(0, "")
        self.forget()

    def close(self) -> None:
        """Do nothing."""


def read(path: Path) -> Page:
    """Return what the page says.

    It takes some 0.1 ms, and READ_TRIES pauses of READ_PAUSE_S at most.

    Raises:
        OSError: there is no readable now page.
    """
    data = b""
    stable: dict[int, InFlight | None] = {}
    for attempt in range(READ_TRIES):
        if attempt > 2:
            time.sleep(READ_PAUSE_S)
        data = path.read_bytes()
        again = path.read_bytes()
        if len(data) < _HEADER_SIZE + SLOTS * SLOT_SIZE or not data.startswith(MAGIC):
            raise OSError(f"{path} is not a now page")
        for slot in range(SLOTS):
            at = _HEADER_SIZE + slot * SLOT_SIZE
            lock = _LOCK.unpack_from(data, at)[0]
            if slot not in stable and lock % 2 == 0 and data[at : at + _TEXT_AT] == again[at : at + _TEXT_AT]:
                stable[slot] = _read_slot(data, at)
        if len(stable) == SLOTS:
            break
    slots = [found for _, found in sorted(stable.items()) if found is not None]
    end = End(data[_END_AT]) if data[_END_AT] <= End.TOLD else End.UNKNOWN
    return Page(_SEQ.unpack_from(data, _SEQ_AT)[0], slots, len(stable) == SLOTS, end)


def tell_end(path: Path) -> None:
    """Say in a page that is closed that the session has ended, and with what code is told.

    Raises:
        OSError: there is no page that can be written.
    """
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(fd, bytes([End.TOLD]), _END_AT)
    finally:
        os.close(fd)


def told(slots: list[InFlight]) -> list[dict[str, Any]]:
    """Return what was in flight as a payload has it: docs/protocol.md, `inFlight`."""
    return [{"nodeid": slot.text, "phase": slot.phase, "since": slot.since, "worker": slot.worker} for slot in slots]


def _read_slot(data: bytes, at: int) -> InFlight | None:
    code, is_test, size, since, seq, call, teardown, worker = _BODY.unpack_from(data, at + _LOCK.size)
    if not 1 <= code <= len(_PHASES):
        return None
    phase = _PHASES[code - 1]
    for later, begun in ((Phase.CALL, call), (Phase.TEARDOWN, teardown)):
        if begun:
            phase, since = later, begun
    text = data[at + _TEXT_AT : at + _TEXT_AT + min(size, TEXT_LIMIT)].decode("utf-8", "ignore")
    return InFlight(
        text=text,
        is_test=bool(is_test),
        phase=phase,
        since=since,
        seq=seq,
        worker=worker.rstrip(b"\0").decode("ascii", "replace"),
        whole=size <= TEXT_LIMIT,
    )
