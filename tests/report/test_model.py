"""What a report says of runs of every kind: every test once, whatever became of it and of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.place import Place, wait_until
from tests.reports import loaded, written
from tests.scripted import case, event, gone, living, made_state_dir, write_journal
from threepio_client.archive import Archive
from threepio_client.events import EventType, Phase
from threepio_client.nowpage import NowPage
from threepio_client.process import ProcessIdentity
from threepio_client.report.formats import FORMATS
from threepio_client.report.model import IN_FLIGHT, NEVER_RAN, Report

ERROR = {"message": "ValueError: no", "errorType": "ValueError", "location": "/r/a.py:7", "stack": "E no"}
Cases = list[tuple[str, str, dict[str, Any]]]
"""Node id, status and what else there is of each testCase."""
START = {"schemaVersion": 1, "runId": "run", "producerId": "p", "rootdir": "/r", "argv": [], "host": "here"}


def write_run(
    place: Place,
    names: list[str],
    cases: Cases,
    *,
    exit_code: int | None = 0,
    identity: ProcessIdentity | None = None,
    before: Sequence[tuple[str, dict[str, Any]]] = (),
    stopped: dict[str, str] | None = None,
) -> Report:
    """Write a run with these tests and results, and return its report.

    Args:
        place: where.
        names: what it collected.
        cases: node id, status and what else there is of each testCase.
        exit_code: None if it did not come to its end.
        identity: its process, by default one that is gone.
        before: other events, before its tests.
        stopped: why it stopped early.
    """
    made_state_dir(place.state_dir.path)
    told: list[bytes] = [event(1, EventType.RUN_START, {**START, "process": (identity or gone()).to_payload()})]
    for kind, payload in before:
        told.append(event(len(told) + 1, kind, payload))
    told.append(event(len(told) + 1, EventType.TESTS_COLLECTED, {"nodeids": names}))
    told.append(event(len(told) + 1, EventType.COLLECTION_FINISH, {"collected": len(names), "deselected": 0}))
    for nodeid, status, more in cases:
        told.append(case(len(told) + 1, nodeid, status, **more))
    if exit_code is not None:
        end = {"exitCode": exit_code, "totals": {}, "deselected": 0, "stopped": stopped, "stats": {}}
        told.append(event(len(told) + 1, EventType.RUN_COMPLETE, end))
    write_journal(place.state_dir, "run", told)
    return loaded(Archive(place.state_dir), "run")


def standings(report: Report) -> list[tuple[str, str, int]]:
    """Return name, standing and attempts of each test."""
    return [(test.names[1], test.standing, test.attempts) for test in report.tests]


def test_every_outcome_is_told_once_with_what_was_said(place: Place) -> None:
    cases: Cases = [
        ("a.py::test_fine", "PASS", {}),
        ("a.py::test_bad", "FAIL", {"error": ERROR, "output": [["Captured stdout call", "printed"]]}),
        ("b.py::TestIt::test_skipped", "SKIP", {"skipReason": "no need"}),
        ("b.py::test_known", "XFAIL", {"xfailReason": "known", "error": ERROR}),
        ("b.py::test_better", "XPASS", {"xfailReason": "known"}),
        ("b.py::test_setup", "ERROR", {"phase": "setup", "error": ERROR}),
    ]

    report = write_run(place, [name for name, _, _ in cases], cases, exit_code=1)

    assert standings(report) == [
        ("test_fine", "PASS", 1),
        ("test_bad", "FAIL", 1),
        ("test_skipped", "SKIP", 1),
        ("test_known", "XFAIL", 1),
        ("test_better", "XPASS", 1),
        ("test_setup", "ERROR", 1),
    ]
    fine, bad, skipped, known, *_ = report.tests
    assert fine.results == ()
    assert bad.results[0].error == ERROR
    assert bad.results[0].output == [("Captured stdout call", "printed")]
    assert (skipped.names, skipped.file) == ((["b.py", "TestIt"], "test_skipped"), "b.py")
    assert (skipped.results[0].reason, known.results[0].reason) == ("no need", "known")
    assert {file: len(tests) for file, tests in report.files.items()} == {"a.py": 2, "b.py": 4}
    assert [cause.count for cause in report.causes] == [2]
    assert report.start["host"] == "here"


def test_a_teardown_that_breaks_takes_no_outcome_back(place: Place) -> None:
    broken = {"phase": "teardown", "error": ERROR}
    cases: Cases = [
        ("a.py::t", "PASS", {}),
        ("a.py::t", "ERROR", broken),
        ("a.py::u", "FAIL", {}),
        ("a.py::u", "ERROR", broken),
    ]

    report = write_run(place, ["a.py::t", "a.py::u"], cases, exit_code=1)

    assert standings(report) == [("t", "ERROR", 1), ("u", "FAIL", 1)]
    assert [[result.status for result in test.results] for test in report.tests] == [
        ["PASS", "ERROR"],
        ["FAIL", "ERROR"],
    ]


def test_reruns_are_attempts_of_one_test(place: Place) -> None:
    again = {"error": ERROR}
    cases: Cases = [
        ("a.py::flaky", "RERUN", again),
        ("a.py::flaky", "RERUN", again),
        ("a.py::flaky", "PASS", {"attempt": 3}),
        ("a.py::hopeless", "RERUN", again),
        ("a.py::hopeless", "FAIL", {"attempt": 2, "error": ERROR}),
    ]

    report = write_run(place, ["a.py::flaky", "a.py::hopeless"], cases, exit_code=1)

    assert standings(report) == [("flaky", "PASS", 3), ("hopeless", "FAIL", 2)]
    assert [result.attempt for result in report.tests[0].results] == [1, 1, 3]


def test_subtests_are_results_of_their_test(place: Place) -> None:
    subtest = {"subtest": {"message": "i", "parameters": {"i": "1"}}, "countedAs": "subtests_failed", "error": ERROR}
    cases: Cases = [("a.py::t", "FAIL", subtest), ("a.py::t", "PASS", {})]

    report = write_run(place, ["a.py::t"], cases, exit_code=1)

    assert standings(report) == [("t", "FAIL", 1)]
    assert [result.subtest for result in report.tests[0].results] == [subtest["subtest"], None]


def test_what_could_not_be_collected_is_a_case_of_its_own(place: Place) -> None:
    failing = (EventType.COLLECTION_ERROR, {"nodeid": "broken.py", "error": ERROR})
    skipped = {"testName": "s.py", "parentNames": [], "nodeid": "s.py", "status": "SKIP", "phase": "collect",
               "skipReason": "not here"}  # fmt: skip

    report = write_run(place, [], [], exit_code=2, before=[failing, (EventType.TEST_CASE, skipped)],
                       stopped={"kind": "collection", "text": "1 error during collection"})  # fmt: skip

    assert standings(report) == [("broken.py", "ERROR", 1), ("s.py", "SKIP", 1)]
    assert report.tests[0].names == ([], "broken.py")
    assert report.tests[1].results[0].reason == "not here"
    assert not report.is_live


def test_a_running_run_has_tests_in_flight_and_tests_to_run(place: Place) -> None:
    names = ["a.py::one", "a.py::two", "a.py::three"]
    write_page(place, ("a.py::two", Phase.CALL, ""))

    report = write_run(place, names, [("a.py::one", "PASS", {})], exit_code=None, identity=living())

    assert standings(report) == [("one", "PASS", 1), ("two", IN_FLIGHT, 1), ("three", NEVER_RAN, 0)]
    assert report.tests[1].duration_ms > 0
    assert report.is_live
    assert not report.is_crash
    assert report.why_no_outcome(NEVER_RAN) == "it was still to run when this report was written"


def test_a_crashed_run_has_what_was_in_flight_and_what_never_ran(place: Place) -> None:
    names = ["a.py::one", "a.py::two", "a.py::three"]
    write_page(place, ("a.py::two", Phase.SETUP, ""))

    report = write_run(place, names, [("a.py::one", "PASS", {})], exit_code=None)

    assert standings(report) == [("one", "PASS", 1), ("two", IN_FLIGHT, 1), ("three", NEVER_RAN, 0)]
    assert report.is_crash
    assert report.why_no_outcome(IN_FLIGHT) == "it was running when the run ended: the run is crashed"


def test_every_worker_has_a_test_in_flight(place: Place) -> None:
    write_page(place, ("a.py::one", Phase.CALL, "gw0"), ("b.py::two", Phase.CALL, "gw1"), ("", Phase.SESSION_END, ""))

    report = write_run(place, ["a.py::one", "b.py::two"], [], exit_code=None)

    assert [(test.standing, test.worker) for test in report.tests] == [(IN_FLIGHT, "gw0"), (IN_FLIGHT, "gw1")]


def test_a_death_in_teardown_takes_no_outcome_back(place: Place) -> None:
    write_page(place, ("a.py::one", Phase.TEARDOWN, ""))

    report = write_run(place, ["a.py::one"], [("a.py::one", "PASS", {})], exit_code=None)

    assert standings(report) == [("one", "PASS", 1)]


def test_a_file_that_was_being_imported_is_in_flight(place: Place) -> None:
    write_page(place, ("a.py", Phase.COLLECT, ""))

    report = write_run(place, [], [], exit_code=None)

    assert standings(report) == [("a.py", IN_FLIGHT, 1)]


def test_a_death_between_two_attempts_leaves_no_outcome(place: Place) -> None:
    write_page(place, ("a.py::one", Phase.CALL, ""))
    cases: Cases = [("a.py::one", "RERUN", {"error": ERROR}), ("a.py::two", "RERUN", {"error": ERROR})]

    report = write_run(place, ["a.py::one", "a.py::two"], cases, exit_code=None)

    assert standings(report) == [("one", IN_FLIGHT, 2), ("two", NEVER_RAN, 1)]
    assert [len(test.results) for test in report.tests] == [1, 1]


def test_a_death_after_a_subtest_leaves_no_outcome(place: Place) -> None:
    write_page(place, ("a.py::one", Phase.CALL, ""))
    subtest = {"subtest": {"message": "i", "parameters": {}}, "countedAs": "subtests_passed"}

    report = write_run(place, ["a.py::one"], [("a.py::one", "PASS", subtest)], exit_code=None)

    assert standings(report) == [("one", IN_FLIGHT, 1)]


@pytest.mark.parametrize(
    ("names", "standings_then"),
    [
        (["a.py::one[" + "x" * 2000 + "]"], [IN_FLIGHT]),
        (["a.py::one[" + "x" * 2000 + "1]", "a.py::one[" + "x" * 2000 + "2]"], [NEVER_RAN, NEVER_RAN]),
    ],
    ids=["the only one like it", "one of two"],
)
def test_a_name_that_the_now_page_cut_stands_for_the_only_one_like_it(
    place: Place, names: list[str], standings_then: list[str]
) -> None:
    write_page(place, (names[0], Phase.CALL, ""))

    report = write_run(place, names, [], exit_code=None)

    assert [(test.nodeid, test.standing) for test in report.tests] == [*zip(names, standings_then, strict=True)]


def test_a_run_that_was_stopped_names_what_never_ran(place: Place) -> None:
    names = ["a.py::one", "a.py::two"]

    report = write_run(place, names, [("a.py::one", "FAIL", {"error": ERROR})], exit_code=1,
                       stopped={"kind": "maxfail", "text": "stopping after 1 failures"})  # fmt: skip

    assert standings(report) == [("one", "FAIL", 1), ("two", NEVER_RAN, 0)]
    assert report.why_no_outcome(NEVER_RAN) == "it never ran: the run is interrupted"


def test_a_run_of_which_nothing_is_known_but_its_start_can_be_told(place: Place) -> None:
    report = write_run(place, [], [], exit_code=5)

    assert (report.tests, report.causes, report.files) == ([], [], {})


def test_what_a_foreign_writer_says_is_taken_as_far_as_it_is_understood(place: Place) -> None:
    odd = {"error": "no object", "output": [["one"], "two", ["three", 4]], "subtest": 5, "attempt": "x", "takenBack": 3,
           "started": "long ago"}  # fmt: skip

    report = write_run(place, ["a.py::one", "a.py::two"], [("a.py::one", "FAIL", odd), ("a.py::two", "MAYBE", {})])

    one, two = report.tests
    assert (one.standing, two.standing) == (NEVER_RAN, NEVER_RAN)  # a subtest tells no outcome; MAYBE is no status
    (result,) = one.results
    assert (result.error, result.output, result.subtest, result.attempt) == ({}, [("three", "4")], {}, 1)
    assert one.started is None


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "odd",
    [{"output": 5}, {"output": [["one"], 6]}, {"subtest": {"parameters": ["x"]}}, {"attempt": [1]}, {"error": []}],
    ids=str,
)
def test_what_a_foreign_writer_says_keeps_no_format_from_being_written(
    place: Place, odd: dict[str, Any], name: str
) -> None:
    report = write_run(place, ["a.py::one"], [("a.py::one", "FAIL", odd)], exit_code=1)

    assert written(report, name)


@pytest.mark.parametrize("with_daemon", [False, True], ids=["journal", "store"])
def test_store_and_journal_tell_the_same(place: Place, with_daemon: bool) -> None:
    subtest = {"subtest": {"message": "i", "parameters": {"i": "1"}}, "countedAs": "subtests_failed", "error": ERROR}
    cases: Cases = [
        ("a.py::t", "FAIL", subtest),
        ("a.py::t", "PASS", {}),
        ("a.py::u", "RERUN", {"error": ERROR}),
        ("a.py::u", "PASS", {"attempt": 2}),
        ("a.py::v", "SKIP", {"skipReason": "no"}),
    ]
    before: list[tuple[str, dict[str, Any]]] = [(EventType.COLLECTION_ERROR, {"nodeid": "broken.py", "error": ERROR})]

    report = write_run(place, ["a.py::t", "a.py::u", "a.py::v", "a.py::w"], cases, exit_code=1, before=before)
    if with_daemon:
        place.start_daemon()
        wait_until(lambda: place.verify("run")["whole"])
        place.stop_daemon()
        report = loaded(Archive(place.state_dir), "run")

    assert standings(report) == [("broken.py", "ERROR", 1), ("t", "FAIL", 1), ("u", "PASS", 2), ("v", "SKIP", 1),
                                 ("w", NEVER_RAN, 0)]  # fmt: skip
    told = [[(result.status, result.counted, result.reason) for result in test.results] for test in report.tests]
    assert told[1:] == [
        [("FAIL", "subtests_failed", ""), ("PASS", "passed", "")],
        [("RERUN", "rerun", ""), ("PASS", "passed", "")],
        [("SKIP", "skipped", "no")],
        [],
    ]


def write_page(place: Place, *slots: tuple[str, Phase, str]) -> None:
    """Write a now page that says what each worker is at: node id, phase, worker."""
    made_state_dir(place.state_dir.path)
    for number, (nodeid, phase, worker) in enumerate(slots):
        page = NowPage(place.state_dir.now_page("run"), number, worker, create=not number)
        page.set(nodeid, phase, 1_700_000_000.0, is_test="::" in nodeid)
        page.close()
