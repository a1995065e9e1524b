"""Where a report goes: to stdout, or to a file that is there whole or not at all.

Where the disk is full or the writer breaks, nothing half-written is left, and what was there before stays.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, TextIO

from threepio_client.errors import ThreepioError

NAME_KEPT: Final = 100
"""Characters of a file's name that its temporary one has, too."""


class NotWritten(ThreepioError):
    """A report cannot be written where it is wanted."""


def to_stdout(write: Callable[[TextIO], object]) -> None:
    """Have it written to stdout in UTF-8, whatever the terminal's encoding is: the formats say that they are."""
    sys.stdout.flush()
    out = TextIOWrapper(sys.stdout.buffer, encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        write(out)
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise NotWritten(f"the report cannot be written to stdout: {_why(Path(), error)}") from error
    finally:
        with suppress(OSError):  # what cannot be flushed was told by the flush before
            out.detach()


def to_file(path: Path, write: Callable[[TextIO], object]) -> None:
    """Have a file written in UTF-8 that is there whole or not at all; what was there before stays until then.

    A link stays one, and a file keeps its rights. What is no file, a pipe or a device, is written to as it is.

    Raises:
        NotWritten: it cannot be written; the text says why.
    """
    try:
        if path.is_dir():
            raise NotWritten(f"{path} is a directory: a report needs the name of a file")
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                write(file)
        else:
            _replace(path.resolve(), write)
    except OSError as error:
        raise NotWritten(f"the report cannot be written to {path}: {_why(path, error)}") from error


def append_to_file(path: Path, write: Callable[[TextIO, int], object]) -> None:
    """Have a file written on in UTF-8, of which others have written a part.

    Args:
        path: the file.
        write: is given the file and the bytes that are in it.

    Raises:
        NotWritten: it cannot be written; the text says why.
    """
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            write(file, file.seek(0, os.SEEK_END))
    except OSError as error:
        raise NotWritten(f"the report cannot be written to {path}: {_why(path, error)}") from error


def _replace(path: Path, write: Callable[[TextIO], object]) -> None:
    number, name = tempfile.mkstemp(prefix=f".{path.name[:NAME_KEPT]}.", dir=path.parent)
    try:
        with open(number, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            write(file)
            file.flush()
            os.fchmod(number, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _why(path: Path, error: OSError) -> str:
    advice = {
        errno.ENOENT: f"there is no directory {path.parent}",
        errno.ENOTDIR: f"{path.parent} is no directory",
        errno.ENOSPC: "the disk is full",
        errno.ENAMETOOLONG: "its name is too long",
    }
    return advice.get(error.errno or 0, error.strerror or str(error))
