"""Whether the kernel killed for memory: the counter of a process's control group, looked at again and again.

A process that was killed for memory got a plain SIGKILL. The kernel counts such kills for each control group
(`oom_kill` in memory.events, or in memory.oom_control of cgroup v1), before the process ends. So what tells is a counter
that rose just before the end; one that rose long ago was another process's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from threepio_client import clock

LOOK_S: Final = 1.0
"""How often whoever waits for a process looks."""
_RECENT_S: Final = 5.0
"""A kill for memory is an end's cause if it was seen so shortly before: a large process takes seconds to be taken down."""
_V1: Final = "/sys/fs/cgroup/memory"
_V2: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


class OomKills:
    """The control group that a process was in when it was first looked at."""

    def __init__(self, pid: int | str = "self") -> None:
        """Look at the process; one that cannot be seen, or a system without control groups, never shows a kill."""
        self._file = _counter_of(pid)
        self._before = self._count()
        self._looked_at = self._rose_at = clock.monotonic()
        self._untold = 0

    def look(self) -> None:
        """Note how often the kernel killed for memory in that group since the last look."""
        now = self._looked_at = clock.monotonic()
        if now - self._rose_at > _RECENT_S:
            self._untold = 0
        found = self._count()
        if found is None:
            return  # the group was removed: what was seen of it stands
        if self._before is not None and found > self._before:
            self._untold += found - self._before
            self._rose_at = now
        self._before = found

    def look_sometimes(self) -> None:
        """Look if that was not done for LOOK_S."""
        if clock.monotonic() - self._looked_at > LOOK_S:
            self.look()

    def rose(self) -> bool:
        """Return whether the kernel killed for memory in that group just now; each kill is told once."""
        self.look()
        is_told = self._untold > 0
        self._untold -= is_told
        return is_told

    def _count(self) -> int | None:
        if self._file is None:
            return None
        try:
            fields = dict(line.split() for line in self._file.read_text().splitlines())
            return int(fields["oom_kill"])
        except (OSError, ValueError, KeyError):
            return None


def _counter_of(pid: int | str) -> Path | None:
    """Return the file with the counter of a process's control group: the one of v1 where memory is controlled there."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    places: list[Path] = []
    for line in lines:  # cgroups(7): hierarchy-ID:controller-list:cgroup-path
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            places.insert(0, Path(_V1 + path, "memory.oom_control"))
        elif not controllers:
            places += [Path(base + path, "memory.events") for base in _V2]
    return next((place for place in places if place.is_file()), None)
