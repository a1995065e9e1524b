"""A disk whose power can be cut: ext4 in a file, mounted through a loop device, shut down by the kernel's own ioctl."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.faults.row import NotHere

SIZE: Final = 64 * 1024 * 1024
"""Bytes; sparse, so only what is written takes room."""
_SHUTDOWN: Final = 0x8004587D
"""EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)."""
_NO_LOG_FLUSH: Final = struct.pack("I", 2)
"""EXT4_GOING_FLAGS_NOLOGFLUSH: nothing more reaches the disk, not even the file system's log."""


class CutDisk:
    """An ext4 file system of its own.

    Attributes:
        path: where it is mounted.
    """

    def __init__(self, directory: Path) -> None:
        """Make and mount it below a directory.

        Raises:
            NotHere: not root, no mkfs.ext4, or no loop device.
        """
        if os.geteuid() or not shutil.which("mkfs.ext4"):
            raise NotHere("needs root and mkfs.ext4")
        self._image = directory / "disk.img"
        self.path = directory / "disk"
        self.path.mkdir()
        self._is_mounted = False
        self.make()
        try:
            self.mount()
        except subprocess.CalledProcessError as error:
            raise NotHere(f"needs a loop device and ext4: {error.stderr.decode().strip()}") from error

    def make(self) -> None:
        """Make the file system anew, empty."""
        self._image.unlink(missing_ok=True)
        with self._image.open("wb") as file:
            file.truncate(SIZE)
        _run("mkfs.ext4", "-q", "-F", str(self._image))

    def mount(self) -> None:
        """Mount it, after a cut with what had reached the disk by then."""
        _run("mount", "-o", "loop", str(self._image), str(self.path))
        self._is_mounted = True

    def cut(self) -> None:
        """Cut the power: from now on every write and sync fails, and what was not synced is gone."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Unmount it, which frees the loop device too; nobody may have a file open there."""
        _run("umount", str(self.path))
        self._is_mounted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_mounted:
            _run("umount", "-l", str(self.path))
        self._image.unlink()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
