"""Packing: a journal file becomes a compressed one, `<name>.gz`; at any moment one of the two is there and whole."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from threepio_client.files import sync_directory
from threepio_client.paths import COMPRESSED

LEVEL: Final = 6
CHUNK: Final = 256 * 1024
"""Bytes compressed at once: some 5 ms, after which others have their turn."""
PART: Final = ".part"
"""Behind the name of a file that is being written."""


def pack(path: Path, pause: Callable[[], None]) -> bool:
    """Compress a file and remove it; return whether that was done: not if it has grown meanwhile.

    Args:
        path: a journal file to which nobody writes any more.
        pause: called after each chunk; what it raises ends the work, and the file is as it was.

    Raises:
        OSError: it could not be done, and the file is as it was.
    """
    packed = path.with_name(path.name + COMPRESSED)
    part = packed.with_name(packed.name + PART)
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as plain:
        before = os.fstat(plain.fileno())
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "r+b") as file:
                with gzip.GzipFile("", "wb", LEVEL, file, 0) as packer:
                    crc = size = 0
                    while size <= before.st_size and (chunk := plain.read(CHUNK)):
                        crc, size = zlib.crc32(chunk, crc), size + len(chunk)
                        packer.write(chunk)
                        pause()
                file.seek(0)
                if _read_back(gzip.GzipFile(fileobj=file, mode="rb"), pause) != (crc, size):
                    raise OSError(None, f"what was written of {packed} does not read back")
                os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
                os.fsync(file.fileno())
            if size != before.st_size or os.fstat(plain.fileno()).st_size != size:
                os.unlink(part)
                return False
            os.rename(part, packed)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    sync_directory(path.parent)
    os.unlink(path)
    return True


def remove_parts(directory: Path) -> None:
    """Remove what a killed packing left behind."""
    for part in directory.glob(f"*{COMPRESSED}{PART}"):
        part.unlink(missing_ok=True)


def _read_back(file: gzip.GzipFile, pause: Callable[[], None]) -> tuple[int, int] | None:
    """Return checksum and size of what was packed; None if it cannot be unpacked."""
    crc = size = 0
    try:
        while chunk := file.read(CHUNK):
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            pause()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None
    return crc, size
