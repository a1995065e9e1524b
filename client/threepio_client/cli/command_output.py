"""The file with what a command of `threepio run` printed: reserving, masking and quoting it (`outputs.py` looks at it)."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from threepio_client import settings
from threepio_client.cli.output import say
from threepio_client.errors import NoPlace
from threepio_client.files import open_own
from threepio_client.outputs import lock
from threepio_client.paths import StateDir, ids_like, make_private_dir
from threepio_client.runfiles import journal_files

FREE_BYTES: Final = 1024 * 1024
"""Where there is no room for that much of the command's output, it is not written to a file."""
_CANNOT_RESERVE: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV, errno.EBADF})
"""Of file systems that reserve no room: there glibc tries to write it, which it refuses for a file that is appended to."""
LAST_LINES: Final = 10
LAST_BYTES: Final = 16 * 1024
"""What is shown of the output of a command that failed before any adapter reported."""


def reserve(state_dir: StateDir, wanted: str) -> tuple[str, int | None]:
    """Return a run id that is free, and a descriptor of the file for the command's output.

    The file is locked as long as the command writes to it, so that of two who want one id at once each has its own.

    Args:
        state_dir: where the runs are.
        wanted: the id that is wanted; where it is taken, the next one with a number is.

    Raises:
        SettingsError: too many runs have this id.
    """
    for run_id in ids_like(wanted):
        if journal_files(state_dir, run_id):
            continue
        path = state_dir.output(run_id)
        try:
            output = _locked_output(path)
        except BlockingIOError:  # another command writes to it
            continue
        except (OSError, NoPlace) as error:
            why = str(error) if isinstance(error, NoPlace) else f"cannot write {path}: {error.strerror}"
            # A place that cannot be written is no reason to keep the tests from running.
            say(f"threepio: the command's output comes here, not into a file: {why}", to_stderr=True)
            return run_id, None
        if not journal_files(state_dir, run_id):  # nor was another command quicker, and is over
            os.ftruncate(output, 0)  # of a command that began no run
            return run_id, output
        os.close(output)
    raise AssertionError  # ids_like says that all are taken


def rename(state_dir: StateDir, run_id: str, to: str) -> Path:
    """Name the output after the run that there is, unless that has one; return where it is."""
    old, new = state_dir.output(run_id), state_dir.output(to)
    try:
        os.link(old, new)
        os.unlink(old)
    except OSError:
        return old
    return new


def last_lines(output: Path) -> list[str]:
    """Return the last lines of a file that are not empty; none where it cannot be read."""
    try:
        with open(open_own(output, os.O_RDONLY), "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - LAST_BYTES, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-LAST_LINES:]


def mask_output(found: settings.Settings, path: Path) -> None:
    """Hide the secrets in the file with the command's output, line by line, now that it has ended."""
    mask = found.make_mask()
    if mask is None:
        return
    masked = path.with_suffix(".masked")
    try:
        with (
            open(open_own(path, os.O_RDONLY), "rb") as old,
            open(open_own(masked, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as new,
        ):
            for line in old:
                new.write(mask.hide(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"))
        masked.replace(path)
    except OSError as error:
        masked.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        say(f"threepio: the output is removed, because its secrets cannot be masked: {error.strerror}", to_stderr=True)


def _locked_output(path: Path) -> int:
    """Return a descriptor of the file for a command's output, locked.

    Raises:
        BlockingIOError: another command has it.
        OSError, NoPlace: it cannot be made, or there is no room for what is to be written.
    """
    make_private_dir(path.parent.parent)
    make_private_dir(path.parent)
    file = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        lock(file)
        size = os.fstat(file).st_size
        os.posix_fallocate(file, size, FREE_BYTES)  # the command itself writes to it: its tests would be what fails
        os.ftruncate(file, size)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            os.close(file)
            raise
    return file
