"""Whether files belong to a commit, asked of git."""

from __future__ import annotations

import os
import subprocess
from typing import Final

TIMEOUT_S: Final = 10.0


def not_in_commit(directory: str, pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those (commit, file) of which the commit is known and does not have the file.

    Where git cannot be asked, or takes longer than TIMEOUT_S, nothing is known: none is returned.

    Args:
        directory: what the files are relative to, in a checkout.
        pairs: commits, and paths.
    """
    asked = sorted(pair for pair in pairs if not any("\n" in part for part in pair))
    names = [name for commit, file in asked for name in (f"{commit}^{{commit}}", f"{commit}:./{file}")]
    # A hook's variables are not ours, and an answer is not worth fetching what a partial clone lacks.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "cat-file", "--batch-check"],
            cwd=directory,
            env={**environ, "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"},
            input="".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return set()
    is_missing = [answer.endswith(b" missing") for answer in done.stdout.split(b"\n")[:-1]]
    found = zip(asked, is_missing[::2], is_missing[1::2], strict=True)
    return {pair for pair, no_commit, no_file in found if no_file and not no_commit}
