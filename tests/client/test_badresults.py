"""What failed in a run, without what the runner took back."""

from __future__ import annotations

from typing import Any

from threepio_client.badresults import BadResults
from threepio_client.line import Event


def in_order(*payloads: dict[str, Any]) -> list[int]:
    found = BadResults()
    for seq, payload in enumerate(payloads, 1):
        kind = "collectionError" if "status" not in payload else "testCase"
        found.take(Event(seq, kind, {"nodeid": "a.py::t", **payload}, 0.0, 0))
    return [result["seq"] for result in found.in_order()]


SUBTEST = {"status": "FAIL", "phase": "call", "subtest": {"message": "one"}}
RERUN = {"status": "RERUN", "phase": "call"}


def test_failures_errors_and_collection_errors_are_bad() -> None:
    assert in_order({"status": "PASS"}, {"status": "FAIL"}, {"status": "ERROR"}, {"error": {}}, RERUN) == [2, 3, 4]


def test_subtests_that_were_taken_back_are_not_told() -> None:
    passed = {"status": "PASS", "takenBack": {"subtests_failed": 2, "subtests_passed": 1}}

    assert in_order(SUBTEST, SUBTEST, RERUN, passed) == []
    assert in_order(SUBTEST, SUBTEST, RERUN, SUBTEST, passed) == [4]


def test_a_failure_that_takes_something_back_is_told() -> None:
    failed = {"status": "FAIL", "takenBack": {"failed": 1}}

    assert in_order(SUBTEST, RERUN, failed) == [3]


def test_those_of_another_test_and_later_ones_stay() -> None:
    passed = {"status": "PASS", "takenBack": {"subtests_failed": 1}}

    assert in_order({**SUBTEST, "nodeid": "a.py::other"}, {"status": "FAIL"}, RERUN, passed, SUBTEST) == [1, 2, 5]


def test_an_event_that_is_read_twice_takes_back_once() -> None:
    found = BadResults()
    for seq, payload in (
        (1, SUBTEST),
        (2, RERUN),
        (3, {"status": "RERUN", "takenBack": {"subtests_failed": 1}}),
        (4, SUBTEST),
    ):
        for _ in range(2):
            found.take(Event(seq, "testCase", {"nodeid": "a.py::t", **payload}, 0.0, 0))

    assert [result["seq"] for result in found.in_order()] == [4]


def test_each_is_taken_back_once() -> None:
    again = {"status": "RERUN", "phase": "call", "takenBack": {"subtests_failed": 1}}

    assert in_order(SUBTEST, RERUN, SUBTEST, again, SUBTEST, SUBTEST) == [3, 5, 6]
    assert in_order(SUBTEST, RERUN, SUBTEST, again, again, SUBTEST) == [6]


def test_what_a_foreign_writer_says_is_taken_back_breaks_nothing() -> None:
    odds: list[Any] = [None, 3, [3], {"subtests_failed": "many"}, {"failed": True}, {"subtests_failed": -1}]
    for odd in odds:
        assert in_order(SUBTEST, {"status": "PASS", "takenBack": odd}) == [1]
