"""What failed or broke in a run: the answer of `failures`, from events and from rows of the store.

Which rows these are stands here alone, for all that ask the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, cast

from threepio_client.events import BAD, EventType, Phase, Status
from threepio_client.line import Event, Passed
from threepio_client.runstate import BAD_COUNTS

if TYPE_CHECKING:
    from threepio_client import answers

IS_BAD: Final = f"status IN {tuple(map(str, BAD))}"
"""Says that a row of `results` is bad, in the words of the index `bad_results`: in others it would not be used."""
OF_SUBTEST: Final = "json_type(details, '$.subtest') IS NOT NULL"
"""Says that it is of a subtest."""
_BAD_SUBTESTS: Final = f"FROM results INDEXED BY bad_results WHERE run = :run AND {IS_BAD} AND {OF_SUBTEST}"
BAD_SUBTESTS: Final = (
    f"SELECT b.seq, t.nodeid FROM (SELECT seq, test {_BAD_SUBTESTS}) b CROSS JOIN tests t ON t.id = b.test"
)
"""Asks the store which subtests are bad in the run with the key `run`."""
TAKEN_BACK: Final = f"""
    SELECT r.seq, t.nodeid, json_extract(r.details, '$.takenBack') FROM results r JOIN tests t ON t.id = r.test
    WHERE r.run = :run AND json_type(r.details, '$.takenBack') = 'object' AND r.test IN (SELECT test {_BAD_SUBTESTS})"""
"""Asks it what was taken back of their tests."""


class BadResults:
    """What failed or broke in a run, without the subtests that the runner took back because their test was run again.

    Attributes:
        has_subtests: whether a subtest is among them.
    """

    def __init__(self) -> None:
        self._found: dict[int, dict[str, Any]] = {}
        self._taken_back: dict[int, tuple[str, object]] = {}
        self.has_subtests = False

    def take(self, event: Event) -> None:
        """Take what an event tells of a failure, if it does."""
        if type(event) is Passed:
            return
        payload = event.payload
        if event.type == EventType.COLLECTION_ERROR:
            self.add(collection_error(event.seq, payload))
        if event.type != EventType.TEST_CASE:
            return
        nodeid, status = str(payload.get("nodeid")), payload.get("status")
        self.take_back(event.seq, nodeid, payload.get("takenBack"))
        if status in BAD:
            phase, duration, worker = payload.get("phase"), payload.get("duration"), payload.get("worker")
            self.add(bad_result(nodeid, event.seq, status, phase, duration, worker, payload))

    def add(self, result: dict[str, Any]) -> None:
        """Take a `bad_result`."""
        self._found[result["seq"]] = result
        self.has_subtests = self.has_subtests or result["subtest"] is not None

    def take_back(self, seq: int, nodeid: str, counts: object) -> None:
        """Take the `takenBack` of a testCase, if it has one."""
        if counts:
            self._taken_back[seq] = nodeid, counts

    def in_order(self) -> list[dict[str, Any]]:
        """Return them in the order in which they happened."""
        subtests = [(seq, one["nodeid"]) for seq, one in self._found.items() if one["subtest"] is not None]
        by = [(seq, *one) for seq, one in self._taken_back.items()]
        gone = taken_back(subtests, by) if subtests else set()
        return [self._found[seq] for seq in sorted(self._found) if seq not in gone]


def taken_back(subtests: Iterable[tuple[int, str]], by: Iterable[tuple[int, str, object]]) -> set[int]:
    """Return which bad results of subtests were taken back, by their seq.

    Args:
        subtests: seq and node id of all of them.
        by: seq, node id and `takenBack` of testCases that may take some of them back.
    """
    gone: set[int] = set()
    left: dict[str, list[int]] = {}
    for seq, nodeid in sorted(subtests):
        left.setdefault(nodeid, []).append(seq)
    for seq, nodeid, counts in sorted(by, key=itemgetter(0)):
        if isinstance(counts, dict):
            number = sum(counts[name] for name in BAD_COUNTS if type(counts.get(name)) is int)
            before = [one for one in left.get(nodeid, ()) if one < seq]
            gone.update(before[: max(number, 0)])
            left[nodeid] = [one for one in left.get(nodeid, ()) if one not in gone]
    return gone


def bad_result(
    nodeid: str, seq: int, status: str, phase: Any, duration: Any, worker: Any, details: dict[str, Any]
) -> dict[str, Any]:
    """Return what an event tells of a failure: docs/json.md, `failures`; `duration` in milliseconds."""
    error = details.get("error")
    answer: answers.BadResult = {
        "nodeid": nodeid,
        "seq": seq,
        "status": status,
        "phase": phase,
        "duration_s": round(duration / 1000, 6) if isinstance(duration, int | float) else 0.0,
        "worker": worker,
        "attempt": details.get("attempt", 1),
        "subtest": details.get("subtest"),
        "error": cast("answers.Error", error if isinstance(error, dict) else {}),
        "output": details.get("output", []),
    }
    return {**answer}


def collection_error(seq: int, payload: dict[str, Any]) -> dict[str, Any]:
    """Return the same of what could not be collected."""
    return bad_result(str(payload.get("nodeid")), seq, Status.ERROR, Phase.COLLECT, 0.0, None, payload)
