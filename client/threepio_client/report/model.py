"""What a report says of a run: read once from store and journal, for a finished, a running and a crashed run alike.

Every format is written from a `Report`, so that none can say something else than the others. Not here: how it looks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple

from threepio_client.archive import Archive
from threepio_client.causes import Cause, group
from threepio_client.events import Phase, Status, split_nodeid
from threepio_client.results import Details, Result, collected, outcomes, results
from threepio_client.runstate import LIVE_STATES, State

IN_FLIGHT: Final = "IN_FLIGHT"
"""Standing of a test that was begun and has no outcome: it runs, or was running when its process died."""
NEVER_RAN: Final = "NEVER_RAN"
"""Standing of a test that was collected and has no outcome, and is not in flight."""


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
    """

    view: dict[str, Any]
    start: dict[str, Any]
    tests: list[Case]
    causes: list[Cause]

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


def load(archive: Archive, view: dict[str, Any]) -> Report:
    """Return the report of a run, as of the moment of its status answer.

    Args:
        archive: where the run is.
        view: its status answer, by the daemon or by `Archive.view`; by the latter its counts are exactly those of the
            tests, of a running run too.

    Raises:
        OSError: its journal cannot be read.
    """
    run_id, until = view["run_id"], view["events"]["journaled"]
    bad = [item for item in archive.bad_results(run_id) if item["seq"] <= until]
    told = (result for result in results(archive, run_id, details=Details.ALL) if result.seq <= until)
    named = dict.fromkeys(collected(archive, run_id))
    tests = _tests(_by_test(_not_collected(bad), told), named, view["in_flight"])
    return Report(view=view, start=archive.beginning(run_id).start, tests=tests, causes=group(bad))


def _not_collected(bad: list[dict[str, Any]]) -> Iterator[Result]:
    for item in bad:
        if item["phase"] == Phase.COLLECT:
            details = {"error": item["error"]}
            yield Result(item["nodeid"], item["seq"], Status.ERROR, Phase.COLLECT, None, 0.0, None, details)


def _by_test(*found: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the results of each test, without those whose status is not known here: no count has them either."""
    several: dict[str, list[Result]] = {}
    for result in chain.from_iterable(found):
        if result.status == Status.PASS and "subtest" not in result.details:
            # Of most results there is nothing to be kept beside their columns.
            kept = result._replace(details=_kept(result)) if result.details else result
        elif result.counted is not None:
            kept = result
        else:
            continue
        several.setdefault(result.nodeid, []).append(kept)
    return several


def _kept(result: Result) -> dict[str, Any]:
    """Return what is to be kept of the details of a test that passed."""
    return {
        name: result.details[name] for name in ("attempt", "takenBack", "countedAs", "output") if name in result.details
    }


def _tests(several: dict[str, list[Result]], named: dict[str, None], in_flight: list[dict[str, Any]]) -> list[Case]:
    begun = _begun(in_flight, several.keys() | named.keys())
    over, at_work, left = [], [], []
    for nodeid, listed in several.items():
        last = listed[-1]
        if len(listed) == 1 and last.status == Status.PASS and not last.details:  # as most are
            over.append(Case(nodeid, last.status, 1, last.started, last.duration_ms, last.worker, ()))
            continue
        outcome = outcomes(listed)[nodeid]
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
