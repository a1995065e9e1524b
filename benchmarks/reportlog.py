"""pytest-reportlog's file: read as a stream, counted by pytest's rules, with the times at which tests ran.

This is the ground truth of every benchmark. It shares no code with threepiod.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import lzma
import math
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from benchmarks.outcomes import Counts, category_of, subtest_category_of

Outcome = tuple[str, str]
"""A node id and the category in which pytest counts it."""

_DECOMPRESSORS: Final[dict[str, Callable[[Path], object]]] = {".xz": lzma.LZMAFile, ".gz": gzip.GzipFile}

PHASES: Final = ("setup", "call", "teardown")


def open_log(path: Path) -> BinaryIO:
    """Open a report log for reading bytes; `.xz` and `.gz` are decompressed on the way."""
    if path.suffix not in _DECOMPRESSORS:
        return path.open("rb")
    # Both classes read lines in Python; the buffer does it in C.
    return io.BufferedReader(cast(io.RawIOBase, _DECOMPRESSORS[path.suffix](path)), 1 << 20)


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a report log one by one; no more than one is in memory."""
    with open_log(path) as file:
        for line in file:
            yield json.loads(line)


class Timeline:
    """When each phase of each test ran, by the wall clock of the tested process, in the order of the run.

    Kept in arrays: 216,078 tests have 628,803 phases. Only for a run in one process, where tests do not overlap.
    """

    def __init__(self) -> None:
        self._nodeids: list[str] = []
        self._first_phase = array("l")
        self._phases = bytearray()
        self._starts = array("d")
        self._stops = array("d")
        self._tests_of: dict[str, list[int]] = {}

    def add(self, report: dict[str, Any]) -> None:
        """Append a test report; the setup phase begins a new test."""
        if report["when"] == "setup":
            self._tests_of.setdefault(report["nodeid"], []).append(len(self._nodeids))
            self._nodeids.append(report["nodeid"])
            self._first_phase.append(len(self._phases))
        self._phases.append(PHASES.index(report["when"]))
        self._starts.append(report["start"])
        self._stops.append(report["stop"])

    @property
    def tests(self) -> int:
        """How many tests were started."""
        return len(self._nodeids)

    @property
    def begin(self) -> float:
        """When the first test's setup began, in seconds since the epoch."""
        return self._starts[0] if self._starts else math.inf

    @property
    def end(self) -> float:
        """When the last test's teardown ended, in seconds since the epoch."""
        return self._stops[-1] if self._stops else -math.inf

    def _last_phase(self, test: int) -> int:
        return (self._first_phase[test + 1] if test + 1 < self.tests else len(self._phases)) - 1

    def surely_running(self, asked: float, answered: float) -> str | None:
        """The node id of the test that ran during all of the time from `asked` to `answered`, if one did."""
        phase = bisect_right(self._starts, asked) - 1
        if phase < 0:
            return None
        test = bisect_right(self._first_phase, phase) - 1
        return self._nodeids[test] if answered <= self._stops[self._last_phase(test)] else None

    def may_be_running(self, nodeid: str, asked: float, answered: float, tolerance: float) -> bool:
        """Whether the test can have been in flight at some moment from `asked` to `answered`.

        pytest says when a setup began and a teardown ended, not when the test was taken up and put down. So a test
        counts as in flight from the end of the teardown before it to the begin of the setup after it.

        Args:
            tolerance: seconds by which the clock readings of two processes may differ.
        """
        return any(
            self._overlap(self._first_phase[test], self._last_phase(test), asked, answered, tolerance)
            for test in self._tests_of.get(nodeid, ())
        )

    def may_be_in_phase(self, nodeid: str, phase: str, asked: float, answered: float, tolerance: float) -> bool:
        """The same for one phase of a test: from the end of the phase before it to the begin of the one after it."""
        return any(
            PHASES[self._phases[i]] == phase and self._overlap(i, i, asked, answered, tolerance)
            for test in self._tests_of.get(nodeid, ())
            for i in range(self._first_phase[test], self._last_phase(test) + 1)
        )

    def _overlap(self, first: int, last: int, asked: float, answered: float, tolerance: float) -> bool:
        begin = self._stops[first - 1] if first else -math.inf
        end = self._starts[last + 1] if last + 1 < len(self._starts) else math.inf
        return begin - tolerance <= answered and asked <= end + tolerance


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportLog:
    """What a report log says about a run.

    Attributes:
        counts: by pytest's rules, collection reports included; deselected tests are not in a report log.
        outcomes: how often each test was counted in each category.
        collection_outcomes: the same for files and classes that failed or were skipped at collection.
        other_types: entries of types that are not counted here, by type.
        finished: the session's end is in the log.
    """

    counts: Counts
    outcomes: Counter[Outcome]
    collection_outcomes: Counter[Outcome]
    other_types: dict[str, int]
    timeline: Timeline
    finished: bool


def count_log(path: Path, limit: int | None = None) -> ReportLog:
    """Count a report log.

    Args:
        limit: count only the first `limit` tests (and everything that was said before the test after them).
    """
    outcomes: Counter[Outcome] = Counter()
    collection: Counter[Outcome] = Counter()
    counts: Counter[str] = Counter()
    others: Counter[str] = Counter()
    timeline = Timeline()
    finished = built_in_subtests = False
    for entry in read_log(path):
        kind = entry["$report_type"]
        if kind == "TestReport":
            if limit is not None and entry["when"] == "setup" and timeline.tests >= limit:
                break
            timeline.add(entry)
        if kind in ("TestReport", "CollectReport"):
            category = category_of(entry)
            if category is not None:
                counts[category] += 1
                (outcomes if kind == "TestReport" else collection)[entry["nodeid"], category] += 1
        elif kind == "SubTestReport":
            category = subtest_category_of(entry, built_in_subtests)
            counts[category] += 1
            outcomes[entry["nodeid"], category] += 1
        elif kind == "WarningMessage":
            counts["warnings"] += 1
        elif kind == "SessionFinish":
            finished = True
        elif kind == "SessionStart":
            built_in_subtests = int(entry["pytest_version"].partition(".")[0]) >= 9
        else:
            others[kind] += 1
    return ReportLog(
        counts=Counts.of(counts),
        outcomes=outcomes,
        collection_outcomes=collection,
        other_types=dict(others),
        timeline=timeline,
        finished=finished,
    )
