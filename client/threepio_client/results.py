"""Outcomes of tests: all of a run's, and one test's over many runs. From the store, and from the journal beyond it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final, NamedTuple

from threepio_client.archive import Archive
from threepio_client.events import EventType, Payload, Phase, Status

BAD: Final = frozenset({Status.FAIL, Status.ERROR})
_DECIDING: Final = frozenset({Phase.SETUP, Phase.CALL, Phase.COLLECT})
_COLUMNS: Final = "t.nodeid, r.seq, r.status, r.phase, r.started, r.duration, r.worker"


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
    """Of which results the store is asked for error, reasons and output: they are most of its bytes."""

    NONE = "NULL"
    BAD = "CASE WHEN r.status IN ('FAIL', 'ERROR') THEN r.details END"
    ALL = "r.details"


def results(
    archive: Archive, run_id: str, nodeid: str | None = None, *, details: Details = Details.NONE
) -> Iterator[Result]:
    """Yield the outcomes of a run in the order in which they happened: of one test, or of all.

    Args:
        archive: where the run is.
        run_id: the run.
        nodeid: the test; None for all.
        details: which are wanted; in what lies beyond the store they are always there.
    """
    stored = archive.stored(run_id)
    columns = f"{_COLUMNS}, {details}"
    if stored is not None:
        with archive.reading() as store:
            if store is not None:
                where, values = ("AND t.nodeid = ?", (nodeid,)) if nodeid is not None else ("", ())
                source = f"results r JOIN tests t ON t.id = r.test WHERE r.run = ? {where} ORDER BY r.seq"
                query = f"SELECT {columns} FROM {source}"
                yield from map(_of_row, store.execute(query, (stored.key, *values)))
    for event in archive.beyond(run_id, stored):
        if event.type == EventType.TEST_CASE and nodeid in (None, event.payload.get("nodeid")):
            yield _of_payload(event.seq, event.payload)


def collected(archive: Archive, run_id: str) -> Iterator[str]:
    """Yield the node ids that a run collected and did not deselect."""
    stored = archive.stored(run_id)
    if stored is not None:
        with archive.reading() as store:
            if store is not None:
                question = "SELECT payload FROM events WHERE run = ? AND type = ? ORDER BY seq"
                for (payload,) in store.execute(question, (stored.key, EventType.TESTS_COLLECTED)):
                    yield from json.loads(payload).get("nodeids", [])
    for event in archive.beyond(run_id, stored):
        if event.type == EventType.TESTS_COLLECTED:
            yield from event.payload.get("nodeids", [])


def outcomes(found: Iterable[Result]) -> dict[str, Outcome]:
    """Return what became of each test: the last attempt counts, and a failing teardown or subtest makes it bad."""
    known: dict[str, Outcome] = {}
    for result in found:
        before = known.get(result.nodeid)
        attempts = before.attempts if before is not None else 1
        if result.status == Status.RERUN:
            known[result.nodeid] = Outcome(Status.RERUN, attempts + 1, result.duration_ms, result.seq, 0)
        elif result.phase not in _DECIDING or (before is not None and before.bad_seq):
            duration = before.duration_ms if before is not None else result.duration_ms
            bad = (before.bad_seq if before is not None else 0) or result.seq
            status = before.status if before is not None and before.bad_seq else result.status
            known[result.nodeid] = Outcome(status, attempts, duration, result.seq, bad)
        else:
            bad = result.seq if result.status in BAD else 0
            known[result.nodeid] = Outcome(result.status, attempts, result.duration_ms, result.seq, bad)
    return known


class Entry(NamedTuple):
    """One run's line in the history of a test.

    Attributes:
        run_id: the run.
        started: when the test began - the run, where that is not known -, seconds since the epoch.
        commit: what the run tested; empty where that is not known.
        outcome: what became of the test.
    """

    run_id: str
    started: float
    commit: str
    outcome: Outcome


def history_of(archive: Archive, nodeid: str, limit: int, without: str = "") -> list[Entry]:
    """Return the history of a test in the newest runs that have an outcome of it, the latest first; `without` one run."""
    found: list[Entry] = []
    for run_id in archive.run_ids():
        if run_id == without:
            continue
        listed = list(results(archive, run_id, nodeid, details=Details.ALL))
        if not listed:
            continue
        state = archive.beginning(run_id)
        git = state.start.get("git")
        commit = str(git.get("commit", "")) if isinstance(git, dict) else ""
        found.append(Entry(run_id, listed[-1].started or state.started, commit, outcomes(listed)[nodeid]))
        if len(found) == limit:
            break
    return found


def _of_row(row: tuple[Any, ...]) -> Result:
    nodeid, seq, status, phase, started, duration, worker, text = row
    return Result(nodeid, seq, status, phase or "", started, duration or 0.0, worker, json.loads(text) if text else {})


def _of_payload(seq: int, payload: Payload) -> Result:
    duration, started = payload.get("duration"), payload.get("started")
    return Result(
        str(payload.get("nodeid")),
        seq,
        str(payload.get("status")),
        str(payload.get("phase", "")),
        started if isinstance(started, int | float) else None,
        float(duration) if isinstance(duration, int | float) else 0.0,
        payload.get("worker"),
        payload,
    )
