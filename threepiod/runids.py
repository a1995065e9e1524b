"""RunIds: the ids of all runs, without listing thousands of files for every question.

They are listed anew when a directory has changed, when a run begins or is over, and after a removal. Not here: which run
a reference means (`runfiles.find_run`, `here.newest`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

from threepio_client.archive import Archive, latest_first
from threepio_client.paths import StateDir
from threepiod.run import Run

SETTLED_S: Final = 0.1
"""A directory that changed less than this before it was listed may change once more at the same time of change: the
kernel counts these times in steps of a few milliseconds."""


class RunIds:
    """The ids of the runs in an archive."""

    def __init__(self, archive: Archive, limiter: trio.CapacityLimiter) -> None:
        self._archive = archive
        self._limiter = limiter
        self._started: dict[str, float] = {}
        self._removals = 0
        self._listed: tuple[Any, ...] | None = None

    def forget(self) -> None:
        """Trust nothing that was listed before."""
        self._removals += 1

    async def latest_first(self, live: Mapping[str, Run]) -> list[str]:
        """Return the ids of all runs, the latest first.

        Args:
            live: the runs that are not over, of which the daemon knows best when they began.

        Raises:
            NoPlace: the state directory cannot be read.
            UnreadableStore: the store is damaged.
        """
        times = changed_at(self._archive.state_dir)
        seen = (times, frozenset(live), self._removals)
        if seen != self._listed:
            self._started = await trio.to_thread.run_sync(self._archive.started, limiter=self._limiter)
            is_settled = max(times) / 1e9 < time.time() - SETTLED_S  # by the clock that files have
            self._listed = seen if is_settled and not self._archive.trouble else None
        began = {run_id: run.state.started for run_id, run in live.items() if run.state.started}
        return latest_first(self._started | began)


def changed_at(state_dir: StateDir) -> tuple[int, int]:
    """Return when the directories with journals changed, in nanoseconds; 0 for one that cannot be looked at."""
    return _changed_at(state_dir.journals), _changed_at(state_dir.spare)


def _changed_at(directory: Path | None) -> int:
    try:
        return directory.stat().st_mtime_ns if directory is not None else 0
    except OSError:
        return 0
