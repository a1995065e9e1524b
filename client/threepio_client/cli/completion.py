"""What the shell is offered for a run and for a test: fast, at most a screenful, and not a word about any trouble.

Only names that mean nothing to a shell are offered: zsh evaluates what it is given, and bash puts it on the command line.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from threepio_client import settings
from threepio_client.archive import Archive
from threepio_client.errors import ThreepioError
from threepio_client.settings import RUN_ID

OFFERED: Final = 50
_PLAIN_NODEID: Final = re.compile(r"[\w./:\[\]=+,-]{1,500}", re.ASCII)


def run_references(incomplete: str) -> list[str]:
    """Return `latest` and the ids of the newest runs that begin like this, the latest first."""
    try:
        found = Archive(settings.load(problems=[]).places).run_ids()
    except (ThreepioError, OSError, ValueError):
        found = []
    names = ["latest", *(run_id for run_id in found if RUN_ID.fullmatch(run_id))]
    return [name for name in names if name.startswith(incomplete)][: OFFERED + 1]


def nodeids(incomplete: str) -> list[str]:
    """Return stored node ids that begin like this."""
    try:
        with Archive(settings.load(problems=[]).places).reading() as store:
            if store is None:
                return []
            # A range of the index: quick also among hundreds of thousands of names.
            last = incomplete + "\U0010ffff"
            query = "SELECT nodeid FROM tests WHERE nodeid >= ? AND nodeid < ? ORDER BY nodeid LIMIT ?"
            names = [name for (name,) in store.execute(query, (incomplete, last, OFFERED))]
    except (ThreepioError, OSError, ValueError, sqlite3.Error):
        return []
    return [name for name in names if _PLAIN_NODEID.fullmatch(name)]
