"""A run's journal as one sequence: its files read together, each line once, in the order of `seq`.

The one way in which lines are read back: by the daemon, by the commands without one, and when the store is made again.
It holds the files open, so what a suite does to their names loses nothing that was written. Not here: what is made of
the lines (`runstate.py`, the store), and which files there are (`runfiles.py`).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from itertools import islice
from math import inf
from typing import Final, NamedTuple

from threepio_client.events import EventType
from threepio_client.files import sync_directory
from threepio_client.journal import Record, blocks_of_lines, parse_all, tail_size
from threepio_client.line import Event, encode_text
from threepio_client.paths import StateDir
from threepio_client.runfiles import journal_files, open_plain

ALL: Final = 1 << 62
"""No limit."""
TOGETHER: Final = 100
"""Lines that are decoded together: who reads a part of a journal stops within them."""
CUT_OFF: Final = "never reached the disk"
"""Reason of the step that stands for the rest of a file after a power cut."""
_UNWRITTEN: Final = bytes(64)
"""So many zeros in a line are a part of the file that was not written when the power went: a file system may keep a later
part without it. No line of ours has one, and a flipped bit makes no more than one."""


class Step(NamedTuple):
    """One line, as it comes in order.

    Attributes:
        file: number of the file that it stands in.
        end: byte offset in that file behind it.
        raw: the line without its newline.
        event: what it says; None if it is bad, or if it stands for the rest of a file after a power cut. A seq that came
            before is a repetition, and one that leaves some out says that nobody can read these.
        reason: why it is bad, else empty.
    """

    file: int
    end: int
    raw: bytes
    event: Event | None
    reason: str

    @property
    def is_cut_off(self) -> bool:
        """Whether it stands for the rest of a file after a power cut: not lost, because never synced."""
        return self.reason.startswith(CUT_OFF)


class RunJournal:
    """The files of one run, read on from a position.

    Attributes:
        run_id: the run's id.
        offsets: for each file, by its number, the bytes that are read.
        targets: likewise, the bytes that are to be read.
    """

    def __init__(self, state_dir: StateDir, run_id: str, offsets: dict[int, int] | None = None) -> None:
        self.run_id = run_id
        self.offsets = dict(offsets or {})
        self._state_dir = state_dir
        self.targets: dict[int, int] = {}
        self._files: dict[int, int] = {}

    def look(self) -> dict[int, int]:
        """Open the files that are new; return the bytes of each file, by number.

        Raises:
            OSError: a file cannot be opened.
        """
        for number, path in journal_files(self._state_dir, self.run_id).items():
            if number not in self._files:
                self._files[number] = open_plain(path)
        return {number: os.fstat(fd).st_size for number, fd in self._files.items()}

    @property
    def is_behind(self) -> bool:
        """Whether something is to be read."""
        return any(self.offsets.get(number, 0) < target for number, target in self.targets.items())

    @property
    def is_there(self) -> bool:
        """Whether any file is open."""
        return bool(self._files)

    def has(self, number: int) -> bool:
        """Return whether a file is open."""
        return number in self._files

    def read(self, seq: int, *, final: bool, size: int = ALL, count: int = ALL) -> tuple[list[Step], bool]:
        """Return the next lines, and whether there are more. Moves nothing: `offsets` is the caller's to set.

        Args:
            seq: the last line that the caller has.
            final: whether the writer is gone. While it lives, a bad line at the end of a file is not judged.
            size: bytes after which to stop.
            count: lines after which to stop.
        """
        steps: list[Step] = []
        ahead = self.steps(seq, final=final)
        for step in islice(ahead, count):
            steps.append(step)
            size -= len(step.raw)
            if size <= 0:
                break
        return steps, next(ahead, None) is not None

    def steps(
        self, seq: int, *, final: bool, until: Mapping[int, int] | None = None, about: str = ""
    ) -> Generator[Step, None, None]:
        """Yield the next lines, as `read` returns them.

        Args:
            seq: the last line that the caller has.
            final: whether the writer is gone, as for `read`.
            until: of each file, only lines before this byte, of others none: who reads a run that goes on says how far,
                because it may be written as fast as it is read.
            about: a text that only lines with it are wanted for; those without are not decoded.
        """
        wanted = encode_text(about) if about else b""
        tails = [
            _Tail(number, fd, self.offsets.get(number, 0), inf if until is None else until.get(number, 0), wanted)
            for number, fd in sorted(self._files.items())
        ]
        while True:
            moved = False
            for tail in tails:
                while (record := tail.head) is not None:
                    if record.event is None:
                        if not final and (not tail.has_more or tail.is_gap):
                            break
                        if final and tail.is_cut_off():
                            yield tail.cut()
                            break
                    elif record.event.seq > seq + 1:
                        break
                    elif record.event.seq > seq:
                        seq = record.event.seq
                    moved = True
                    yield tail.take()
            # Where a line is missing, its file may have got it since it was read to its end.
            if moved or any(tail.look_again() for tail in tails):
                continue
            waiting = [tail for tail in tails if tail.seq is not None]
            if not waiting:
                return
            nearest = min(waiting, key=lambda tail: tail.seq or 0)
            seq = nearest.seq or 0
            yield nearest.take()

    def sync(self, number: int) -> None:
        """Sync a file, through a descriptor of our own: the tested process does not wait for the disk.

        Raises:
            OSError: the sync failed, or there is no such file.
        """
        fd = self._files.get(number)
        if fd is None:
            raise FileNotFoundError(None, f"file {number} of the journal is not there")
        os.fdatasync(fd)

    def sync_name(self, number: int) -> None:
        """Sync the directory that a file is in, so that the file is found after a power cut.

        Raises:
            OSError: the sync failed.
        """
        sync_directory(self._state_dir.journal(self.run_id, number).parent)

    def torn(self) -> int:
        """Return the bytes of lines that were begun and not finished."""
        return sum(tail_size(fd) for fd in self._files.values())

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])


class _Tail:
    """What is not read of one file, with a look at its next line."""

    def __init__(self, number: int, fd: int, offset: int, until: float, wanted: bytes) -> None:
        self._number = number
        self._fd = fd
        self._end = offset
        self._until = until
        self._wanted = wanted
        self._records: Iterator[Record] = iter(())
        self._next: Record | None = None
        self.head: Record | None = None
        self.look_again()

    @property
    def has_more(self) -> bool:
        """Whether a line follows the next one."""
        return self._next is not None

    @property
    def seq(self) -> int | None:
        """Number of the next line, if that is there and good."""
        return self.head.event.seq if self.head is not None and self.head.event is not None else None

    def take(self) -> Step:
        """Return the next line and go on to the one behind it."""
        record = self.head
        assert record is not None
        self._end = record.end
        self._advance()
        return Step(self._number, record.end, record.raw, record.event, record.reason)

    @property
    def is_gap(self) -> bool:
        """Whether a part of the next line was never written. By whom is judged when its writer is gone."""
        return self.head is not None and _UNWRITTEN in self.head.raw

    def is_cut_off(self) -> bool:
        """Whether the next line, a bad one, is where a power cut left a gap: what survives is what stands before it.

        Not where the run went on behind it to its end: then a suite wrote into its journal, and every line counts.
        """
        if self.head is None or not self.is_gap:
            return False
        rest = _records(self._fd, self.head.end)
        return not any(one.event is not None and one.event.type == EventType.RUN_COMPLETE for one in rest)

    def cut(self) -> Step:
        """Return the step that stands for the rest of the file, and leave that out."""
        assert self.head is not None
        size = os.fstat(self._fd).st_size
        missing = size - self._end
        self.head, self._next, self._records, self._end = None, None, iter(()), size
        return Step(self._number, size, b"", None, f"{CUT_OFF}: {missing} bytes")

    def look_again(self) -> bool:
        """After the end of the file: return whether there is a line now."""
        if self.head is not None:
            return False
        self._records = _records(self._fd, self._end, self._until, self._wanted)
        self._next = next(self._records, None)
        self._advance()
        return self.head is not None

    def _advance(self) -> None:
        self.head = self._next
        self._next = next(self._records, None)


def _records(fd: int, offset: int, until: float = inf, wanted: bytes = b"") -> Iterator[Record]:
    for block in blocks_of_lines(fd, offset, until, wanted):
        for first in range(0, len(block), TOGETHER):
            yield from parse_all(block[first : first + TOGETHER])
