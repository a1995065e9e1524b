"""`threepio history`: what became of one test in earlier runs."""

from __future__ import annotations

from typing import Annotated

import typer

from threepio_client import answers
from threepio_client.archive import Archive
from threepio_client.cli.options import AsJson, NodeId
from threepio_client.cli.output import one_line, say, say_json
from threepio_client.cli.source import open_source
from threepio_client.cli.text import clock_time
from threepio_client.cli.without_outcome import without_outcome, words_of
from threepio_client.errors import NoSuchTest
from threepio_client.events import BAD
from threepio_client.results import history_of
from threepio_client.views import VIEW_VERSION

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

    Of a test without any outcome it says what became of it in the newest five runs. Exit code 4 if these do not know it
    either.
    """
    with open_source() as source:
        found = history_of(source.archive, nodeid, limit)
        known = _without_outcome(source.archive, nodeid, limit) if not found else []
    if not found and not known:
        raise NoSuchTest(f"no run has an outcome of {nodeid}: give its whole node id, as threepio failures shows it")
    rows: list[answers.HistoryRow] = [
        {
            "run_id": entry.run_id,
            "started": entry.started,
            "status": entry.outcome.status,
            "attempts": entry.outcome.attempts,
            "duration_s": round(entry.outcome.duration_ms / 1000, 6),
            "commit": entry.commit,
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
        commit = f" at {row['commit'][:10]}" if row["commit"] else ""
        when = clock_time(row["started"])
        say(one_line(f"  {row['status']:5} {row['duration_s']:8.3f} s  {when}  run {row['run_id']}{commit}{attempts}"))


def _without_outcome(archive: Archive, nodeid: str, limit: int) -> list[tuple[answers.WithoutOutcomeIn, str]]:
    """Return what the newest runs know of a test that has no outcome, also in words; the latest first."""
    found: list[tuple[answers.WithoutOutcomeIn, str]] = []
    for run_id in archive.run_ids()[: min(limit, LOOKED_AT)]:
        view = archive.view(run_id)
        one = without_outcome(archive, view, nodeid)
        if one is not None:
            found.append(({**one, "run_id": run_id, "started": view["started"]}, words_of(one, view)))
    return found
