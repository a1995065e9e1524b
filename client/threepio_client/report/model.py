"""What a report says of a run: read once from store and journal, for a finished, a running and a crashed run alike.

Every format is written from a `Report`, so that none can say something else than the others. Not here: how it looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from threepio_client.archive import Archive, latest_first
from threepio_client.causes import Cause, group
from threepio_client.events import Phase, Status
from threepio_client.results import Details, Result, collected, outcomes, results
from threepio_client.views import run_row

IN_FLIGHT: Final = "IN_FLIGHT"
"""Standing of a test that was begun and has no outcome: it runs, or was running when its process died."""
NEVER_RAN: Final = "NEVER_RAN"
"""Standing of a test that was collected and has not been begun."""

LOOKED_AT: Final = 500
"""Runs that are looked at for those of one rootdir: each costs a look into the store."""


class Case(NamedTuple):
    """One test of a run, or a file that was skipped or could not be collected as a whole.

    Attributes:
        nodeid: its node id.
        standing: the `Status` that it ended with, IN_FLIGHT or NEVER_RAN.
        attempts: how often it was run; 0 if it was not.
        started: when it began, seconds since the epoch; None where that is not known.
        duration_ms: of its last attempt, milliseconds.
        worker: xdist worker id, None without workers.
        results: its events in their order, with their details; empty where it passed at once and has no more to say.
    """

    nodeid: str
    standing: str
    attempts: int
    started: float | None
    duration_ms: float
    worker: str | None
    results: tuple[Result, ...]

    @property
    def file(self) -> str:
        """The file that it is in: its group."""
        return self.nodeid.partition("::")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A run, as it is told.

    Attributes:
        view: the status answer: docs/json.md, `status`.
        tests: in the order in which they came to their outcomes, then what is in flight, then what never ran.
        causes: what failed or broke, grouped; the most frequent first.
        history: rows of `threepio runs`: earlier runs of the same rootdir, the latest first; empty if not asked for.
    """

    view: dict[str, Any]
    tests: list[Case]
    causes: list[Cause]
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, list[Case]]:
        """The tests of each file, in the order of the first of them."""
        found: dict[str, list[Case]] = {}
        for test in self.tests:
            found.setdefault(test.file, []).append(test)
        return found


def load(archive: Archive, view: dict[str, Any], *, history: int = 0) -> Report:
    """Return the report of a run.

    Args:
        archive: where the run is.
        view: its status answer, by the daemon or by `Archive.view`.
        history: how many earlier runs of the same rootdir are wanted.

    Raises:
        OSError: its journal cannot be read.
    """
    run_id = view["run_id"]
    bad = archive.bad_results(run_id)
    found = [*_not_collected(bad), *results(archive, run_id, details=Details.ALL)]
    return Report(
        view=view,
        tests=_tests(found, collected(archive, run_id), view["in_flight"]),
        causes=group(bad),
        history=earlier(archive, view, history),
    )


def earlier(archive: Archive, view: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """Return the rows of up to `limit` runs of the same rootdir that began before this one, the latest first.

    Runs that were started inside a test, and those that run again what another left, are no measure and not among them.

    Raises:
        OSError: a journal cannot be read.
    """
    if not limit:
        return []
    found: list[dict[str, Any]] = []
    started = {run_id: at for run_id, at in archive.started().items() if at < view["started"]}
    for run_id in latest_first(started)[:LOOKED_AT]:
        start = archive.beginning(run_id).start
        if start.get("rootdir") != view["rootdir"] or start.get("parentRunId") or start.get("rerunOf"):
            continue
        found.append(run_row(archive.view(run_id)))
        if len(found) == limit:
            break
    return found


def _not_collected(bad: list[dict[str, Any]]) -> list[Result]:
    return [
        Result(item["nodeid"], item["seq"], Status.ERROR, Phase.COLLECT, None, 0.0, None, {"error": item["error"]})
        for item in bad
        if item["phase"] == Phase.COLLECT
    ]


def _tests(found: list[Result], named: Iterable[str], in_flight: list[dict[str, Any]]) -> list[Case]:
    several: dict[str, list[Result]] = {}
    for result in found:
        several.setdefault(result.nodeid, []).append(result)
    decided = outcomes(found)
    tests = []
    for nodeid, listed in several.items():
        outcome = decided[nodeid]
        last = listed[-1]
        started = next((result.started for result in reversed(listed) if result.started is not None), None)
        said = () if len(listed) == 1 and last.status == Status.PASS else tuple(listed)
        tests.append(Case(nodeid, outcome.status, outcome.attempts, started, outcome.duration_ms, last.worker, said))
    begun = {slot["nodeid"]: slot for slot in in_flight if slot["nodeid"] and slot["nodeid"] not in several}
    for nodeid, slot in begun.items():
        tests.append(Case(nodeid, IN_FLIGHT, 1, None, slot["elapsed_s"] * 1000, slot["worker"], ()))
    tests += [
        Case(nodeid, NEVER_RAN, 0, None, 0.0, None, ())
        for nodeid in dict.fromkeys(named)
        if nodeid not in several and nodeid not in begun
    ]
    return tests
