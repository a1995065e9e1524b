"""What became of one test in many runs."""

from __future__ import annotations

import json
from itertools import islice
from typing import NamedTuple

from threepio_client.archive import Archive, unreadable
from threepio_client.results import Details, Outcome, Result, of_row, outcomes, results


class Entry(NamedTuple):
    """One run's line in the history of a test.

    Attributes:
        run_id: the run.
        started: when the test began - the run, where that is not known -, seconds since the epoch.
        commit: what the run tested; empty where that is not known.
        dirty: whether tracked files differed from it; None where that is not known.
        rootdir: the run's, None where that is not known.
        outcome: what became of the test.
    """

    run_id: str
    started: float
    commit: str
    dirty: bool | None
    rootdir: str | None
    outcome: Outcome


def history_of(archive: Archive, nodeid: str, limit: int, rootdir: str | None, without: str = "") -> list[Entry]:
    """Return the history of a test in the newest runs of a rootdir that have an outcome of it, the latest first.

    Args:
        archive: where the runs are.
        nodeid: the test's; other projects may have one of this name, too.
        limit: how many runs at most.
        rootdir: of the runs; None for that of the newest of them.
        without: a run that is left out.
    """
    found: list[Entry] = []
    run_ids = iter([run_id for run_id in archive.run_ids() if run_id != without])
    while (some := list(islice(run_ids, limit))) and len(found) < limit:
        # Of a file it is known, too, that it could not be collected, and that stands elsewhere in the store.
        over = _entries_of_runs_over(archive, nodeid, some) if "::" in nodeid else {}
        for run_id in some:
            entry = over[run_id] if run_id in over else _entry(archive, nodeid, run_id)
            if entry is None:
                continue
            rootdir = entry.rootdir if rootdir is None else rootdir
            if entry.rootdir == rootdir:
                found.append(entry)
    return found[:limit]


def _entries_of_runs_over(archive: Archive, nodeid: str, run_ids: list[str]) -> dict[str, Entry | None]:
    """Return what the store alone tells of a test in runs of which nothing more is expected; None: no outcome of it."""
    listed: dict[str, list[Result]] = {}
    known: dict[str, tuple[float, str, bool | None, str | None]] = {}
    with archive.reading() as store:
        if store is not None:
            rows = store.execute(
                "SELECT runs.run_id, runs.started, json_extract(runs.snapshot, '$.start.git.commit'), "
                "json_extract(runs.snapshot, '$.tree.dirty'), "
                "json_extract(runs.snapshot, '$.start.rootdir'), r.seq, r.status, r.phase, r.started, "
                f"r.duration, r.worker, {Details.NONE} FROM runs LEFT JOIN results r ON r.run = runs.id "
                "AND r.test = (SELECT id FROM tests WHERE nodeid = ?) "
                "WHERE runs.final AND runs.run_id IN (SELECT value FROM json_each(?)) ORDER BY runs.id, r.seq",
                (nodeid, json.dumps(run_ids)),
            )
            for run_id, started, commit, dirty, rootdir, seq, *columns in rows:
                known[run_id] = (started, str(commit or ""), None if dirty is None else bool(dirty), rootdir)
                if seq is not None:
                    listed.setdefault(run_id, []).append(of_row((nodeid, seq, *columns)))
    return {run_id: _made_entry(run_id, nodeid, listed.get(run_id, []), *facts) for run_id, facts in known.items()}


def _entry(archive: Archive, nodeid: str, run_id: str) -> Entry | None:
    """Return what store and journal tell of a test in one run, None if it has no outcome of it."""
    try:
        found = list(results(archive, run_id, nodeid, with_collection="::" not in nodeid))
    except PermissionError as error:  # of other runs there is something to tell
        archive.trouble = unreadable(error)
        return None
    listed = [one for one in found if one.nodeid == nodeid]
    if not listed:
        return None
    state = archive.beginning(run_id)
    git = state.start.get("git")
    commit = str(git.get("commit", "")) if isinstance(git, dict) else ""
    dirty = state.tree.get("dirty")
    return _made_entry(run_id, nodeid, listed, state.started, commit, dirty, state.start.get("rootdir"))


def _made_entry(
    run_id: str,
    nodeid: str,
    listed: list[Result],
    started: float,
    commit: str,
    dirty: bool | None,
    rootdir: str | None,
) -> Entry | None:
    outcome = outcomes(listed).get(nodeid)
    return (
        Entry(run_id, listed[-1].started or started, commit, dirty, rootdir, outcome) if outcome is not None else None
    )
