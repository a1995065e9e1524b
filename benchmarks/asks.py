"""What the poller's answers prove: how fast they came, that no count went back, that the test in flight was right."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.journal import Journal
from benchmarks.reportlog import Timeline

CLOCK_TOLERANCE_S: Final = 0.001
"""How far the readings of one wall clock in two processes may lie apart."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asks:
    """What the answers to the questions of one run prove.

    Times in milliseconds. The percentiles are over the questions asked at an even pace; at the end of a run the poller
    asks as often as it can, which would drown them.

    Attributes:
        asked: answers at the even pace.
        asked_closing: answers after that.
        daemon_p99, daemon_max: time inside the daemon.
        trip_p99, trip_max: time from question to answer as the asking process sees it.
        went_back: counts that were smaller than in an earlier answer.
        named: answers that named a test in flight while tests ran.
        named_wrong: of these, those that named a test that was not in flight at any moment from question to answer.
        phase_wrong: the same for the phase of the test.
        not_named: answers that named no test though one was in flight from question to answer.
        stored_after_least, stored_after_most: seconds from runComplete to all stored: the last moment at which not all
            was seen stored, and the first at which all was; None where it was not seen.
        sample: one answer from the middle of the run.
    """

    asked: int
    asked_closing: int
    daemon_p99: float
    daemon_max: float
    trip_p99: float
    trip_max: float
    went_back: int
    named: int | None
    named_wrong: int | None
    phase_wrong: int | None
    not_named: int | None
    stored_after_least: float | None
    stored_after_most: float | None
    sample: dict[str, Any] | None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def read_answers(path: Path) -> Iterator[dict[str, Any]]:
    """The poller's rows one by one; a last one that was cut off is left out."""
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def judge_asks(path: Path, journal: Journal, timeline: Timeline | None) -> Asks:
    """Judge the answers of a run.

    Args:
        path: the poller's file.
        timeline: when the tests ran by pytest's own reports; None where the run has no such times (a replay), and then
            nothing is said about the tests in flight.
    """
    daemon: list[float] = []
    trip: list[float] = []
    closing = went_back = 0
    before: dict[str, int] = {}
    flight = _Flight(timeline) if timeline is not None else None
    least: float | None = None
    most: float | None = None
    samples: list[dict[str, Any]] = []
    for row in read_answers(path):
        status = row["status"]
        if row["pace"] == "even":
            daemon.append(row["daemon_ms"])
            trip.append((row["answered"] - row["asked"]) * 1000)
            if status["in_flight"]:
                samples.append(status)
        else:
            closing += 1
        numbers = _numbers(status)
        went_back += sum(numbers.get(name, -1) < number for name, number in before.items())
        before = before | numbers
        if flight is not None:
            flight.judge(row)
        if journal.complete_at is not None and most is None:
            if status["events"]["stored"] >= journal.last_seq:
                most = row["answered"] - journal.complete_at
            else:
                least = row["asked"] - journal.complete_at
    return Asks(
        asked=len(daemon),
        asked_closing=closing,
        daemon_p99=percentile(daemon, 99),
        daemon_max=max(daemon, default=math.nan),
        trip_p99=percentile(trip, 99),
        trip_max=max(trip, default=math.nan),
        went_back=went_back,
        named=flight.named if flight is not None else None,
        named_wrong=flight.named_wrong if flight is not None else None,
        phase_wrong=flight.phase_wrong if flight is not None else None,
        not_named=flight.not_named if flight is not None else None,
        stored_after_least=max(least, 0.0) if least is not None and most is not None else None,
        stored_after_most=most,
        sample=samples[len(samples) // 2] if samples else None,
    )


def _numbers(status: dict[str, Any]) -> dict[str, int]:
    """The numbers of an answer that may only grow."""
    numbers = {"finished": status["finished"], "collected": status["collected"]}
    numbers |= {f"counts.{name}": number for name, number in status["counts"].items()}
    numbers |= {f"events.{name}": status["events"][name] for name in ("journaled", "received", "stored")}
    return {name: number for name, number in numbers.items() if number is not None}


class _Flight:
    """Counts right and wrong answers about the test in flight."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.named = self.named_wrong = self.phase_wrong = self.not_named = 0

    def judge(self, row: dict[str, Any]) -> None:
        asked, answered = row["asked"], row["answered"]
        if asked < self._timeline.begin or answered > self._timeline.end:
            return  # while collecting and at the end, a file or the session's phase is named
        sure = self._timeline.surely_running(asked, answered)
        slots = row["status"]["in_flight"]
        self.not_named += sure is not None and not slots
        for slot in slots:
            span = (asked, answered, CLOCK_TOLERANCE_S)
            self.named += 1
            self.named_wrong += not self._timeline.may_be_running(slot["nodeid"], *span)
            self.phase_wrong += not self._timeline.may_be_in_phase(slot["nodeid"], slot["phase"], *span)
