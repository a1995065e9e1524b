"""The checkout that a run tests: whether it is as committed, at start and end; asked of git, outside the tested process."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import trio

from threepio_client import clock
from threepio_client.runstate import RunState
from threepio_client.vcs import checkout_of

GIT: Final = ("git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--untracked-files=no", "-z")
"""Tracked files only: a test run makes files of its own, which say nothing about what was tested. No hook is called."""
TIMEOUT_S: Final = 10.0
"""A tree that takes longer than this is not known."""
STILL_S: Final = 5.0
"""How long after a run began or ended its tree is still that of its start or its end."""

log = logging.getLogger("threepiod.worktree")
_turn: Final = trio.CapacityLimiter(1)


async def tested_tree(state: RunState, when: str) -> dict[str, Any] | None:
    """Return the observation of the checkout that a run tests; None where nothing can be told, or that was told before.

    Args:
        state: the run's.
        when: `start` or `end`. Of the end nothing is told where nothing was of the start: there is nothing to compare with.
    """
    known, rootdir, git = (state.tree, *map(state.start.get, ("rootdir", "git")))
    since = state.started if when == "start" else max(state.updated, state.gone or 0.0)
    is_new = clock.wall() - since < STILL_S
    wanted = is_new and (not known if when == "start" else known and not state.tree_at_end)
    if not wanted or not isinstance(git, dict) or not git or not isinstance(rootdir, str):
        return None
    found = await describe(rootdir, state.started)
    if found is None or (when == "start" and found["commit"] != git.get("commit", found["commit"])):
        return None  # in the latter case it was committed meanwhile: how it differed nobody can see any more
    return {"when": when, **found}


async def describe(directory: str, since: float) -> dict[str, Any] | None:
    """Return `commit`, `dirty`, `changed` and `digest` of the checkout that holds a directory; None where not known.

    Args:
        directory: any directory of the checkout.
        since: when the run began, seconds since the epoch. It may be over before git has answered.

    Returns:
        dirty: whether tracked files differed from the commit at `since`; None where all that differ changed later.
        changed: whether one did.
        digest: of the commit and of each such file's name, size and time; equal digests mean an equal tree.
    """
    # Without its locks, git never stands in the way of one that the user calls; a hook's variables are not ours.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    done = None
    try:
        async with _turn:
            with trio.move_on_after(TIMEOUT_S):
                done = await trio.run_process(
                    GIT, cwd=directory, env=environ, capture_stdout=True, stderr=subprocess.DEVNULL, check=False
                )
            if done is not None and done.returncode == 0:
                return await trio.to_thread.run_sync(_summary, directory, done.stdout, since)
    except OSError as error:
        log.info("cannot ask git about %s: %s", directory, error.strerror)
        return None
    log.info("git does not say how %s is: %s", directory, "it took too long" if done is None else "no checkout of ours")
    return None


def _summary(directory: str, output: bytes, since: float) -> dict[str, Any]:
    """Return what git's answer says: git-status(1), Porcelain Format Version 2."""
    digest = hashlib.sha256()
    commit = ""
    dirty = changed = False
    top = checkout_of(Path(directory)) or directory
    for entry in output.split(b"\0"):
        if entry.startswith(b"# branch.oid "):
            commit = entry.rpartition(b" ")[2].decode("ascii", "replace")
        if entry.startswith(b"# ") or not entry:
            continue
        digest.update(entry + b"\0")
        fields = entry.split(b" ", 8 if entry.startswith(b"1 ") else 9)
        try:
            found = os.lstat(os.path.join(os.fsencode(top), fields[-1]))
        except (OSError, ValueError):
            dirty = True
            continue  # it was deleted, or this is the former name of a file
        if found.st_mtime > since:
            changed = True
        else:
            dirty = True
        digest.update(f"{found.st_mtime_ns} {found.st_size}\0".encode())
    digest.update(commit.encode())
    return {
        "commit": commit,
        "dirty": dirty or (None if changed else False),
        "changed": changed,
        "digest": digest.hexdigest()[:16],
    }
