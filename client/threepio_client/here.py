"""Which runs are of here, where a question is asked: work trees are kept apart, whichever of them ran last."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from threepio_client.events import Payload
from threepio_client.vcs import checkout_of

SOUGHT: Final = 50
"""Newest runs among which one of here, those that go on, and those of a command are looked for; a look takes 0.07 ms."""


class Here:
    """The directory that a question is asked in; everything is near to none."""

    def __init__(self, directory: str) -> None:
        """Make it of an absolute path; empty: no directory."""
        self._path = os.path.realpath(directory) if directory else ""
        self._checkout = checkout_of(Path(self._path)) if directory else None
        self._near: dict[str, bool] = {}

    def is_near(self, directory: str) -> bool:
        """Return whether a directory is this one, within it or around it, and of the same checkout if this one has any."""
        found = self._near.get(directory)
        if found is None:
            found = self._near[directory] = self._look_at(directory)
        return found

    def has(self, start: Payload) -> bool:
        """Return whether a run is of here, by its runStart: its tests are, or it was begun here. If nobody knows, it is.

        What a command of `threepio run` begins was begun where that command was: it may go elsewhere.
        """
        told = map(start.get, ("rootdir", "cwd", "commandCwd"))
        places = [place for place in told if isinstance(place, str) and place]
        return not places or any(map(self.is_near, places))

    def _look_at(self, directory: str) -> bool:
        if not self._path:
            return True
        try:
            there = os.path.realpath(directory)
        except (OSError, ValueError):  # a link that nobody may follow; a NUL in a name of a foreign writer's
            return False
        here_, there_ = os.path.join(self._path, ""), os.path.join(there, "")
        if not (here_.startswith(there_) or there_.startswith(here_)):
            return False
        return self._checkout is None or (os.path.isdir(there) and checkout_of(Path(there)) == self._checkout)


def current() -> str:
    """Return the current directory; empty if that was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def newest(run_ids: Sequence[str], start_of: Callable[[str], Payload], directory: str = "") -> str:
    """Return the run that `latest` means: the newest of here, if one of the newest SOUGHT is, else the newest of all.

    A session that only collects, and one that a test started, are not meant, unless there is nothing else: an editor
    collects after every change, and what a nested session is worth its test knows.

    Args:
        run_ids: at least one, the latest first.
        start_of: returns a run's runStart, empty where it is not known.
        directory: where the question is asked; empty: anywhere.
    """
    here = Here(directory)
    meant = ((run_id, start) for run_id in run_ids if is_meant(start := start_of(run_id)))
    newest_of_all = ""
    for run_id, start in islice(meant, SOUGHT):
        if here.has(start):
            return run_id
        newest_of_all = newest_of_all or run_id
    return newest_of_all or run_ids[0]


def is_meant(start: Payload) -> bool:
    """Return whether `latest` can mean a run, by its runStart."""
    return not start.get("collectOnly") and not start.get("parentRunId")
