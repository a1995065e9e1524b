"""What is said of a test's next attempt; with real plugins: `tests/suites/test_plugins.py`."""

from __future__ import annotations

from pytest_threepio.attempts import Attempts
from threepio_client.events import Payload, Phase, Status

TEST = "test_a.py::test_one"


def attempts(*counted: object, repeats_xfails: bool = False) -> Attempts:
    return Attempts(lambda _category, report: report in counted, repeats_xfails=repeats_xfails)


def outcome(status: Status, phase: Phase = Phase.CALL, worker: str = "", nodeid: str = TEST) -> Payload:
    return {"nodeid": nodeid, "status": status, "phase": phase} | ({"worker": worker} if worker else {})


def test_of_a_test_that_runs_once_nothing_is_said() -> None:
    found = attempts()

    assert found.told(outcome(Status.FAIL)) == found.told(outcome(Status.ERROR, Phase.TEARDOWN)) == {}
    assert not found.matter
    assert not found.ends_one(TEST)


def test_attempts_are_numbered_until_one_decides() -> None:
    found = attempts()

    statuses = [Status.RERUN, Status.RERUN, Status.PASS, Status.PASS]
    said = [(found.told(outcome(status)), found.matter) for status in statuses]

    assert said == [({}, True), ({"attempt": 2}, True), ({"attempt": 3}, False), ({}, False)]


def test_an_attempt_that_another_one_follows_ends_no_test() -> None:
    found = attempts()
    found.told(outcome(Status.RERUN))
    assert found.ends_one(TEST)

    assert found.matter  # what comes of other workers meanwhile
    assert found.told(outcome(Status.PASS)) == {"attempt": 2}
    assert not found.ends_one(TEST)


def test_an_outcome_is_taken_back_where_the_teardown_has_the_test_run_again() -> None:
    found = attempts()
    found.told(outcome(Status.PASS, worker="gw0"))
    found.told(outcome(Status.PASS, worker="gw1", nodeid="test_a.py::test_two"))

    again = found.told(outcome(Status.RERUN, Phase.TEARDOWN, worker="gw0"))

    assert again == {"takenBack": {"finished": 1}}


def test_a_test_whose_worker_died_in_it_may_be_decided_again() -> None:
    found = attempts()
    found.told(outcome(Status.FAIL, worker="gw0"))
    found.died_in.add(TEST)

    assert found.matter
    assert found.told(outcome(Status.FAIL, worker="gw2")) == {"takenBack": {"finished": 1}}


def test_where_tests_are_repeated_without_a_word_each_has_one_outcome() -> None:
    found = attempts()
    found.outcomes = set()

    assert [found.told(outcome(Status.PASS)) for _ in range(3)] == [{}, *[{"takenBack": {"finished": 1}}] * 2]
    assert found.matter


def test_there_too_an_outcome_is_taken_back_once_where_the_teardown_has_the_test_run_again() -> None:
    found = attempts()
    found.outcomes = set()
    said = [
        found.told(outcome(Status.PASS)),
        found.told(outcome(Status.RERUN, Phase.TEARDOWN)),
        found.told(outcome(Status.PASS)),
    ]

    assert said == [{}, {"takenBack": {"finished": 1}}, {"attempt": 2}]


def test_each_further_attempt_that_fails_as_expected_takes_the_one_before_back() -> None:
    found = attempts(repeats_xfails=True)

    assert [found.told(outcome(Status.XFAIL)) for _ in range(2)] == [{}, {"takenBack": {"finished": 1}}]
    assert attempts().told(outcome(Status.XFAIL)) == {}


def test_subtests_that_are_not_counted_any_more_are_taken_back() -> None:
    found = attempts("still counted")
    for report in ("still counted", "gone", "gone, too"):
        found.add_subtest(TEST, "subtests failed", report)
    found.add_subtest(TEST, "", "was counted nowhere")

    assert found.told(outcome(Status.RERUN)) == {}
    assert found.told(outcome(Status.PASS)) == {"attempt": 2, "takenBack": {"subtests_failed": 2}}


def test_those_of_a_test_that_was_decided_are_taken_back_where_its_teardown_has_it_run_again() -> None:
    found = attempts()
    found.add_subtest(TEST, "failed", "gone")
    found.told(outcome(Status.PASS))
    found.told(outcome(Status.RERUN, Phase.TEARDOWN))

    assert found.told(outcome(Status.PASS)) == {"attempt": 2, "takenBack": {"failed": 1}}


def test_what_passed_at_last_and_broke_in_its_teardown_is_not_flaky() -> None:
    found = attempts()
    found.told(outcome(Status.RERUN))
    found.told(outcome(Status.PASS))

    assert found.told(outcome(Status.SKIP, Phase.TEARDOWN, nodeid="test_a.py::test_two")) == {}
    assert found.told(outcome(Status.ERROR, Phase.TEARDOWN)) == {"takenBack": {"flaky": 1}}
    assert found.told(outcome(Status.ERROR, Phase.TEARDOWN)) == {}
