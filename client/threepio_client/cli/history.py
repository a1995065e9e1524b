"""`threepio history`: what became of one test in earlier runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import typer

from threepio_client import answers
from threepio_client.archive import Archive
from threepio_client.cli.options import AsJson, NodeId
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.cli.testname import find_test
from threepio_client.cli.without_outcome import without_outcome, words_of
from threepio_client.events import BAD
from threepio_client.here import SOUGHT, Here, current
from threepio_client.printable import one_line
from threepio_client.testhistory import history_of
from threepio_client.views import VIEW_VERSION
from threepio_client.wording import clock_time, elsewhere

EXAMPLE = "Example: threepio history tests/test_shop.py::test_order"
SHOWN = 20
LOOKED_AT = 5
"""Runs: of each all names are read."""


def history(
    nodeid: NodeId,
    limit: Annotated[int, typer.Option(min=1, help="How many runs to look for.")] = SHOWN,
    as_json: AsJson = False,
) -> None:
    """List the outcomes of a test in the newest runs that have one, the latest first.

    They are of one rootdir: the one that we are in, or where no run was here, that of the newest of them.

    NODEID may be a part of a node id, if only one test of the newest five runs has it. Of a test without any outcome it
    says what became of it in these. Exit code 4 if they do not know it either.
    """
    with open_source() as source:
        archive = source.archive
        rootdir = _rootdir_here(archive)
        found = history_of(archive, nodeid, limit, rootdir)
        known: list[tuple[answers.WithoutOutcomeIn, str]] = []
        if not found:
            views = [archive.view(run_id) for run_id in _newest(archive, rootdir, min(limit, LOOKED_AT))]
            nodeid = find_test(archive, nodeid, views)
            found = history_of(archive, nodeid, limit, rootdir)
            known = _without_outcome(archive, nodeid, views) if not found else []
        if found and (where := elsewhere(found[0].rootdir, found[0].started)):
            say(f"threepio: these runs are {where}", to_stderr=True)
    rows: list[answers.HistoryRow] = [
        {
            "run_id": entry.run_id,
            "started": entry.started,
            "status": entry.outcome.status,
            "attempts": entry.outcome.attempts,
            "duration_s": round(entry.outcome.duration_ms / 1000, 6),
            "commit": entry.commit,
            "dirty": entry.dirty,
        }
        for entry in found
    ]
    if as_json:
        answer: answers.History = {
            "schema_version": VIEW_VERSION,
            "nodeid": nodeid,
            "runs": rows,
            "without_outcome": [row for row, _ in known],
        }
        say_json(answer)
        return
    if not found:
        say(one_line(f"{nodeid}: no run has an outcome of it"))
        for one, words in known:
            say(one_line(f"  {words}  {clock_time(one['started'])}  run {one['run_id']}"))
        return
    bad = sum(entry.outcome.status in BAD for entry in found)
    say(one_line(f"{nodeid}: bad in {bad} of {len(found)} runs"))
    for row in rows:
        attempts = f", attempt {row['attempts']}" if row["attempts"] != 1 else ""
        changes = "+changes" if row["dirty"] else ""
        commit = f" at {row['commit'][:10]}{changes}" if row["commit"] else ""
        when = clock_time(row["started"])
        say(one_line(f"  {row['status']:5} {row['duration_s']:8.3f} s  {when}  run {row['run_id']}{commit}{attempts}"))


def _newest(archive: Archive, rootdir: str | None, number: int) -> Iterator[str]:
    """Return the newest runs of a rootdir, or of any, the latest first."""
    run_ids = archive.run_ids()
    return islice((one for one in run_ids if rootdir in (None, archive.beginning(one).start.get("rootdir"))), number)


def _rootdir_here(archive: Archive) -> str | None:
    """Return the rootdir of the newest run that was here, if one of the newest was."""
    here = Here(current())
    # There may be many nested ones, each somewhere else.
    starts = (start for start in map(archive.start_of, archive.run_ids()) if not start.get("parentRunId"))
    for start in islice(starts, SOUGHT):
        rootdir = start.get("rootdir")
        if isinstance(rootdir, str) and rootdir and here.is_near(rootdir):
            return rootdir
    return None


def _without_outcome(
    archive: Archive, nodeid: str, views: list[dict[str, Any]]
) -> list[tuple[answers.WithoutOutcomeIn, str]]:
    """Return what runs know of a test that has no outcome, also in words."""
    found: list[tuple[answers.WithoutOutcomeIn, str]] = []
    for view in views:
        one = without_outcome(archive, view, nodeid)
        if one is not None:
            found.append(({**one, "run_id": view["run_id"], "started": view["started"]}, words_of(one, view)))
    return found
