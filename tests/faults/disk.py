"""A disk that can lose its power, beneath the real journal: what is synced stays, of the rest any part.

The files are real ones; owned here is what would be left of them, and the faults of single calls. It stands in for
the functions of `os` that journal and newfiles bound when they were imported, and for `os.fsync` and `os.fdatasync`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import pytest

from threepio_client import journal, newfiles, runfiles, runjournal

DAEMON: Final = "daemon"

_open: Final = os.open
_write: Final = os.write
_close: Final = os.close
_unlink: Final = os.unlink


class Killed(BaseException):
    """The process ends at this call."""


class Thrown(BaseException):
    """A signal handler's exception, thrown in behind a call."""


@dataclass
class Calls:
    """What happens to the next calls of one process.

    Attributes:
        short: the next write takes only this many bytes.
        refused: writes that fail for want of room, behind a short one if there is one.
        full: whether every write fails.
        throws: whether an exception is thrown in behind the next write.
        eio: syncs of files that fail.
        eio_names: syncs of directories that fail.
        eio_observed: syncs of observations that fail.
        kill_in: calls until the process is killed; None if it is not.
        kill_half: whether it is killed in the middle of its next write.
    """

    short: int | None = None
    refused: int = 0
    full: bool = False
    throws: bool = False
    eio: int = 0
    eio_names: int = 0
    eio_observed: int = 0
    kill_in: int | None = None
    kill_half: bool = False


class Disk:
    """What two directories of journals are, and what a power cut would leave of them.

    Attributes:
        actor: the process that runs now.
        calls: what happens to the next calls, by process.
        changes: how often a file or name was changed.
        names: how often a file was made or removed.
        killed: processes that a call was the end of, and that are still to be buried.
    """

    def __init__(self, directories: list[Path]) -> None:
        self.actor = DAEMON
        self.calls: dict[str, Calls] = defaultdict(Calls)
        self.changes = 0
        self.names = 0
        self.killed: set[str] = set()
        self._directories = directories
        self._synced: dict[int, int] = {}
        self._failed: set[int] = set()
        self._named: set[int] = set()
        self._fds: dict[int, str] = {}
        self._errors: dict[int, int] = defaultdict(int)
        self._errors_seen: dict[int, int] = {}
        self._observing = False

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        """Put this disk beneath the journal."""
        patch.setattr(journal, "_write", self._do_write)
        patch.setattr(journal, "_open", self._do_open)
        patch.setattr(journal, "_close", self._do_close)
        patch.setattr(journal, "_unlink", self._do_unlink)
        patch.setattr(newfiles, "_unlink", self._do_unlink)
        patch.setattr(journal, "_fdatasync", self._do_sync)
        patch.setattr(runjournal, "open_plain", self._do_open_plain)
        patch.setattr(os, "fdatasync", self._do_sync)
        patch.setattr(os, "fsync", self._do_fsync)

    def files(self) -> Iterator[Path]:
        """Yield the files of journals and observations."""
        for directory in self._directories:
            if directory.is_dir():
                yield from sorted(directory.glob("*.jsonl"))

    def durable(self, path: Path) -> int:
        """Return how many bytes of a file would be left for certain."""
        number = path.stat().st_ino
        return self._synced.get(number, 0) if number in self._named else 0

    def has_failed(self, run_id: str) -> bool:
        """Return whether a sync of a file of a run's journal failed."""
        return any(path.stat().st_ino in self._failed for path in self.files() if path.name.startswith(run_id))

    def rot(self, path: Path, offset: int) -> None:
        """Change one bit of a file behind everybody's back."""
        data = bytearray(path.read_bytes())
        data[offset] ^= 0x01
        path.write_bytes(data)
        self.changes += 1

    def lose_power(self, chance: Random) -> None:
        """Keep of each file its synced part and any part of the rest; a file whose name is not synced may be gone."""
        for path in list(self.files()):
            found = path.stat()
            if found.st_ino not in self._named and chance.random() < 0.5:
                path.unlink()
                continue
            synced, size = self._synced.get(found.st_ino, 0), found.st_size
            os.truncate(path, chance.choice([synced, size, chance.randint(synced, size)]))
        self._failed.clear()
        self._errors.clear()
        self._errors_seen.clear()
        self._synced.clear()
        self._named.clear()
        for path in self.files():
            found = path.stat()
            self._synced[found.st_ino] = found.st_size
            self._named.add(found.st_ino)
        self.changes += 1
        self.names += 1

    def forget(self, actor: str) -> None:
        """End a process: its descriptors and its faults go with it."""
        for fd in [fd for fd, owner in self._fds.items() if owner == actor]:
            self._do_close(fd)
        self.calls.pop(actor, None)
        self.killed.discard(actor)

    def _count(self) -> Calls:
        calls = self.calls[self.actor]
        if calls.kill_in is not None:
            calls.kill_in -= 1
            if calls.kill_in < 0:
                self.killed.add(self.actor)
                raise Killed
        return calls

    def _do_write(self, fd: int, data: bytes) -> int:
        calls = self._count()
        self.changes += 1
        if calls.kill_half:
            _write(fd, data[: len(data) // 2])
            raise Killed
        if calls.short is not None and len(data) > 1:
            size, calls.short = min(calls.short, len(data) - 1), None
            return _write(fd, data[:size])
        if calls.full or calls.refused:
            calls.refused = max(calls.refused - 1, 0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = _write(fd, data)
        if calls.throws:
            calls.throws = False
            raise Thrown
        return done

    def _do_sync(self, fd: int) -> None:
        calls = self._count()
        found = os.fstat(fd)
        if calls.eio:
            calls.eio -= 1
            self._failed.add(found.st_ino)
            self._errors[found.st_ino] += 1
        # As Linux has it (errseq_t): a failure is told once to every descriptor that was open then, to later ones never.
        if self._errors[found.st_ino] != self._errors_seen.get(fd, 0):
            self._errors_seen[fd] = self._errors[found.st_ino]
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if found.st_ino not in self._failed:  # what was dropped once is not written by a later sync
            self._synced[found.st_ino] = found.st_size

    def _do_fsync(self, fd: int) -> None:
        found = os.fstat(fd)
        calls = self._count()
        if not stat.S_ISDIR(found.st_mode):  # only observations are synced so, and their directory next
            if calls.eio_observed:
                calls.eio_observed -= 1
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._observing = True
            self._synced[found.st_ino] = found.st_size
            return
        if self._observing:
            self._observing = False
        elif calls.eio_names:
            calls.eio_names -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        with os.scandir(fd) as entries:
            self._named.update(entry.inode() for entry in entries)

    def _do_open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        self._count()
        fd = _open(path, flags, mode)
        self._fds[fd] = self.actor
        number = os.fstat(fd).st_ino
        if flags & os.O_CREAT:
            self._drop(number)
        self._errors_seen[fd] = self._errors[number]
        return fd

    def _do_open_plain(self, path: Path) -> int:
        fd = runfiles.open_plain(path)
        self._errors_seen[fd] = self._errors[os.fstat(fd).st_ino]
        return fd

    def _do_close(self, fd: int) -> None:
        self._fds.pop(fd, None)
        _close(fd)

    def _do_unlink(self, path: Path) -> None:
        self._count()
        self._drop(os.stat(path).st_ino)
        _unlink(path)

    def _drop(self, number: int) -> None:
        self._synced.pop(number, None)
        self._failed.discard(number)
        self._errors.pop(number, None)
        self._named.discard(number)
        self.changes += 1
        self.names += 1
