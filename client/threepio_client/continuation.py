"""Continuation: the next file of a run's journal, where one cannot be synced or written any more.

It opens with the runStart again, so that it says by itself whose it is; then come the lines that are not known to be on
the disk. The adapter and, for what the adapter's own files cannot hold, the daemon make such files.
"""

from __future__ import annotations

import os

from threepio_client.errors import NoPlace
from threepio_client.journal import JournalError, JournalWriter
from threepio_client.paths import FILES_LIMIT, SPARE_FROM, StateDir, make_private_dir

# Bound once: a test may replace what `os` holds while we run.
_unlink = os.unlink


def make_next_file(state_dir: StateDir, run_id: str, lines: list[bytes]) -> JournalWriter:
    """Return the next file of a run's journal, with these lines in it, synced: in the spare directory if it must be.

    Args:
        state_dir: where the journals are.
        run_id: the run.
        lines: what it begins with, each with its newline.

    Raises:
        JournalError: it can be made in neither directory; the text says why not in the first one.
    """
    troubles = []
    for first in (1, SPARE_FROM) if state_dir.spare is not None else (1,):
        try:
            if first == SPARE_FROM and state_dir.spare is not None:
                make_private_dir(state_dir.spare, "THREEPIO_SOCKET")
            elif os.path.isdir(state_dir.path):
                make_private_dir(state_dir.journals)  # a test may have removed it
            file = _first_free(state_dir, run_id, first)
            try:
                for line in lines:
                    file.append_line(line)
                file.sync()
            except JournalError:
                file.close()
                _unlink(file.path)
                raise
        except (JournalError, NoPlace, OSError) as error:
            troubles.append(error)
        else:
            return file
    raise JournalError(f"{troubles[0]}") from troubles[0]


def _first_free(state_dir: StateDir, run_id: str, first: int) -> JournalWriter:
    for number in range(first, first + FILES_LIMIT):
        try:
            return JournalWriter(state_dir.journal(run_id, number), number)
        except FileExistsError:
            continue
    raise JournalError(f"the journal of run {run_id} has {FILES_LIMIT} files already")
