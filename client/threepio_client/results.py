"""Outcomes of the tests of a run, from the store and from the journal beyond it.

Not here: one test over many runs (`testhistory.py`), and where the time went (`testtimes.py`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from typing import Any, Final, NamedTuple

from threepio_client.archive import Archive, StoredRun
from threepio_client.badresults import IS_BAD, OF_SUBTEST
from threepio_client.events import BAD, DECIDING, EventType, Payload, Phase, Status, nodeids_in
from threepio_client.line import Event, Passed
from threepio_client.runstate import count_of

_DECIDING: Final = DECIDING | {Phase.COLLECT}
EXCUSED: Final = (str(Status.SKIP), str(Status.XFAIL))
"""Statuses of a test that neither passed nor is bad."""
COLUMNS: Final = "t.nodeid, r.seq, r.status, r.phase, r.started, r.duration, r.worker"


class Result(NamedTuple):
    """One testCase event.

    Attributes:
        nodeid: the test.
        seq: number of the event in its run.
        status: see `Status`.
        phase: what was being done.
        started: when the test began, seconds since the epoch; None where that is not known.
        duration_ms: setup and call together; with workers the phase alone.
        worker: xdist worker id, None without workers.
        details: error, reasons, output, attempt, subtest; empty where they were not asked for.
    """

    nodeid: str
    seq: int
    status: str
    phase: str
    started: float | None
    duration_ms: float
    worker: str | None
    details: Payload

    # A foreign writer may have put anything into the details.

    @property
    def error(self) -> dict[str, Any]:
        """The error, empty where there is none: docs/json.md, `failures`."""
        found = self.details.get("error")
        return found if isinstance(found, dict) else {}

    @property
    def output(self) -> list[tuple[str, str]]:
        """Captured output: title and text."""
        found = self.details.get("output")
        pairs = found if isinstance(found, list) else []
        return [(str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2]

    @property
    def reason(self) -> str:
        """Why it was skipped or is expected to fail, empty where nobody said."""
        return str(self.details.get("skipReason") or self.details.get("xfailReason") or "")

    @property
    def attempt(self) -> int:
        """1, or more after reruns."""
        found = self.details.get("attempt")
        return found if type(found) is int else 1

    @property
    def subtest(self) -> dict[str, Any] | None:
        """Which subtest it is about: docs/json.md, `failures`; None where it is about its test."""
        found = self.details.get("subtest")
        return (found if isinstance(found, dict) else {}) if "subtest" in self.details else None

    @property
    def subtest_text(self) -> str:
        """Message and parameters of the subtest, in a line; empty where it has neither."""
        subtest = self.subtest or {}
        given = subtest.get("parameters")
        values = [f"{name}={value}" for name, value in given.items()] if isinstance(given, dict) else []
        return " ".join([str(subtest.get("message") or ""), *values]).strip()

    @property
    def counted(self) -> str | None:
        """Name of the count that it belongs to, one of `COUNTS`; None where its status is not known here."""
        counted_as = self.details.get("countedAs")
        return count_of(self.status, counted_as if isinstance(counted_as, str) else "")


class Outcome(NamedTuple):
    """What became of one test in one run.

    Attributes:
        status: of its last attempt; ERROR where its teardown failed, FAIL where a subtest did.
        attempts: how often it was run.
        duration_ms: of its last attempt.
        seq: number of the event that decided.
        bad_seq: number of the event that tells why it is bad, 0 if it is not.
    """

    status: str
    attempts: int
    duration_ms: float
    seq: int
    bad_seq: int


class Details(StrEnum):
    """Of which results the store is asked for error, reasons and output: they are most of its bytes.

    That a result is of a subtest is always told, but for bad ones: these make their test bad in any case.
    """

    NONE = f"CASE WHEN NOT r.{IS_BAD} AND {OF_SUBTEST} THEN '{{\"subtest\":{{}}}}' END"
    BAD = f"CASE WHEN r.{IS_BAD} THEN r.details WHEN {OF_SUBTEST} THEN '{{\"subtest\":{{}}}}' END"
    ALL = "r.details"


def results(
    archive: Archive,
    run_id: str,
    nodeid: str | None = None,
    *,
    tests: Collection[int] | None = None,
    details: Details = Details.NONE,
    with_collection: bool = False,
) -> Iterator[Result]:
    """Yield the outcomes of a run in the order in which they happened: of one test, of some, or of all.

    Args:
        archive: where the run is.
        run_id: the run.
        nodeid: the test; None for all.
        tests: numbers of tests in the store, of a run that is over; None for all.
        details: which are wanted; in what lies beyond the store they are always there.
        with_collection: also what could not be collected, what is stored of it first.
    """
    stored = archive.stored(run_id)
    if with_collection:
        yield from _of_collection(archive, stored)
    if stored is not None:
        where, values = ("AND t.nodeid = ?", (nodeid,)) if nodeid is not None else ("", ())
        if tests is not None:
            where, values = "AND r.test IN (SELECT value FROM json_each(?))", (json.dumps([*tests]),)
        yield from _of_store(archive, stored, details, where, values)
    for event in archive.beyond(run_id, stored, nodeid or ""):
        if event.type == EventType.TEST_CASE:
            result = _of_test_case(event)
            if nodeid in (None, result.nodeid):
                yield result
        elif with_collection and event.type == EventType.COLLECTION_ERROR:
            yield _not_collected(event.seq, event.payload)


def stored_results(archive: Archive, stored: StoredRun | None, details: Details, up_to: int) -> Iterator[Result]:
    """Yield the outcomes that the store has of a run, collection errors first, up to the event of this number."""
    if stored is not None:
        yield from (result for result in _of_collection(archive, stored) if result.seq <= up_to)
        yield from _of_store(archive, stored, details, "AND r.seq <= ?", (up_to,))


def result_of(event: Event) -> Result | None:
    """Return what an event tells of a test, or of what could not be collected; None where it tells nothing."""
    if event.type == EventType.TEST_CASE:
        return _of_test_case(event)
    return _not_collected(event.seq, event.payload) if event.type == EventType.COLLECTION_ERROR else None


# The store may have more by now than it had when `stored` was read: that is read from the journal, and not here as well.


def _of_store(
    archive: Archive, stored: StoredRun, details: Details, where: str, values: tuple[Any, ...]
) -> Iterator[Result]:
    with archive.reading() as store:
        if store is not None:
            source = f"results r JOIN tests t ON t.id = r.test WHERE r.run = ? AND r.seq <= ? {where} ORDER BY r.seq"
            query = f"SELECT {COLUMNS}, {details} FROM {source}"
            yield from map(of_row, store.execute(query, (stored.key, stored.seq, *values)))


def _stored_events(archive: Archive, stored: StoredRun, event_type: EventType) -> Iterator[tuple[int, Payload]]:
    with archive.reading() as store:
        if store is not None:
            question = "SELECT seq, payload FROM events WHERE run = ? AND seq <= ? AND type = ? ORDER BY seq"
            for seq, payload in store.execute(question, (stored.key, stored.seq, event_type)):
                yield seq, json.loads(payload)


def _not_collected(seq: int, payload: Payload) -> Result:
    return Result(str(payload.get("nodeid")), seq, Status.ERROR, Phase.COLLECT, None, 0.0, None, payload)


def _of_collection(archive: Archive, stored: StoredRun | None) -> Iterator[Result]:
    """Yield what the store knows that could not be collected."""
    for seq, payload in _stored_events(archive, stored, EventType.COLLECTION_ERROR) if stored is not None else ():
        yield _not_collected(seq, payload)


def not_collected(archive: Archive, run_id: str) -> Iterator[Result]:
    """Yield what of a run could not be collected, with all details."""
    stored = archive.stored(run_id)
    yield from _of_collection(archive, stored)
    for event in archive.beyond(run_id, stored):
        if event.type == EventType.COLLECTION_ERROR:
            yield _not_collected(event.seq, event.payload)


def collected(archive: Archive, run_id: str) -> Iterator[str]:
    """Yield the node ids that a run collected and did not deselect."""
    stored = archive.stored(run_id)
    yield from stored_names(archive, stored)
    for event in archive.beyond(run_id, stored):
        yield from names_of(event)


def stored_names(archive: Archive, stored: StoredRun | None) -> Iterator[str]:
    """Yield those of which the store knows; `stored` is what it has of the run."""
    for _, payload in _stored_events(archive, stored, EventType.TESTS_COLLECTED) if stored is not None else ():
        yield from nodeids_in(payload)


def names_of(event: Event) -> list[str]:
    """Return the node ids that an event says were collected."""
    return nodeids_in(event.payload) if event.type == EventType.TESTS_COLLECTED else []


def outcomes(found: Iterable[Result], *, with_unfinished: bool = False) -> dict[str, Outcome]:
    """Return what became of each test: the last attempt counts, and a failing teardown or subtest makes it bad.

    Where several workers run the same test (`--dist=each`), each has attempts of its own, and one that is bad counts.

    Args:
        found: results of tests, those of each in their order.
        with_unfinished: also tests that have no outcome: of which only subtests, or attempts before, are known.
    """
    parts: dict[tuple[str, str | None], Outcome] = {}
    unfinished: set[tuple[str, str | None]] = set()
    for result in found:
        key = (result.nodeid, result.worker)
        before = parts.get(key)
        if result.status == Status.RERUN or (before is None and result.details and result.subtest is not None):
            unfinished.add(key)
        elif unfinished and result.subtest is None:
            unfinished.discard(key)
        attempts = before.attempts if before is not None else 1
        if result.status == Status.RERUN:
            parts[key] = Outcome(Status.RERUN, attempts + 1, result.duration_ms, result.seq, 0)
        elif before is not None and result.phase not in _DECIDING and result.status not in BAD:
            continue  # a teardown that was skipped, after the call has decided
        elif result.phase not in _DECIDING or (before is not None and before.bad_seq):
            # What follows a subtest that is bad may take long, and its test's own result has all of it.
            duration = before.duration_ms if before and result.phase not in _DECIDING else result.duration_ms
            bad = (before.bad_seq if before is not None else 0) or result.seq
            status = before.status if before is not None and before.bad_seq else result.status
            parts[key] = Outcome(status, attempts, duration, result.seq, bad)
        else:
            bad = result.seq if result.status in BAD else 0
            parts[key] = Outcome(result.status, attempts, result.duration_ms, result.seq, bad)
    known: dict[str, Outcome] = {}
    for (nodeid, _), part in parts.items():
        other = known.get(nodeid)
        if other is not None:
            decides = max(other, part, key=lambda one: (one.bad_seq > 0, one.seq))
            part = decides._replace(attempts=max(other.attempts, part.attempts))
        known[nodeid] = part
    if unfinished and not with_unfinished:
        over = {
            nodeid
            for (nodeid, worker), part in parts.items()
            if part.status in BAD or (nodeid, worker) not in unfinished
        }
        known = {nodeid: part for nodeid, part in known.items() if nodeid in over}
    return known


class TestNumbers(NamedTuple):
    """Tests of a run by their numbers in the store.

    Attributes:
        all: of every result, as a text: those of two runs are compared more quickly than sets of them are made.
        odd: of those that failed, broke, were repeated or have subtests. All others have the status and the duration of
            their last result.
        excused: of those that were skipped or failed as expected, as a text.
    """

    all: str
    odd: set[int]
    excused: str


def odd_tests(archive: Archive, run_ids: Collection[str]) -> set[int] | None:
    """Return the numbers of the tests that failed, broke, were repeated or have subtests in one of these runs.

    None if a run is not over, or if there is no store: then all of them are to be read.
    """
    found: set[int] = set()
    for run_id in run_ids:
        numbers = numbers_of(archive, run_id)
        if numbers is None:
            return None
        found |= numbers.odd
    return found


def numbers_of(archive: Archive, run_id: str) -> TestNumbers | None:
    """Return which tests a run has; None if it is not over, or if there is no store."""
    stored = archive.stored(run_id)
    with archive.reading() as store:
        if store is None or stored is None or not stored.final:
            return None
        # What is in nearly every row is asked first: this takes a third of the time.
        query = (
            "SELECT group_concat(test), group_concat(CASE WHEN (status <> 'PASS' OR phase IS NOT 'call') "
            "AND NOT (status NOT IN ('FAIL', 'ERROR', 'RERUN') "
            "AND ifnull(phase = 'call' OR phase = 'setup' OR phase = 'collect', 0)) "
            f"OR (details IS NOT NULL AND {OF_SUBTEST}) THEN test END), "
            f"group_concat(CASE WHEN status IN {EXCUSED} THEN test END) "
            "FROM results WHERE run = ?"
        )
        every, odd, excused = store.execute(query, (stored.key,)).fetchone()
        return TestNumbers(every or "", numbers_in(odd), excused or "")


def numbers_in(text: str | None) -> set[int]:
    """Return the numbers of a text of `TestNumbers`."""
    return set(map(int, text.split(","))) if text else set()


def of_row(row: tuple[Any, ...]) -> Result:
    """Return the event of a row: the columns of `COLUMNS`, and its details or None."""
    nodeid, seq, status, phase, started, duration, worker, text = row
    if type(started) is not float:
        started = started if isinstance(started, int) else None
    if type(duration) is not float:
        duration = float(duration) if isinstance(duration, int) else 0.0
    return Result(nodeid, seq, status, phase or "", started, duration, worker, json.loads(text) if text else {})


def _of_test_case(event: Event) -> Result:
    if type(event) is Passed:
        row = event.row
        return Result(row[0], row[1], Status.PASS, Phase.CALL, row[2], row[3], row[4], {})
    payload = event.payload
    duration, started, worker = payload.get("duration"), payload.get("started"), payload.get("worker")
    return Result(
        str(payload.get("nodeid")),
        event.seq,
        str(payload.get("status")),
        str(payload.get("phase", "")),
        started if isinstance(started, int | float) else None,
        float(duration) if isinstance(duration, int | float) else 0.0,
        None if worker is None else str(worker),
        payload,
    )
