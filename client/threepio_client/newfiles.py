"""New files of a run's journal: the first one, and the next where one cannot be synced or written any more.

The next one opens with the runStart again, so that it says by itself whose it is; then come the lines that are not known to
be on the disk. The adapter and, for what the adapter's own files cannot hold, the daemon make such files.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from threepio_client.errors import NoPlace
from threepio_client.journal import JournalError, JournalWriter
from threepio_client.paths import COMPRESSED, FILES_LIMIT, SPARE_FROM, StateDir, ids_like, make_private_dir

# Bound once: a test may replace what `os` holds while we run.
_unlink = os.unlink


def make_first_file(state_dir: StateDir, wanted: str, taken: Collection[str]) -> tuple[str, JournalWriter, str]:
    """Return a run's id, its journal, and why that is not where it should be (empty if it is).

    Args:
        state_dir: where the journals are.
        wanted: the id that the run is to have; where it is taken, the next one like it that is free.
        taken: ids that are not free, though no file of them is there.

    Raises:
        SettingsError: too many runs have this id.
        NoPlace: the file can be made nowhere.
    """
    for run_id in ids_like(wanted):
        if run_id in taken:
            continue
        if run_id != wanted and os.path.exists(state_dir.output(run_id)):
            continue  # a command of `threepio run` has it, and is about to begin its run
        path = state_dir.journal(run_id)
        if os.path.exists(f"{path}{COMPRESSED}") or _has_spare(state_dir, run_id):  # a run that is over
            continue
        try:
            return run_id, JournalWriter(path), ""
        except FileExistsError:
            continue
        except JournalError as error:
            journal = _make_spare(state_dir, run_id, error)
            return run_id, journal, f"{error}: this run's journal is {journal.path}"
    raise AssertionError  # ids_like says that all are taken


def _has_spare(state_dir: StateDir, run_id: str) -> bool:
    return state_dir.spare is not None and os.path.exists(state_dir.journal(run_id, SPARE_FROM))


def _make_spare(state_dir: StateDir, run_id: str, error: JournalError) -> JournalWriter:
    """Return the journal of a run whose first file cannot be made where it should be."""
    try:
        if state_dir.spare is not None:
            make_private_dir(state_dir.spare, "THREEPIO_SOCKET")
            return JournalWriter(state_dir.journal(run_id, SPARE_FROM), SPARE_FROM)
    except (JournalError, NoPlace, FileExistsError):
        pass  # the first place's trouble is the one to be mended
    raise NoPlace(str(error)) from error


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
