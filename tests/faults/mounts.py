"""Small file systems of a row's own: mounted in the place, taken away at the end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.row import NotHere


class Tmpfs:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Leave no room at all."""
        with (self.path / "filler").open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def free(self) -> None:
        """Give the room back."""
        (self.path / "filler").unlink(missing_ok=True)

    def remount(self, options: str) -> bool:
        """Mount it again with other options; return whether that was possible."""
        return _mount("-o", f"remount,{options}", str(self.path)) == 0


@contextmanager
def tmpfs(path: Path, size: str) -> Iterator[Tmpfs]:
    """Mount a tmpfs of this size at the path.

    Raises:
        NotHere: mounting needs root.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() or _mount("-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)):
        raise NotHere("needs root, to mount a tmpfs")
    try:
        yield Tmpfs(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode
