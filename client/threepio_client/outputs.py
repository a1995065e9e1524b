"""Output files of commands, looked at from outside: which commands go on, and what nobody needs any more.

The file is locked by whoever writes to it, so a command goes on as long as the lock is taken.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from threepio_client.files import open_own
from threepio_client.paths import StateDir
from threepio_client.runfiles import runs_of


def starting(state_dir: StateDir) -> str:
    """Return the run id of a command that goes on and of which no run has begun; of several the latest, empty for none.

    Raises:
        OSError: the journals cannot be listed.
    """
    known = runs_of(state_dir) if state_dir.journals.is_dir() else {}
    begun: dict[str, float] = {}
    for path in without_run(state_dir, known):
        if not has_ended(path):
            begun[path.stem] = path.stat().st_mtime
    return max(begun, key=begun.__getitem__, default="")


def has_ended(path: Path) -> bool:
    """Return whether nobody writes to a command's output any more; False where that cannot be seen."""
    try:
        file = open_own(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def without_run(state_dir: StateDir, known: Collection[str]) -> Iterator[Path]:
    """Yield the output files of commands of which no run has begun, `known` being the ids of all runs."""
    for path in state_dir.output("x").parent.glob("*.log"):
        if path.stem not in known:
            yield path
