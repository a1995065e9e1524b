"""Which commit a directory is at, read from git's own files: no process is started, so it costs well under a millisecond."""

from __future__ import annotations

import os
from pathlib import Path


def git_head(directory: Path) -> dict[str, str]:
    """Return `commit` and, on a branch, `branch` of the checkout that holds the directory; empty if there is none.

    Layout: gitrepository-layout(5). A worktree has a `.git` file that names its directory.
    """
    try:
        git_dir = _find_git_dir(directory)
        if git_dir is None:
            return {}
        head = (git_dir / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return {"commit": head}
        ref = head.removeprefix("ref: ")
        common_file = git_dir / "commondir"
        common = git_dir / common_file.read_text().strip() if common_file.exists() else git_dir
        commit = _resolve(common, ref)
        return {"branch": ref.removeprefix("refs/heads/"), **({"commit": commit} if commit else {})}
    except (OSError, UnicodeDecodeError):
        return {}


def checkout_of(directory: Path) -> Path | None:
    """Return the top of the checkout, worktree or submodule that holds a directory; None if none is seen."""
    return next((place for place in (directory, *directory.parents) if os.path.exists(place / ".git")), None)


def _find_git_dir(directory: Path) -> Path | None:
    checkout = checkout_of(directory)
    if checkout is None:
        return None
    found = checkout / ".git"
    return found if found.is_dir() else checkout / found.read_text().strip().removeprefix("gitdir: ")


def _resolve(common: Path, ref: str) -> str:
    loose = common / ref
    if loose.is_file():
        return loose.read_text().strip()
    packed = common / "packed-refs"
    if packed.is_file():
        for line in packed.read_text().splitlines():
            commit, _, name = line.partition(" ")
            if name == ref:
                return commit
    return ""
