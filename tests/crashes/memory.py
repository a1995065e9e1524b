"""A memory control group of our own, in which a process can be killed by the kernel. Needs root; version 1 or 2."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from tests.faults.row import NotHere

LIMIT: Final = 320 << 20
"""Room for a controller and two workers, which share little; what eats memory comes to it in a fraction of a second."""
V1: Final = Path("/sys/fs/cgroup/memory")
V2: Final = Path("/sys/fs/cgroup")
_numbers = count(1)


class Group:
    """One control group."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs in this group, as the process that was started itself."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._path / "cgroup.procs"), *command]

    def kills(self) -> int:
        """Return how many processes of this group the kernel has killed for memory."""
        name = "memory.events" if (self._path / "memory.events").exists() else "memory.oom_control"
        fields = dict(line.split() for line in (self._path / name).read_text().splitlines())
        return int(fields["oom_kill"])


@contextmanager
def group() -> Iterator[Group]:
    """Make a group with LIMIT bytes; raise NotHere where this machine does not let us."""
    base, limit, swap = (V1, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    if not base.is_dir():
        base, limit, swap = V2, "memory.max", "memory.swap.max"
    path = base / f"threepiod-crashes-{os.getpid()}-{next(_numbers)}"
    try:
        path.mkdir()
    except OSError as error:
        raise NotHere(f"no control group can be made here: {error.strerror}") from error
    try:
        try:
            (path / limit).write_text(str(LIMIT))
            if (path / swap).exists():
                (path / swap).write_text(str(LIMIT if base == V1 else 0))
        except OSError as error:
            raise NotHere(f"no memory limit can be set here: {error.strerror}") from error
        yield Group(path)
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            path.rmdir()
            return
        except OSError:  # EBUSY: its last process is about to end
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
