"""What a report says of a run: read once from store and journal, for a finished, a running and a crashed run alike.

Every format is written from a `Report`, so that none can say something else than the others. Not here: how it looks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from threepio_client.archive import Archive, latest_first
from threepio_client.badresults import BadResults, bad_result
from threepio_client.causes import Cause, group
from threepio_client.events import BAD, Status, split_nodeid
from threepio_client.line import Event
from threepio_client.results import Details, Result, names_of, outcomes, result_of, stored_names, stored_results
from threepio_client.runstate import LIVE_STATES, State
from threepio_client.views import run_row

IN_FLIGHT: Final = "IN_FLIGHT"
"""Standing of a test that was begun and has no outcome: it runs, or was running when its process died."""
NEVER_RAN: Final = "NEVER_RAN"
"""Standing of a test that was collected and has no outcome, and is not in flight."""
LOOKED_AT: Final = 500
"""Runs that are looked at for those of one rootdir: each costs a look into the store."""


class Case(NamedTuple):
    """One test of a run, or a file that was skipped, could not be collected or is being imported, as a whole.

    Attributes:
        nodeid: its node id.
        standing: the `Status` that it ended with (never RERUN), IN_FLIGHT or NEVER_RAN.
        attempts: how often it was run; 0 if it was not.
        started: when it began, seconds since the epoch; None where that is not known.
        duration_ms: of its last attempt, milliseconds; of what is in flight: so far, in its phase.
        worker: xdist worker id, None without workers.
        results: its events in their order, with their details; empty where it passed at once and has no more to say.
            What has no outcome may have results: attempts before it, subtests.
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

    @property
    def names(self) -> tuple[list[str], str]:
        """Names of its parents, file and classes (none of what is a file itself), and its own."""
        return split_nodeid(self.nodeid)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A run, as it is told.

    Attributes:
        view: the status answer: docs/json.md, `status`.
        start: payload of runStart: host, Python, runner and its plugins; empty before it.
        tests: in the order in which they came to their outcomes, then what is in flight, then what never ran.
        causes: what failed or broke, grouped; the most frequent first.
        history: rows of `threepio runs`: earlier runs of the same rootdir, the latest first; empty if not asked for.
    """

    view: dict[str, Any]
    start: dict[str, Any]
    tests: list[Case]
    causes: list[Cause]
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        """Whether the run goes on: what never ran may still run."""
        return self.view["state"] in LIVE_STATES

    @property
    def files(self) -> dict[str, list[Case]]:
        """The tests of each file, in the order of the first of them."""
        found: dict[str, list[Case]] = {}
        for test in self.tests:
            found.setdefault(test.file, []).append(test)
        return found

    def why_no_outcome(self, standing: str) -> str:
        """Return why a test is IN_FLIGHT or NEVER_RAN, as one sentence without a full stop."""
        if self.is_live:
            verb = "running" if standing == IN_FLIGHT else "still to run"
            return f"it was {verb} when this report was written"
        if self.view["verdict"]["kind"] == "collect-only":
            return "it was collected and was not to run"
        verb = "was running when the run ended" if standing == IN_FLIGHT else "never ran"
        return f"it {verb}: the run is {self.view['state']}"

    @property
    def is_crash(self) -> bool:
        """Whether the process died, so that what was in flight is suspect."""
        return bool(self.view["state"] == State.CRASHED)


def read(archive: Archive, run_id: str, *, history: int = 0) -> Report:
    """Return the report of a run as it is now: its counts are exactly those of the tests, also while it runs.

    Args:
        archive: where the run is.
        run_id: the run.
        history: how many earlier runs of the same rootdir are wanted at most.

    Raises:
        OSError: its journal cannot be read.
    """
    found = _Beyond()
    report = found.report(archive, archive.view(run_id, also=found.take))
    return replace(report, history=earlier(archive, report.view, history))


def earlier(archive: Archive, view: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """Return the rows of up to `limit` runs of the same rootdir that began before this one, the latest first.

    Runs that were started inside a test, and those that run again what another left, are no measure and not among them.

    Raises:
        OSError: a journal cannot be read.
    """
    if not limit:
        return []
    started = {run_id: at for run_id, at in archive.started().items() if at < view["started"]}
    alike = archive.of_rootdir(view["rootdir"], latest_first(started)[:LOOKED_AT])
    measures = (run_id for run_id, state in alike if not (state.start.get("parentRunId") or state.start.get("rerunOf")))
    return [run_row(archive.view(run_id)) for run_id in islice(measures, limit)]


class _Beyond:
    """What lies beyond the store of a run, which is asked last: so that none is in neither, and none in both."""

    def __init__(self) -> None:
        self._first = 0
        self._results: list[Result] = []
        self._named: list[str] = []

    def take(self, event: Event) -> None:
        """Take in the next event."""
        self._first = self._first or event.seq
        result = result_of(event)
        if result is not None:
            self._results.append(_slim(result))
        else:
            self._named += names_of(event)

    def report(self, archive: Archive, view: dict[str, Any]) -> Report:
        """Return the report, with what the store has of what came before."""
        run_id = view["run_id"]
        stored = archive.stored(run_id)
        up_to = self._first - 1 if self._first else view["events"]["journaled"]
        several = by_test(map(_slim, stored_results(archive, stored, Details.ALL, up_to)), self._results)
        named = dict.fromkeys([*stored_names(archive, stored), *self._named])
        tests = tests_of(several, named, view["in_flight"])
        bad = BadResults()
        for result in chain.from_iterable(test.results for test in tests):
            bad.take_back(result.seq, result.nodeid, result.details.get("takenBack"))
            if result.status in BAD:
                bad.add(_failure(result))
        causes = group(bad.in_order())
        return Report(view=view, start=archive.beginning(run_id).start, tests=tests, causes=causes)


def _failure(result: Result) -> dict[str, Any]:
    return bad_result(
        result.nodeid, result.seq, result.status, result.phase, result.duration_ms, result.worker, result.details
    )


def by_test(*found: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the results of each test, without those whose status is not known here: no count has them either."""
    several: dict[str, list[Result]] = {}
    for result in chain.from_iterable(found):
        if (result.status == Status.PASS and not result.details) or result.counted is not None:  # as most are
            several.setdefault(result.nodeid, []).append(result)
    return several


def _slim(result: Result) -> Result:
    """Return a result without what need not be kept: of most results there is nothing to be said."""
    if result.status != Status.PASS or not result.details or "subtest" in result.details:
        return result
    kept = ("attempt", "takenBack", "countedAs", "output")
    return result._replace(details={name: result.details[name] for name in kept if name in result.details})


def tests_of(several: dict[str, list[Result]], named: dict[str, None], in_flight: list[dict[str, Any]]) -> list[Case]:
    """Return the tests that have these results, that were collected, or that are in flight: `Report.tests`.

    Args:
        several: the results of each test, as `by_test` returns them.
        named: node ids that were collected.
        in_flight: as in the status answer.
    """
    begun = _begun(in_flight, several.keys() | named.keys())
    over, at_work, left = [], [], []
    for nodeid, listed in several.items():
        last = listed[-1]
        if len(listed) == 1 and last.status == Status.PASS and not last.details:  # as most are
            over.append(Case(nodeid, last.status, 1, last.started, last.duration_ms, last.worker, ()))
            continue
        outcome = outcomes(listed, with_unfinished=True)[nodeid]
        started = next((result.started for result in reversed(listed) if result.started is not None), None)
        case = Case(nodeid, outcome.status, outcome.attempts, started, outcome.duration_ms, last.worker, tuple(listed))
        slot = begun.get(nodeid)
        if _has_outcome(listed):
            over.append(case)
        elif slot is not None:
            at_work.append(case._replace(standing=IN_FLIGHT, duration_ms=slot["elapsed_s"] * 1000))
        else:
            begun_again = last.status == Status.RERUN  # or so it was said, and nobody saw that it was
            left.append(case._replace(standing=NEVER_RAN, attempts=case.attempts - begun_again))
    for nodeid, slot in begun.items():
        if nodeid not in several:
            at_work.append(Case(nodeid, IN_FLIGHT, 1, None, slot["elapsed_s"] * 1000, slot["worker"], ()))
    left += [
        Case(nodeid, NEVER_RAN, 0, None, 0.0, None, ())
        for nodeid in named
        if nodeid not in several and nodeid not in begun
    ]
    return [*over, *at_work, *left]


def _begun(in_flight: list[dict[str, Any]], known: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return what is in flight by its node id; the now page cuts a long one, so it may stand for the only one like it."""
    found = {}
    for slot in in_flight:
        nodeid = slot["nodeid"]
        if nodeid and nodeid not in known and "::" in nodeid:
            alike = [name for name in known if name.startswith(nodeid)]
            if len(alike) > 1:
                continue  # "not known" beats a wrong name; the status answer tells as much as is known
            nodeid = alike[0] if alike else nodeid
        if nodeid:
            found[nodeid] = slot
    return found


def _has_outcome(listed: Iterable[Result]) -> bool:
    """Return whether the results of a test tell its outcome: those of subtests, and of attempts before, do not."""
    decided = False
    for result in listed:
        if result.status == Status.RERUN:
            decided = False
        elif result.subtest is None:
            decided = True
    return decided
