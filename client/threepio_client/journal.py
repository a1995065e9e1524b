"""One file of a journal: one `write` a line, the truth about what happened.

Owned here: making the file, appending without ever leaving half a line behind, syncing, and reading whole lines.
Not here: what a line says (`line.py`), when the adapter syncs because no daemon does (`syncing.py`), which files make
up a run's journal (`runfiles.py`), and how they go on from each other (`newfiles.py`).
"""

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

from threepio_client.errors import BadLine, ThreepioError
from threepio_client.events import LINE_LIMIT, Payload
from threepio_client.files import leave_to_owner, open_own, sync_directory
from threepio_client.line import Event, decode_all, encode, seal

READ_SIZE: Final = 256 * 1024
"""Bytes asked of the file at once: some 900 lines of a usual suite, so a reader's memory stays small."""

# Bound once: a test may replace what `os` holds while we run.
_write: Final = os.write
_fstat: Final = os.fstat
_lseek: Final = os.lseek
_END: Final = os.SEEK_END
_fdatasync: Final = os.fdatasync
_open: Final = os.open
_close: Final = os.close
_unlink: Final = os.unlink


class JournalError(ThreepioError):
    """The journal cannot be made or written; the event that was to be written is not in it.

    Attributes:
        is_begun: whether its line was begun, so that it has its seq and is to be finished before any other.
    """

    def __init__(self, text: str, *, is_begun: bool = False) -> None:
        super().__init__(text)
        self.is_begun = is_begun


class JournalWriter:
    """Appends the lines of one run.

    A line that was begun is finished before any other, whatever interrupted it: a short write, a full disk, an exception
    thrown in by a signal handler. What has reached the file is judged by the file's size, and the number of a begun line
    is never given to another one. Not thread-safe: a runner's hooks come one after the other.

    Attributes:
        path: the file.
        number: which file of the run's journal it is, 0 for the first.
        is_poisoned: whether a sync of it failed. What was not synced by then may never reach the disk, whatever a later
            sync says: it is not tried again.
        reopened: how often the descriptor had to be opened again because the suite closed or replaced it.
        damage: what else the suite did to the file, in words; empty if nothing.
        is_removed: whether the file was seen to have no name any more.
    """

    def __init__(self, path: Path, number: int = 0) -> None:
        """Make the file, which must not exist yet, mode 0600, and sync its directory.

        Raises:
            FileExistsError: there is a journal of this name.
            JournalError: the file cannot be made; none is left behind.
        """
        self.path = path
        self.number = number
        self.is_poisoned = False
        self._is_left = False
        self.reopened = 0
        self.damage = ""
        self.is_removed = False
        try:
            self._fd = _open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        except FileExistsError:
            raise
        except OSError as error:
            raise JournalError(f"cannot make the journal {path}: {error.strerror}") from error
        try:
            found = _fstat(self._fd)
            leave_to_owner(self._fd, found)
            sync_directory(path.parent)
        except OSError as error:
            _close(self._fd)
            _unlink(path)
            raise JournalError(f"cannot make the journal {path}: {error.strerror}") from error
        self._file_id = (found.st_dev, found.st_ino)
        # (last whole seq, bytes of whole lines, begun line): replaced as one, so an exception finds no half-made state.
        self._state: tuple[int, int, bytes | None] = (0, 0, None)

    @property
    def seq(self) -> int:
        """Number of the last whole line."""
        return self._state[0]

    @property
    def end(self) -> int:
        """Bytes up to the end of the last whole line."""
        return self._state[1]

    @property
    def begun(self) -> bytes | None:
        """The line that was begun and that the next call finishes first."""
        return self._state[2]

    def start_at(self, seq: int) -> None:
        """Say that the line to come is the one after `seq`: the lines up to it stand in the files before."""
        self._state = (seq, self._state[1], self._state[2])

    def leave_at(self, seq: int) -> None:
        """Write nothing more: lines up to `seq` went another way. What is there of a begun line stays, as a torn tail."""
        self._state = (seq, self._state[1], None)
        self._is_left = True

    def append_line(self, line: bytes) -> None:
        """Write a line with its newline that is made already and has the next number; raises what `append` does."""
        self.append("", "", 0.0, line)

    def append(self, event_type: str, body: str, timestamp: float, made: bytes = b"") -> tuple[int, bytes]:
        """Write the next line and return its number and bytes.

        Args:
            event_type: what it says.
            body: its payload as JSON, by `line.py`.
            timestamp: seconds since the epoch.
            made: the line itself, instead of all that.

        Raises:
            JournalError: the line is not in the journal; either it was not begun, or the next call finishes it first.
        """
        is_begun = False
        try:
            try:
                size = _lseek(self._fd, 0, _END)
            except OSError:
                size = -1
            seq, end, begun = self._state
            # A descriptor whose file is as long as it should be is taken to be ours: `fstat` takes longer.
            if size != end or begun is not None or self._is_left:
                size = self._make_ready()
                seq, end, _ = self._state
            line = begun = made or seal(seq + 1, event_type, body, timestamp)
            if size != end:
                begun = self._behind_damage(line, size)
            self._state = (seq, size, begun)
            is_begun = True
            if _write(self._fd, begun) == len(begun):
                self._state = (seq + 1, size + len(begun), None)
            else:
                self._finish_begun(self._check_file())
        except OSError as error:
            raise JournalError(f"cannot write the journal {self.path}: {error.strerror}", is_begun=is_begun) from error
        return seq + 1, line

    def sync(self) -> None:
        """Return when everything written is on the disk.

        Raises:
            JournalError: the sync failed. What was written since the last one may be lost in a power cut.
        """
        if self.is_poisoned:
            raise JournalError(f"the journal {self.path} is not synced again after a sync that failed")
        try:
            self._check_file()
            _fdatasync(self._fd)
        except OSError as error:
            self.is_poisoned = True
            raise JournalError(f"cannot sync the journal {self.path}: {error.strerror}") from error

    def read_back(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, line with its newline) of the whole lines from `offset` on, bad ones left out.

        Raises:
            OSError: the file cannot be read.
        """
        for raw, end in whole_lines(self._fd, offset):
            event = parse(raw, end).event
            if event is not None:
                yield event.seq, raw + b"\n"

    def close(self) -> None:
        """Close the descriptor, if it is still ours. Writes and syncs nothing."""
        fd, self._fd = self._fd, -1
        try:
            found = _fstat(fd)
        except OSError:
            return  # the suite closed it
        if (found.st_dev, found.st_ino) == self._file_id:
            _close(fd)

    def _finish_begun(self, size: int) -> None:
        seq, end, line = self._state
        if line is None:
            return
        if size < end:
            end, line = size, self._behind_damage(line, size)
            self._state = (seq, end, line)
        done = size - end
        while done < len(line):
            done += _write(self._fd, line[done:])
        self._state = (seq + 1, end + len(line), None)

    def _behind_damage(self, line: bytes, size: int) -> bytes:
        """Note that something else changed the file, and return what is to be written in place of the line.

        Lines that are gone show as a hole to every reader; what comes now must not be lost too, so what may be half a line
        is ended first.
        """
        self.damage = f"the journal {self.path} has {size} bytes instead of {self.end}: something else changed it"
        return b"\n" + line if size else line

    def _make_ready(self) -> int:
        """Look at a file that is not as it was left, and finish the line that was begun; return the file's size."""
        size = self._check_file()
        if self._is_left:
            raise JournalError(f"the journal {self.path} was given up")
        if self._state[2] is not None:
            self._finish_begun(size)
            size = self._check_file()
        return size

    def _check_file(self) -> int:
        """Return the file's size, after making sure that the descriptor still is our file and nobody else's."""
        try:
            found = _fstat(self._fd)
            if (found.st_dev, found.st_ino) == self._file_id:
                self.is_removed = not found.st_nlink
                if self.is_removed and not self.damage:
                    self.damage = (
                        f"the journal {self.path} was removed: events that were not stored by then are lost with it"
                    )
                return found.st_size
        except OSError:
            pass  # closed by the suite: opened again below
        self._fd = _open(self.path, os.O_RDWR | _FLAGS)
        found = _fstat(self._fd)
        if (found.st_dev, found.st_ino) != self._file_id:
            _close(self._fd)
            self._fd = -1
            raise JournalError(f"the journal {self.path} was replaced by another file")
        self.reopened += 1
        return found.st_size


_FLAGS: Final = os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Record(NamedTuple):
    """One whole line of a journal, as it was found.

    Attributes:
        end: byte offset behind the line.
        raw: the line without its newline.
        event: what it says, or None if it is bad.
        reason: why it is bad, else empty.
    """

    end: int
    raw: bytes
    event: Event | None
    reason: str


def whole_lines(fd: int, offset: int) -> Generator[tuple[bytes, int], None, None]:
    """Yield (line without newline, byte offset behind it) from `offset` on, as `blocks_of_lines` finds them."""
    for block in blocks_of_lines(fd, offset):
        yield from block


def blocks_of_lines(
    fd: int, offset: int, until: float = inf, wanted: bytes = b""
) -> Generator[list[tuple[bytes, int]], None, None]:
    """Yield lists of (line without newline, byte offset behind it) from `offset` to the last newline before byte `until`.

    A rest without newline is not yielded: while its writer lives it is not there yet, and once the writer is gone it is a
    torn tail (`tail_size` tells). A stretch of more than LINE_LIMIT bytes without newline is yielded as it is: a bad line.
    With `wanted`, only lines that have it are yielded.
    """
    rest = b""
    while chunk := os.pread(fd, int(min(READ_SIZE, max(until - offset - len(rest), 0))), offset + len(rest)):
        data = rest + chunk
        block = []
        # Looking once for what is wanted is quicker than finding the lines.
        start = data.rfind(b"\n") + 1 if wanted and wanted not in data else 0
        while (newline := data.find(b"\n", start)) >= 0:
            line = data[start:newline]
            start = newline + 1
            if not wanted or wanted in line:
                block.append((line, offset + start))
        offset += start
        rest = data[start:]
        if len(rest) > LINE_LIMIT:
            if wanted in rest:
                block.append((rest, offset + len(rest)))
            offset += len(rest)
            rest = b""
        if block:
            yield block


def records(path: Path, offset: int = 0) -> Iterator[Record]:
    """Yield the whole lines of a journal or observation file from `offset`, bad ones included.

    Raises:
        OSError: the file cannot be read.
    """
    fd = open_own(path, os.O_RDONLY)
    try:
        with closing(whole_lines(fd, offset)) as lines:
            for raw, end in lines:
                yield parse(raw, end)
    finally:
        os.close(fd)


def parse(raw: bytes, end: int) -> Record:
    """Return the record of one line without its newline."""
    return parse_all([(raw, end)])[0]


def parse_all(lines: list[tuple[bytes, int]]) -> list[Record]:
    """Return the records of lines without their newlines, each given with the byte offset behind it."""
    found = decode_all([raw for raw, _ in lines])
    return [
        Record(end, raw, None, str(event)) if isinstance(event, BadLine) else Record(end, raw, event, "")
        for (raw, end), event in zip(lines, found, strict=True)
    ]


def append_observation(path: Path, event_type: str, payload: Payload, timestamp: float) -> None:
    """Append a line to a run's observation file and sync it. Several processes may do so: they take turns.

    Raises:
        OSError: the observation is not in the file, or not on the disk.
    """
    fd = open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with closing(whole_lines(fd, 0)) as lines:
            ends = [end for _, end in lines]
        line = encode(len(ends) + 1, event_type, payload, timestamp)
        if os.fstat(fd).st_size > max(ends, default=0):
            line = b"\n" + line  # a writer that was killed left half a line: it takes no part of this one
        while line:
            line = line[os.write(fd, line) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(path.parent)


def tail_size(fd: int) -> int:
    """Return the bytes behind the last newline: 0, or the size of a line that was begun and not finished."""
    size = position = os.fstat(fd).st_size
    while position > 0:
        step = min(READ_SIZE, position)
        newline = os.pread(fd, step, position - step).rfind(b"\n")
        if newline >= 0:
            return size - (position - step + newline + 1)
        position -= step
    return size
