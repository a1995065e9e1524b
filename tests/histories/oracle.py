"""What is so of the runs of a history, by what pytest told `recorder.py`. No code of the project has a part in this."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

BAD: Final = frozenset({"FAIL", "ERROR"})
EXCUSED: Final = frozenset({"SKIP", "XFAIL"})


@dataclass(kw_only=True)
class Outcome:
    """What became of a test.

    Attributes:
        status: of its last attempt; empty where none is known.
        attempts: how many it took.
        is_finished: whether the test itself has an outcome, and not a part of it only.
        bad: status and phase of each result that is bad.
        message: of the first bad one.
    """

    status: str = ""
    attempts: int = 1
    is_finished: bool = False
    bad: list[tuple[str, str]] = field(default_factory=list)
    message: str = ""

    @property
    def final(self) -> str:
        """What is bad in any part is bad."""
        return self.bad[0][0] if self.bad else self.status


@dataclass(kw_only=True)
class Run:
    """One run, as it was.

    Attributes:
        run_id: its id.
        arguments: pytest's.
        there: node ids of all tests that the project had; None where its collection died.
        again: id of the run that it ran again; empty: none.
        only_failed: whether it was to run only what failed there.
        commit: that was checked out; empty: none.
        is_clean: whether all files were as committed.
        collected: node ids; None where the collection was not over.
        collectors: node ids and outcomes of what could not be collected or skipped itself.
        uncollected: what could not be collected, as often as it was told: each worker tells it.
        in_flight: what had begun and not ended.
        exit_code: None where the process died.
    """

    run_id: str
    there: frozenset[str] | None = None
    again: str = ""
    only_failed: bool = False
    commit: str = ""
    is_clean: bool = False
    arguments: list[str] = field(default_factory=list)
    collected: list[str] | None = None
    collectors: dict[str, str] = field(default_factory=dict)
    uncollected: list[str] = field(default_factory=list)
    in_flight: list[str] = field(default_factory=list)
    exit_code: int | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def read(self, recording: Path) -> bool:
        """Take what was recorded of the run; return whether it began at all."""
        lines = recording.read_text().splitlines() if recording.exists() else []
        for line in lines:
            self._take(json.loads(line))
        return bool(lines)

    def _take(self, told: dict[str, Any]) -> None:
        match told["what"]:
            case "start":
                self.arguments = told["arguments"]
            case "collector":
                self.collectors[told["nodeid"]] = told["outcome"]
                self.uncollected += [told["nodeid"]] if told["outcome"] == "failed" else []
            case "collected":
                self.collected = self.collected or told["nodeids"]
            case "begun":
                self.in_flight.append(told["nodeid"])
            case "ended":
                self.in_flight.remove(told["nodeid"])
            case "finish":
                self.exit_code = told["code"]
            case "report":
                self._take_report(told)

    def _take_report(self, told: dict[str, Any]) -> None:
        outcome = self.outcomes.setdefault(told["nodeid"], Outcome())
        if told["outcome"] == "rerun":
            self.outcomes[told["nodeid"]] = Outcome(attempts=outcome.attempts + 1)
            return
        status = _status_of(told)
        if status in BAD:
            outcome.bad.append((status, told["when"]))
            outcome.message = outcome.message or told["message"]
        if status and not told["is_subtest"] and told["when"] != "teardown":
            outcome.status, outcome.is_finished = status, True

    @cached_property
    def known(self) -> dict[str, Outcome]:
        """Outcomes of the tests that have one."""
        return {nodeid: outcome for nodeid, outcome in self.outcomes.items() if outcome.final}

    @cached_property
    def unfinished(self) -> list[str]:
        """What was collected to be run and has no outcome."""
        return [] if self.only_collects else [name for name in self.collected or () if not self.is_finished(name)]

    def is_finished(self, nodeid: str) -> bool:
        return nodeid in self.known and self.known[nodeid].is_finished

    @property
    def finished(self) -> int:
        return sum(outcome.is_finished for outcome in self.known.values())

    @property
    def only_collects(self) -> bool:
        return "--collect-only" in self.arguments

    @property
    def with_workers(self) -> bool:
        return "-n" in self.arguments

    @property
    def failed(self) -> set[str]:
        return {*self.uncollected, *(nodeid for nodeid, outcome in self.known.items() if outcome.bad)}

    @property
    def suspects(self) -> list[str]:
        """What was in flight when the process died or was interrupted."""
        return self.in_flight if self.exit_code in (None, 2) else []

    @property
    def states(self) -> set[str]:
        """The states of which it is in one."""
        if self.exit_code is None:
            return {"crashed"}
        if self.exit_code == 0:
            return {"incomplete" if self.unfinished else "passed"}
        is_cut = bool(self.unfinished) or self.collected is None
        if self.exit_code == 1 and is_cut:  # a worker of pytest-xdist breaks by itself of some exceptions
            return {"interrupted", "failed"} if self.with_workers else {"interrupted"}
        if (
            self.exit_code == 2 and self.uncollected and not self.outcomes
        ):  # else --continue-on-collection-errors, and Ctrl-C
            return {"failed", "interrupted"} if self.with_workers else {"failed"}
        return {"interrupted"} if self.exit_code == 2 else {"failed"}

    def standing(self, nodeid: str) -> str:
        """Return whether a test, or what tests are collected from, is `bad` or `fine`; empty: without an outcome."""
        if nodeid in self.collectors:
            return "bad" if self.collectors[nodeid] == "failed" else "fine"
        return ("bad" if self.known[nodeid].bad else "fine") if nodeid in self.known else ""

    def is_excused(self, nodeid: str) -> bool:
        """Return whether it was skipped, or failed as expected."""
        outcome = self.known.get(nodeid)
        return self.collectors.get(nodeid) == "skipped" or (outcome is not None and outcome.status in EXCUSED)

    def is_below_uncollected(self, nodeid: str) -> bool:
        return any(is_below(nodeid, collector) for collector in self.uncollected)


def _status_of(told: dict[str, Any]) -> str:
    """Return the status that a report means; empty where it means none."""
    outcome, when = told["outcome"], told["when"]
    if outcome == "failed":
        return "ERROR" if when in ("setup", "teardown") and not told["is_subtest"] else "FAIL"
    if when == "teardown":
        return ""
    if outcome == "skipped":
        return "XFAIL" if told["is_expected"] else "SKIP"
    return "" if when != "call" else "XPASS" if told["is_expected"] else "PASS"


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def is_below(nodeid: str, place: str) -> bool:
    """Return whether a test is of a file, or of a directory; of a test itself, too."""
    return nodeid == place or file_of(nodeid) == place or nodeid.startswith(f"{place}/") or place in ("", ".")


def latest(runs: Sequence[Run]) -> Run:
    """Return the run that is meant where none is named."""
    return next((run for run in reversed(runs) if not run.only_collects), runs[-1])


def run_before(runs: Sequence[Run], later: Run) -> Run | None:
    """Return the run that `diff` compares another one with where none is named."""
    if later.again:
        return next(run for run in runs if run.run_id == later.again)
    earlier = [run for run in reversed(runs[: runs.index(later)]) if not run.again]
    ran = [run for run in earlier if run.finished]
    enough = max(len(later.collected or ()), later.finished)
    measures = (run for run in ran if run.arguments == later.arguments or run.finished * 2 >= enough)
    return next(iter([*measures, *ran, *(run for run in earlier if not run.only_collects)]), None)


def kinds_of(nodeid: str, before: Run, after: Run) -> set[str]:
    """Return as which of the kinds of `diff` a test may count, of two runs; empty: as none of them."""
    was, now = before.standing(nodeid), after.standing(nodeid)
    was_there = bool(was) or nodeid in (before.collected or ())
    if now == "bad":
        if was == "bad":
            return _by_reason(nodeid, before, after)
        is_known = was_there or any(is_below(name, nodeid) for name in (*before.known, *(before.collected or ())))
        return {"newly_failing" if is_known else "new_failing"}
    if nodeid in after.unfinished:
        return {"never_ran"}
    if not now:
        return _kinds_of_lost(nodeid, before, after)
    if was and after.is_excused(nodeid):
        return {"excused"} if was == "bad" or not before.is_excused(nodeid) else {""}
    if was:
        return {"fixed"} if was == "bad" else {""}
    return {"ran_now" if was_there else "new"}


def _by_reason(nodeid: str, before: Run, after: Run) -> set[str]:
    messages = [run.known[nodeid].message if nodeid in run.known else "" for run in (before, after)]
    # Of another message the reason may be the same: places and addresses in it are none.
    return {"still_failing"} if messages[0] == messages[1] != "" else {"still_failing", "other_reason"}


def _kinds_of_lost(nodeid: str, before: Run, after: Run) -> set[str]:
    """Return the kinds of what has no outcome in the later run, and was not to be run there."""
    if "::" not in nodeid:
        is_there = any(is_below(name, nodeid) for name in after.collected or ())
        return (
            {"fixed"}
            if is_there and before.standing(nodeid) == "bad"
            else {"gone", "left_out", "never_ran", "fixed", ""}
        )
    left_out = "left_out" if before.standing(nodeid) else ""
    if after.only_collects:
        return {left_out}
    if after.collected is None or after.is_below_uncollected(nodeid):
        return {"never_ran"}
    if after.there is None:
        return {"never_ran", "gone", left_out}
    if nodeid in after.there:
        return {left_out}
    return {"gone"} if before.arguments == after.arguments and not after.again else {"gone", left_out}


def again_of(run: Run, *, only_failed: bool) -> set[str]:
    """Return what a rerun of a run is to run: tests, and places whose tests are all meant."""
    return run.failed if only_failed else run.failed | {*run.unfinished, *run.suspects}


def tests_in(wanted: Iterable[str], there: Iterable[str]) -> set[str]:
    """Return the tests that are wanted, or in a place that is."""
    places = [name for name in wanted if "::" not in name]
    return {name for name in there if name in {*wanted} or any(is_below(name, place) for place in places)}
