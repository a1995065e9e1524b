"""Output files of commands, looked at from outside: which commands go on, and what nobody needs any more.

`threepio run` holds a record lock on the file of its command (fcntl(2)) until that has ended. Such a lock is no child's, so
neither a command that redirects its output nor one that leaves a process behind changes what it says.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from threepio_client.files import open_own
from threepio_client.here import Here
from threepio_client.paths import StateDir
from threepio_client.process import identity_of
from threepio_client.runfiles import journal_files, runs_of

_LOCK: Final = struct.Struct("hhqqi4x")
"""struct flock of fcntl(2): type, whence, start, length, pid."""


def lock(file: int) -> None:
    """Lock an output file, by its descriptor, as long as that is open and no other descriptor of it is closed here.

    Raises:
        BlockingIOError: another process has it.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


def writer_of(path: Path) -> int | None:
    """Return the pid of the `threepio run` whose command writes to the file.

    0 if there is one that cannot be seen, None if there is none.
    """
    try:
        file = open_own(path, os.O_RDONLY)
    except OSError:
        return 0 if os.path.exists(path) else None
    try:
        kind, _, _, _, pid = _LOCK.unpack(
            fcntl.fcntl(file, fcntl.F_GETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        )
    except OSError:
        return 0
    finally:
        os.close(file)
    return None if kind == fcntl.F_UNLCK else max(int(pid), 0)


def has_ended(path: Path) -> bool:
    """Return whether there is the output of a command that has ended."""
    return os.path.exists(path) and writer_of(path) is None


def starting(state_dir: StateDir, since: float, directory: str) -> str:
    """Return the run id of a command that goes on and of which no run has begun; of several the latest, empty for none.

    Args:
        state_dir: where to look.
        since: seconds since the epoch; a command that began before that is none.
        directory: where it is asked; a command that was begun elsewhere is none.

    Raises:
        OSError: the journals cannot be listed.
    """
    known = runs_of(state_dir) if os.path.isdir(state_dir.journals) else {}
    begun: dict[str, float] = {}
    here = Here(directory)
    for path in without_run(state_dir, known):
        pid = writer_of(path)
        if pid is not None and (at := _began(pid)) >= since and here.is_near(_directory_of(pid) or directory):
            begun[path.stem] = at
    return max(begun, key=begun.__getitem__, default="")


def later_without_run(state_dir: StateDir, since: float) -> list[Path]:
    """Return the outputs of commands that wrote later than `since` and of which no run has a journal (yet).

    Args:
        state_dir: where to look.
        since: seconds since the epoch.

    Returns:
        The one that wrote last is first.
    """
    found: list[tuple[float, Path]] = []
    try:
        with os.scandir(state_dir.output("x").parent) as entries:
            for entry in entries:
                at = entry.stat(follow_symlinks=False).st_mtime
                run_id, _, ending = entry.name.rpartition(".")
                if at <= since or ending != "log" or journal_files(state_dir, run_id):
                    continue
                path = Path(entry.path)
                if entry.is_file(follow_symlinks=False):
                    found.append((at, path))
    except OSError:  # there is no output, or one is just being removed
        pass
    return [path for _, path in sorted(found, reverse=True)]


def _began(pid: int) -> float:
    """Return when a process began, in seconds since the epoch; now, where that cannot be seen."""
    ticks = identity_of(pid).start_ticks if pid else 0
    if not ticks:
        return time.time()
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def _directory_of(pid: int) -> str:
    """Return the current directory of a process; empty where that cannot be seen."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def without_run(state_dir: StateDir, known: Collection[str]) -> Iterator[Path]:
    """Yield the output files of commands of which no run has begun, `known` being the ids of all runs."""
    for path in state_dir.output("x").parent.glob("*.log"):
        if path.stem not in known:
            yield path
