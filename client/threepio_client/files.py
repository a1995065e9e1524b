"""Files that nobody else can have planted, where a directory was left open by mistake; and names that are there to stay."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

# Bound once: a test may replace what `os` holds while we run.
_open: Final = os.open
_close: Final = os.close
_fstat: Final = os.fstat
_fchmod: Final = os.fchmod
_getuid: Final = os.getuid


def open_own(path: Path, flags: int) -> int:
    """Open a file that nobody else can have planted: no link is followed, and it is our user's. A new one is 0600.

    Raises:
        OSError: it cannot be opened, or another user made it, where the directory was left open by mistake.
    """
    fd = _open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    found = _fstat(fd)
    if found.st_uid != _getuid():
        _close(fd)
        raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
    if flags & os.O_CREAT:
        leave_to_owner(fd, found)
    return fd


def leave_to_owner(fd: int, found: os.stat_result) -> None:
    """Make a file that we have just made one that we can open again: a suite's umask may forbid that to us, too."""
    if found.st_mode & 0o600 != 0o600:
        _fchmod(fd, 0o600)


def sync_directory(path: Path) -> None:
    """Sync a directory, so that a file just made in it survives a power cut."""
    fd = _open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        _close(fd)


def foreign(path: Path) -> str:
    """Return why a file that is to be read or written by its name is not ours; an empty text if it is, or is not there."""
    try:
        found = path.lstat()
    except OSError:
        return ""
    if not stat.S_ISREG(found.st_mode):
        return "it is no file"
    return "" if found.st_uid == os.getuid() else f"it belongs to uid {found.st_uid}, not to you (uid {os.getuid()})"
