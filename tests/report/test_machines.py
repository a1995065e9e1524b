"""JUnit XML, CTRF and GitHub's annotations: the same sums as the status answer, whatever became of the run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.test_hostile_names import NAMES, write_hostile_runs
from tests.place import Place
from tests.report.test_model import ERROR, Cases, write_page, write_run
from tests.reports import check, loaded, reruns_by_junitparser, written
from tests.scripted import living, write_journal
from threepio_client.archive import Archive
from threepio_client.events import EventType, Phase
from threepio_client.report import github
from threepio_client.report.model import Report

OUTPUT = [["Captured stdout call", "out\n"], ["Captured stderr call", "err"], ["Captured log call", "logged"]]
TEARDOWN = {"phase": "teardown", "error": ERROR}
EVERYTHING: Cases = [
    ("a/test_a.py::test_fine", "PASS", {}),
    ("a/test_a.py::TestIt::test_bad[x::y]", "FAIL", {"error": ERROR, "output": OUTPUT}),
    ("a/test_a.py::test_skipped", "SKIP", {"skipReason": "no need"}),
    ("a/test_a.py::test_known", "XFAIL", {"xfailReason": "known", "error": ERROR}),
    ("b.py::test_better", "XPASS", {"xfailReason": "known"}),
    ("b.py::test_setup", "ERROR", {"phase": "setup", "error": ERROR}),
    ("b.py::test_teardown", "PASS", {}),
    ("b.py::test_teardown", "ERROR", TEARDOWN),
    ("b.py::test_both", "FAIL", {"error": ERROR}),
    ("b.py::test_both", "ERROR", TEARDOWN),
    ("b.py::test_flaky", "RERUN", {"error": ERROR, "output": OUTPUT}),
    ("b.py::test_flaky", "RERUN", {"error": ERROR, "phase": "setup"}),
    ("b.py::test_flaky", "PASS", {"attempt": 3}),
    ("b.py::test_hopeless", "RERUN", {"error": ERROR}),
    ("b.py::test_hopeless", "FAIL", {"attempt": 2, "error": ERROR, "worker": "gw1"}),
    ("b.py::test_sub", "FAIL", {"subtest": {"message": "m", "parameters": {"i": "1"}}, "countedAs": "subtests_failed",
                                "error": ERROR}),
    ("b.py::test_sub", "PASS", {"subtest": {"message": "", "parameters": {}}, "countedAs": "subtests_passed"}),
    ("b.py::test_sub", "PASS", {}),
]  # fmt: skip


def names_of(cases: Cases) -> list[str]:
    return list(dict.fromkeys(name for name, _, _ in cases))


def junit(report: Report) -> ElementTree.Element:
    return ElementTree.fromstring(written(report, "junit").encode())


def case_of(root: ElementTree.Element, name: str) -> ElementTree.Element:
    """Return the only testcase of a name."""
    (found,) = (case for case in root.iter("testcase") if case.attrib["name"] == name)
    return found


def ctrf_of(report: Report, name: str) -> dict[str, Any]:
    """Return the only CTRF test of a name."""
    (found,) = (test for test in json.loads(written(report, "ctrf"))["results"]["tests"] if test["name"] == name)
    return dict(found)


def test_every_number_of_pytests_last_line_is_there(place: Place) -> None:
    write_run(place, names_of(EVERYTHING), EVERYTHING, exit_code=1)

    report = check(Archive(place.state_dir), "run")

    root = junit(report)
    numbers = {name: root.attrib[name] for name in ("tests", "failures", "errors", "skipped")}
    assert numbers == {"tests": "15", "failures": "4", "errors": "3", "skipped": "2"}
    counts = {name: number for name, number in report.view["counts"].items() if number}
    assert counts == {"passed": 4, "failed": 3, "errors": 3, "skipped": 1, "xfailed": 1, "xpassed": 1, "rerun": 3,
                      "subtests_failed": 1, "subtests_passed": 1}  # fmt: skip


def test_a_test_that_passed_and_whose_teardown_broke_is_two_entries(place: Place) -> None:
    report = write_run(place, names_of(EVERYTHING), EVERYTHING, exit_code=1)

    passed, broken = case_of(junit(report), "test_teardown"), case_of(junit(report), "test_teardown (teardown)")

    assert [child.tag for child in passed] == []
    assert [child.tag for child in broken] == ["error"]
    assert ctrf_of(report, "test_teardown")["status"] == "passed"
    assert ctrf_of(report, "test_teardown (teardown)")["status"] == "failed"


def test_junit_says_what_is_known_of_a_failure(place: Place) -> None:
    report = write_run(place, names_of(EVERYTHING), EVERYTHING, exit_code=1)
    root = junit(report)

    found = case_of(root, "test_bad[x::y]")

    assert found.attrib == {
        "classname": "a.test_a.TestIt",
        "file": "a/test_a.py",
        "name": "test_bad[x::y]",
        "time": "0.002",
    }
    failure, out, err = found
    assert (failure.tag, failure.attrib, failure.text) == (
        "failure",
        {"message": "ValueError: no", "type": "ValueError"},
        "E no",
    )
    assert (out.tag, out.text) == (
        "system-out",
        "--- Captured stdout call ---\nout\n\n--- Captured log call ---\nlogged",
    )
    assert (err.tag, err.text) == ("system-err", "--- Captured stderr call ---\nerr")
    suites = [(suite.attrib["name"], suite.attrib["tests"], suite.attrib["hostname"]) for suite in root]
    assert suites == [("threepio", "0", "here"), ("a/test_a.py", "4", "here"), ("b.py", "11", "here")]
    properties = {item.attrib["name"]: item.attrib["value"] for item in root[0].iter("property")}
    told = {name: properties[name] for name in ("run_id", "state", "exit_code", "counts.failed")}
    assert told == {"run_id": "run", "state": "failed", "exit_code": "1", "counts.failed": "3"}
    assert [item.attrib for item in case_of(root, "test_hopeless").iter("property")] == [
        {"name": "worker", "value": "gw1"}
    ]


def test_junit_says_why_a_test_was_skipped(place: Place) -> None:
    root = junit(write_run(place, names_of(EVERYTHING), EVERYTHING, exit_code=1))

    (skipped,), (known,) = case_of(root, "test_skipped"), case_of(root, "test_known")

    assert (skipped.attrib, skipped.text) == ({"message": "no need", "type": "pytest.skip"}, "no need")
    assert (known.attrib, known.text) == ({"message": "known", "type": "pytest.xfail"}, "E no")


def test_attempts_are_told_as_surefire_does(place: Place) -> None:
    report = write_run(place, names_of(EVERYTHING), EVERYTHING, exit_code=1)

    assert reruns_by_junitparser(written(report, "junit")) == [
        ("test_flaky", ["FlakyFailure", "FlakyError"]),
        ("test_hopeless", ["RerunFailure"]),
    ]
    flaky, hopeless = ctrf_of(report, "test_flaky"), ctrf_of(report, "test_hopeless")
    assert (flaky["retries"], flaky["flaky"], hopeless["retries"], hopeless["flaky"]) == (2, True, 1, False)
    assert flaky["retryAttempts"][0] == {"attempt": 1, "status": "failed", "duration": 2, "message": "ValueError: no",
        "trace": "E no", "stdout": ["out", "logged"], "stderr": ["err"],
        "extra": {"errorType": "ValueError", "location": "/r/a.py:7", "phase": "call"}}  # fmt: skip
    assert hopeless["threadId"] == "gw1"


def test_ctrf_says_where_a_test_is_and_what_it_was(place: Place) -> None:
    report = write_run(place, names_of(EVERYTHING), EVERYTHING, exit_code=1)

    bad, known = ctrf_of(report, "test_bad[x::y]"), ctrf_of(report, "test_known")

    assert (bad["suite"], bad["filePath"]) == (["a/test_a.py", "TestIt"], "a/test_a.py")
    assert (bad["message"], bad["trace"], bad["rawStatus"]) == ("ValueError: no", "E no", "failed")
    assert (known["status"], known["rawStatus"], known["extra"]["reason"]) == ("skipped", "xfailed", "known")
    environment = json.loads(written(report, "ctrf"))["results"]["environment"]
    assert (environment["healthy"], environment["extra"]["state"]) == (False, "failed")


def test_subtests_are_entries_of_their_own(place: Place) -> None:
    root = junit(write_run(place, names_of(EVERYTHING), EVERYTHING, exit_code=1))

    names = [case.attrib["name"] for case in root.iter("testcase") if case.attrib["name"].startswith("test_sub")]

    assert names == ["test_sub [m] (i=1)", "test_sub (<subtest>)", "test_sub"]


def test_subtests_that_pytest_takes_back_are_not_counted(place: Place) -> None:
    subtest = {"subtest": {"message": "m", "parameters": {}}, "countedAs": "subtests_failed", "error": ERROR}
    cases: Cases = [
        ("a.py::t", "FAIL", subtest),
        ("a.py::t", "RERUN", {"error": ERROR, "takenBack": {"subtests_failed": 1}}),
        ("a.py::t", "PASS", {"attempt": 2}),
    ]
    write_run(place, ["a.py::t"], cases)

    report = check(Archive(place.state_dir), "run")

    assert [case.attrib["name"] for case in junit(report).iter("testcase")] == ["t"]


def test_what_passed_at_last_and_broke_in_its_teardown_is_not_flaky(place: Place) -> None:
    cases: Cases = [
        ("a.py::test_it", "RERUN", {"error": ERROR}),
        ("a.py::test_it", "PASS", {"attempt": 2}),
        ("a.py::test_it", "ERROR", {"phase": "teardown", "attempt": 2, "error": ERROR, "takenBack": {"flaky": 1}}),
    ]
    write_run(place, ["a.py::test_it"], cases, exit_code=1)

    report = check(Archive(place.state_dir), "run")

    assert json.loads(written(report, "ctrf"))["results"]["summary"]["flaky"] == report.view["flaky"] == 0
    assert [child.tag for child in junit(report).iter("testcase").__next__()] == ["rerunFailure"]


def _crashed(place: Place) -> None:
    write_page(place, ("a.py::two", Phase.CALL, ""))
    write_run(place, ["a.py::one", "a.py::two", "a.py::three"], [("a.py::one", "PASS", {})], exit_code=None)


def _crashed_with_workers(place: Place) -> None:
    names = [f"a.py::test_{number}" for number in range(7)]
    write_page(place, *[(name, Phase.CALL, f"gw{number}") for number, name in enumerate(names[1:6])])
    write_run(place, names, [(names[0], "PASS", {"worker": "gw0"})], exit_code=None)


def _running(place: Place) -> None:
    write_page(place, ("a.py::two", Phase.CALL, ""))
    write_run(place, ["a.py::one", "a.py::two", "a.py::three"], [("a.py::one", "PASS", {})], exit_code=None,
              identity=living())  # fmt: skip


def _interrupted(place: Place) -> None:
    write_run(place, ["a.py::one", "a.py::two"], [("a.py::one", "PASS", {})], exit_code=2,
              stopped={"kind": "user", "text": "KeyboardInterrupt at a.py:1"})  # fmt: skip


def _incomplete(place: Place) -> None:
    write_run(place, ["a.py::one", "a.py::two"], [("a.py::one", "PASS", {})], exit_code=0)


def _importing(place: Place) -> None:
    write_page(place, ("a.py", Phase.COLLECT, ""))
    write_run(place, [], [], exit_code=None)


def _no_tests(place: Place) -> None:
    write_run(place, [], [], exit_code=5)


def _coverage_gate(place: Place) -> None:
    write_run(place, ["a.py::one"], [("a.py::one", "PASS", {})], exit_code=1)


def _not_collected(place: Place) -> None:
    write_run(place, [], [], exit_code=2, before=[(EventType.COLLECTION_ERROR, {"nodeid": "a.py", "error": ERROR})],
              stopped={"kind": "collection", "text": "1 error during collection"})  # fmt: skip


@pytest.mark.parametrize(
    ("write", "says", "numbers"),
    [
        (_crashed, "crashed: the process", (1, 0, 2, 1)),
        (_crashed_with_workers, "crashed: the process", (1, 0, 6, 1)),
        (_running, "it was running when this report was written", (1, 0, 1, 2)),
        (_interrupted, "interrupted: stopped: KeyboardInterrupt at a.py:1; 1 of 2", (1, 0, 1, 1)),
        (_incomplete, "incomplete: ended with exit code 0, but 1 of 2", (1, 0, 1, 1)),
        (_importing, "crashed: the process", (0, 0, 2, 0)),
        (_no_tests, "failed: no tests were run", (0, 0, 1, 0)),
        (_coverage_gate, "failed: the runner ended with exit code 1, though no test failed", (1, 0, 1, 0)),
        (_not_collected, "failed: stopped: 1 error during collection", (0, 0, 2, 0)),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_run_that_did_not_end_well_is_red_in_every_format(
    place: Place, write: Callable[[Place], None], says: str, numbers: tuple[int, int, int, int]
) -> None:
    write(place)

    report = check(Archive(place.state_dir), "run")

    root = junit(report)
    _, failures, errors, skipped = numbers
    attributes = {name: int(root.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert attributes == {"tests": sum(numbers), "failures": failures, "errors": errors, "skipped": skipped}
    (verdict,) = case_of(root, "the whole run")
    assert verdict.tag == "error"
    assert verdict.attrib["message"].startswith(says)
    assert verdict.text is not None
    assert all(slot["nodeid"] in verdict.text for slot in report.view["in_flight"])
    assert not report.view["never_ran"] or f"{report.view['never_ran']} of" in verdict.text + verdict.attrib["message"]
    assert ctrf_of(report, "the whole run")["message"].startswith(says)
    first, *_ = github.commands(report)
    assert first.startswith(f"::error title=Run run is {report.view['state']}::")
    assert f"## Tests: {report.view['state']}" in written(report, "github")


def test_a_test_that_was_running_in_a_crash_is_an_error_and_one_that_never_ran_is_skipped(place: Place) -> None:
    _crashed(place)
    report = loaded(Archive(place.state_dir), "run")
    root = junit(report)

    (suspect,), (left,) = case_of(root, "two"), case_of(root, "three")

    assert (suspect.tag, suspect.attrib["type"]) == ("error", "threepio.in_flight")
    assert (left.tag, left.attrib["type"]) == ("skipped", "threepio.never_ran")
    assert (ctrf_of(report, "two")["status"], ctrf_of(report, "three")["status"]) == ("failed", "pending")


def test_a_green_run_is_green_in_every_format(place: Place) -> None:
    write_run(place, ["a.py::one"], [("a.py::one", "PASS", {})])

    report = check(Archive(place.state_dir), "run")

    assert [*github.commands(report)] == []
    assert [case.attrib["name"] for case in junit(report).iter("testcase")] == ["one"]


@pytest.mark.parametrize("run_id", ["one", "two", "dead", "live"])
def test_hostile_names_and_texts_are_inert(place: Place, run_id: str) -> None:
    write_hostile_runs(place)

    report = check(Archive(place.state_dir), run_id)

    root = junit(report)
    assert len([*root.iter("testcase")]) >= len(NAMES)
    names = {test["name"] for test in json.loads(written(report, "ctrf"))["results"]["tests"]}
    assert any(NAMES["fine"].endswith(name) for name in names)  # JSON holds any text: nothing is lost


def test_what_means_something_to_xml_is_text(place: Place) -> None:
    text = "]]> <script>alert(1)</script> & \" ' &amp; <!-- <![CDATA[ \ufffe \udcff \x00\x1b\x85\u2028\t|\r\n\r."
    # A journal's own writer makes text of a lone surrogate.
    shown = text.replace("\udcff", "\\udcff")
    name = "a.py::t[" + text.replace("::", "") + "]"
    report = write_run(place, [name], [(name, "FAIL", {"error": {"message": text, "stack": text}})], exit_code=1)

    root = junit(check(Archive(place.state_dir), "run"))

    (failure,) = (case for case in root.iter("failure"))
    plain = (
        shown.replace("\ufffe", "\\ufffe").replace("\x00", "\\x00").replace("\x1b", "\\x1b").replace("\x85", "\\x85")
        .replace("\u2028", "\\u2028").replace("\r\n", "\n").replace("\r", "\\x0d")
    )  # fmt: skip
    assert failure.attrib["message"] == plain
    assert failure.text == plain
    assert len(report.tests) == 1


def test_commands_of_a_workflow_in_a_text_are_no_commands(place: Place) -> None:
    stack = "::error::forged\n  ::stop-commands::x\n##[add-mask]y\nE  no"
    name = "::set-output name=a::b%0A\n::error::c"
    error = {"message": stack, "stack": stack, "location": "/r/a,b:c.py:7"}
    report = write_run(place, [f"a.py::t[{name}]"], [(f"a.py::t[{name}]", "FAIL", {"error": error})], exit_code=1)

    check(Archive(place.state_dir), "run")

    (line,) = github.commands(report)
    assert line.startswith(
        "::error file=a%2Cb%3Ac.py,line=7,title=%3A%3Aerror%3A%3Aforged::a.py::t[::set-output name=a::b%250A\\n"
    )
    assert line.count("\n") == 0
    text = written(report, "github")
    assert "\n\\::error::forged\n  \\::stop-commands::x\n#\\#[add-mask]y\n" in text


def test_errors_are_annotated_by_cause_the_most_frequent_first(place: Place) -> None:
    cases: Cases = []
    for cause in range(14):
        error = {"message": f"assert {'x' * cause}", "location": f"/r/sub/{cause}.py:{cause + 1}", "stack": "E"}
        cases += [(f"a.py::t{cause}_{number}", "FAIL", {"error": error}) for number in range(cause + 1)]
    report = write_run(place, names_of(cases), cases, exit_code=1)

    lines = [*github.commands(report, {"GITHUB_WORKSPACE": "/r/sub"})]

    assert len(lines) == 10
    assert lines[0].startswith("::error file=13.py,line=14,title=assert xxxxxxxxxxxxx (14 failures)::a.py::t13_0%0A")
    assert lines[-1].endswith("%0Aand 10 failures of 4 rarer causes")


def test_how_the_run_ended_is_one_of_the_errors_that_are_shown(place: Place) -> None:
    cases: Cases = []
    for cause in range(12):
        error = {"message": "no", "location": f"/r/{cause}.py:1"}
        cases.append((f"a.py::t{cause}", "FAIL", {"error": error}))
    write_run(place, [*names_of(cases), "a.py::never"], cases, exit_code=1)

    lines = [*github.commands(check(Archive(place.state_dir), "run"))]

    assert len(lines) == 10
    assert lines[0].startswith("::error title=Run run is incomplete::")
    assert lines[-1].endswith("%0Aand 3 failures of 3 rarer causes")


def test_an_error_outside_the_checkout_is_annotated_at_its_test(place: Place) -> None:
    error = {**ERROR, "location": "/usr/lib/python3/site-packages/other.py:9"}
    report = write_run(place, ["a.py::t"], [("a.py::t", "FAIL", {"error": error})], exit_code=1)

    (line,) = github.commands(report, {})

    assert line.startswith("::error file=a.py,title=")


def test_a_summary_keeps_within_its_room_and_says_what_is_left_out(place: Place) -> None:
    cases: Cases = []
    for number in range(500):
        error = {
            "message": f"{'abcdefghij'[number % 10]}{'x' * number}",
            "stack": "s" * 4000,
            "location": f"/r/{number}.py:1",
        }
        cases.append((f"a.py::t{number}", "FAIL", {"error": error}))
    report = write_run(place, names_of(cases), cases, exit_code=1)

    text = written(report, "github")

    assert len(text.encode()) <= github.SUMMARY_LIMIT
    assert "more blocks are left out: `threepio failures run --all`" in text
    assert text.count("</details>") == text.count("<details>")


def test_a_report_of_no_journal_at_all(place: Place) -> None:
    write_journal(place.state_dir, "torn", [b"\x00\xffno line\n"])

    check(Archive(place.state_dir), "torn")
