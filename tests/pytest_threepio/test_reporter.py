"""What the reporter says of a suite, beyond what holds for every suite: see `tests/suites`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.place import Place
from tests.suites.checker import DATA, SUITE, Checker
from threepio_client.journal import records

MIXED = (DATA / "mixed" / SUITE).read_text()
FOUR = (DATA / "four" / SUITE).read_text()
GOES_ON = ("--continue-on-collection-errors",)


def said_of(payload: dict[str, Any]) -> tuple[str | None, str, str | None]:
    error = payload["error"]
    return error.get("errorType"), error["message"], error.get("location")


def test_what_is_said_of_each_outcome(compare: Checker) -> None:
    done = compare.run(MIXED, "-rA")

    failed = done.case("test_fails")
    assert failed["error"]["message"].startswith("assert 1 == 2")
    assert failed["error"]["errorType"] == "AssertionError"
    assert failed["error"]["location"].startswith(f"{done.directory}/{SUITE}:")
    assert failed["error"]["stack"].startswith("    def test_fails")
    assert failed["output"] == [["Captured stdout call", "printed by the test\n"]]
    assert (failed["parentNames"], failed["phase"]) == ([SUITE], "call")
    assert done.case("test_values[a::b]")["parentNames"] == [SUITE, "TestGroup"]
    assert [p["parentNames"] for p in done.of_type("testCase") if p["testName"] == "test_same"] == [
        [SUITE, "TestGroup", "TestInner"],
        [SUITE, "TestOther"],
        [SUITE],
    ]
    assert done.case("test_skipped")["skipReason"] == "not today"
    assert done.case("test_skips_itself")["skipReason"] == "in the middle"
    assert done.case("test_skipped_in_setup")["phase"] == "setup"
    assert done.case("test_xfails")["xfailReason"] == "known"
    assert "never run" in done.case("test_xfail_not_run")["xfailReason"]
    assert "must fail" in done.case("test_strict_xpass")["error"]["stack"]
    setup = done.case("test_setup_error")
    assert (setup["phase"], setup["error"]["errorType"]) == ("setup", "ValueError")
    phases = [p["phase"] for p in done.of_type("testCase") if p["testName"] == "test_both_errors"]
    assert phases == ["call", "teardown"]
    for payload in done.of_type("testCase"):
        assert payload["duration"] >= 0
        assert payload["started"] > 1_700_000_000


@pytest.mark.parametrize(
    ("stop", "kind", "text"),
    [
        ("session.shouldstop = 'the quota is used up'", "stop", "the quota is used up"),
        ("session.shouldfail = 'stopping after 1 failures'", "maxfail", "stopping after 1 failures"),
        ("raise KeyboardInterrupt", "user", "<WorkerController gw0> received keyboard-interrupt"),
    ],
)
def test_why_a_worker_stopped_the_session(place: Place, stop: str, kind: str, text: str) -> None:
    place.suite(f"def test_one(request):\n    session = request.session\n    {stop}\ndef test_two(): pass")

    place.pytest("-q", "-n", "1", THREEPIO_RUN_ID="run")

    assert place.journal_events("run")[-1]["payload"]["stopped"].items() >= {"kind": kind, "text": text}.items()


def test_a_test_that_takes_the_working_directory_away_has_its_outcome(place: Place) -> None:
    place.suite(
        "import os, pytest\n"
        "def test_skips(monkeypatch):\n    monkeypatch.setattr(os, 'getcwd', lambda: 1 / 0)\n    pytest.skip('x')"
    )

    place.pytest("-q", THREEPIO_RUN_ID="run")

    found = place.status("run")
    assert (found["state"], found["counts"]["skipped"]) == ("passed", 1)


OF_ITS_OWN = """
import os
def test_both(): pass
if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
    def test_first(): pass
else:
    def test_second(): os._exit(3)
    def test_third(): pass
"""


def test_where_all_run_everything_all_that_any_of_them_collected_is_to_run(place: Place) -> None:
    place.suite(OF_ITS_OWN)

    place.pytest("-q", "-n", "2", "--dist=each", "--max-worker-restart=0", THREEPIO_RUN_ID="run")

    found = place.status("run")
    assert (found["collected"], found["finished"], found["state"]) == (4, 3, "incomplete")
    assert place.threepio("never-ran", "run").stdout == "run run: 1 test never ran\n  test_it.py::test_third\n"


def test_a_session_that_collects_twice_has_each_test_once(place: Place) -> None:
    place.suite("def pytest_collection(session): session.perform_collect()", "conftest.py")
    place.suite("def test_one(): pass\ndef test_two(): pass")

    place.pytest("-q", THREEPIO_RUN_ID="run")

    found = place.status("run")
    assert (found["state"], found["collected"], found["finished"]) == ("passed", 2, 2)


BREAKS_IN_A_FUNCTION = """
class Boom(Exception): pass
def helper(): raise Boom("it broke")
def test_raises(): helper()
def test_asserts(): assert 1 == 2
"""


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native", "no"])
def test_an_error_is_the_same_whatever_pytest_shows_of_it(compare: Checker, style: str) -> None:
    done = compare.run({SUITE: BREAKS_IN_A_FUNCTION, "test_import.py": "{}['key']"}, f"--tb={style}", *GOES_ON)

    assert said_of(done.case("test_raises")) == ("Boom", f"{SUITE[:-3]}.Boom: it broke", f"{done.directory}/{SUITE}:3")
    assert said_of(done.case("test_asserts")) == ("AssertionError", "assert 1 == 2", f"{done.directory}/{SUITE}:5")
    (broken,) = done.of_type("collectionError")
    assert said_of(broken) == ("KeyError", "KeyError: 'key'", f"{done.directory}/test_import.py:1")


IN_UNITTEST = """
import unittest
class TestOld(unittest.TestCase):
    def check(self):
        self.assertEqual(1, 2)
    def test_in_helper(self):
        self.check()
    def test_here(self):
        pass
        self.fail("here")
def test_borrowed():
    unittest.TestCase().assertTrue(False)
"""


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "xdist"])
@pytest.mark.parametrize(
    ("style", "lines"),
    [
        *(
            (style, {"test_in_helper": 5, "test_here": 10, "test_borrowed": 12})
            for style in ("auto", "short", "native")
        ),
        # What pytest says in these has no other place than one in unittest: it is where the test begins.
        *((style, {"test_in_helper": 6, "test_here": 8, "test_borrowed": 11}) for style in ("line", "no")),
    ],
)
def test_an_assertion_of_unittest_is_at_its_test(
    compare: Checker, style: str, lines: dict[str, int], options: tuple[str, ...]
) -> None:
    done = compare.run(
        {f"below/{SUITE}": IN_UNITTEST, "pytest.ini": "[pytest]"}, f"--tb={style}", *options, cwd="below"
    )

    places = {name: done.case(name)["error"]["location"] for name in lines}
    assert places == {name: f"{done.directory}/below/{SUITE}:{line}" for name, line in lines.items()}


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_file_that_cannot_be_imported_says_where(compare: Checker, options: tuple[str, ...]) -> None:
    files = {
        "pytest.ini": "[pytest]\npythonpath = lib",
        "lib/lib.py": "\nimport nothere",
        "lib/broken.py": "\n\ndef f(:",
        "below/test_import.py": "import lib",
        "below/test_syntax.py": "import broken",
    }
    done = compare.run(files, "-q", *GOES_ON, *options, cwd="below")

    found = {payload["nodeid"]: said_of(payload) for payload in done.of_type("collectionError")}
    missing = "ModuleNotFoundError: No module named 'nothere'"
    assert found == {
        "below/test_import.py": ("ModuleNotFoundError", missing, f"{done.directory}/lib/lib.py:2"),
        "below/test_syntax.py": ("SyntaxError", "SyntaxError: invalid syntax", f"{done.directory}/lib/broken.py:3"),
    }


def test_the_session_is_told_from_its_start_to_its_end(compare: Checker) -> None:
    done = compare.run(
        {"a/test_one.py": FOUR, "b/test_one.py": FOUR}, "-q", "--import-mode=importlib", "-k", "n or not n"
    )

    start = done.of_type("runStart")[0]
    assert start["runner"] == {"name": "pytest", "version": pytest.__version__}
    assert (start["cwd"], start["rootdir"]) == (str(done.directory), str(done.directory))
    assert start["argv"][-3:] == ["--import-mode=importlib", "-k", "n or not n"]
    assert [event["type"] for event in done.events[:6]] == [
        "runStart",
        "collectionStart",
        "testGroupDiscovered",
        "testGroupDiscovered",
        "testsCollected",
        "collectionFinish",
    ]
    nodeids = [nodeid for payload in done.of_type("testsCollected") for nodeid in payload["nodeids"]]
    assert nodeids == [f"{d}/test_one.py::test_n[{n}]" for d in "ab" for n in range(4)]
    groups = [payload["groupName"] for payload in done.of_type("testGroupDiscovered")]
    assert groups == ["a/test_one.py", "b/test_one.py"]
    results = done.of_type("testGroupResult")
    assert [result["groupName"] for result in results] == groups
    for result in results:
        tests = [p for p in done.of_type("testCase") if p["parentNames"] == [result["groupName"]]]
        assert (result["status"], result["totals"], result["remaining"]) == ("FAIL", {"FAIL": 2, "PASS": 2}, 0)
        assert result["duration"] == pytest.approx(sum(test["duration"] for test in tests), abs=0.01)
    end = done.events[-1]
    assert end["type"] == "runComplete"
    assert end["payload"]["totals"] == {"passed": 4, "failed": 4}
    assert end["payload"]["stats"]["written"] == len(done.events) - 1


@pytest.mark.parametrize("letter", ["n", "\u00e9", "\u6d4b", "\U0001f600"])
def test_every_test_that_is_to_run_is_told_in_whatever_letters(compare: Checker, letter: str) -> None:
    file = f"test_{letter * (200 // len(letter.encode()))}.py"
    stops = "import pytest\n@pytest.mark.parametrize('n', range(3_000))\ndef test_n(n): assert n"
    done = compare.run({file: stops}, "-x", "-q", state="interrupted", kind="maxfail")

    chunks = [payload["nodeids"] for payload in done.of_type("testsCollected")]
    assert [nodeid for nodeids in chunks for nodeid in nodeids] == [f"{file}::test_n[{n}]" for n in range(3_000)]
    assert done.status["never_ran"] == 2_999


def test_where_all_workers_run_everything_no_failure_of_a_file_stays_unsaid(compare: Checker) -> None:
    fails = "import os\ndef test_one(): pass\ndef test_two(): assert os.environ['PYTEST_XDIST_WORKER'] == 'gw0'"
    done = compare.run(fails, "-n", "2", "--dist=each", with_workers=True)

    results = done.of_type("testGroupResult")
    assert "FAIL" in {result["status"] for result in results}
    assert sum(result["totals"].get("PASS", 0) for result in results) == 3
    assert sum(result["totals"].get("FAIL", 0) for result in results) == 1


REPEATS = """
import pytest
from _pytest.runner import runtestprotocol
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    for _ in range(0 if item.name == "test_never" else {times}):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        runtestprotocol(item, nextitem=nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""
NEVER = "def test_one(): pass\ndef test_two(): pass\ndef test_never(): pass"


@pytest.mark.parametrize("times", [2, 1])
def test_a_protocol_that_repeats_tests_hides_none_that_never_ran(compare: Checker, times: int) -> None:
    files = {"conftest.py": REPEATS.format(times=times), SUITE: NEVER}
    done = compare.run(files, state="incomplete", kind="unfinished", reportlog=False)

    assert (done.status["collected"], done.status["finished"], done.status["never_ran"]) == (3, 2, 1)
    assert done.status["counts"]["passed"] == 2 * times


def test_a_protocol_that_repeats_tests_is_green_where_all_ran(compare: Checker) -> None:
    files = {"conftest.py": REPEATS.format(times=2), SUITE: NEVER.replace("_never", "_three")}
    done = compare.run(files, reportlog=False)

    assert (done.status["state"], done.status["finished"], done.status["counts"]["passed"]) == ("passed", 3, 6)


def test_with_a_protocol_of_its_own_a_test_that_is_given_twice_is_two(compare: Checker) -> None:
    files = {"conftest.py": REPEATS.format(times=1), SUITE: "def test_one(): pass"}
    done = compare.run(files, SUITE, SUITE, "--keep-duplicates", reportlog=False)

    assert (done.status["state"], done.status["collected"], done.status["finished"]) == ("passed", 2, 2)


def test_a_slow_teardown_is_kept(compare: Checker) -> None:
    done = compare.run(
        "import time, pytest\n@pytest.fixture\ndef slow():\n    yield\n    time.sleep(0.15)\n"
        "def test_slow(slow): pass\ndef test_quick(): pass"
    )

    (slow,) = done.of_type("testTeardown")
    assert slow["nodeid"] == f"{SUITE}::test_slow"
    assert slow["duration"] >= 100


def test_node_ids_are_by_the_rootdir(compare: Checker) -> None:
    done = compare.run({"below/here/test_a.py": FOUR, "pytest.ini": "[pytest]"}, "-q", cwd="below")

    start = done.of_type("runStart")[0]
    assert (start["cwd"], start["rootdir"]) == (str(done.directory / "below"), str(done.directory))
    assert next(iter(done.outcomes())) == "below/here/test_a.py::test_n[0]"


BREAKS_THE_PLUGIN = """
import sys, traceback
def boom(*arguments, **named): raise RuntimeError("patched")
def pytest_collection():
    reporter = sys.modules.get("pytest_threepio.reporter")
    if reporter is not None:
        reporter.encode_passed = boom
def pytest_runtest_setup():
    traceback.format_exception = boom  # what would tell where the error was
"""


def test_an_error_of_the_plugin_is_said_and_counted_and_changes_nothing(compare: Checker) -> None:
    done = compare.run(
        {"conftest.py": BREAKS_THE_PLUGIN, SUITE: "def test_one(): pass\ndef test_two(): pass"},
        loses=True,
        state="incomplete",
        kind="unfinished",
        says=("an error in the plugin's pytest_runtest_logreport, please report it: RuntimeError",),
    )

    assert done.exit_code == 0
    assert "2 passed in" in done.output
    assert done.status["finished"] == 1  # the first report is looked at closely, without what is broken here


BREAKS_ONE_HOOK = """
def pytest_collection_modifyitems(config):
    config.hook.pytest_deselected(items=iter(()))  # pytest's own are lists: this one has no length
"""


def test_an_error_of_the_plugin_that_costs_no_event_is_counted_too_and_the_run_is_never_green(compare: Checker) -> None:
    done = compare.run(
        {"conftest.py": BREAKS_ONE_HOOK, SUITE: "def test_one(): pass"},
        loses=True,
        state="incomplete",
        kind="damaged",
        says=("an error in the plugin's pytest_deselected, please report it: ",),
    )

    *_, end = (record.event for record in records(done.place.state_dir.journal(done.run_id)))
    assert end is not None
    assert end.payload["pluginErrors"] == 1
    assert done.exit_code == 0
    assert done.counts == {"passed": 1}
    assert "1 error in the plugin kept something from being reported" in done.status["verdict"]["text"]


RETRIES = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # as pytest-retry does it
    report = yield
    if call.when == "call" and report.failed:
        report.outcome = "retried"
        item.ihook.pytest_runtest_logreport(report=report)
        again = pytest.CallInfo.from_call(item.runtest, when="call")
        report = pytest.TestReport.from_item_and_call(item, again)
    return report

def pytest_report_teststatus(report):
    if report.outcome == "retried":
        return "retried", "R", "RETRY"
"""
FLAKY = """
import itertools
calls = itertools.count()
def test_flaky(): assert next(calls) == 1
def test_fine(): pass
"""


def test_an_attempt_under_a_word_of_a_plugin_is_no_pass(place: Place) -> None:
    place.suite(RETRIES, "conftest.py")
    place.suite(FLAKY)

    done = place.pytest("-q", THREEPIO_RUN_ID="tried")
    shown = json.loads(place.threepio("show", "test_it.py::test_flaky", "--json").stdout)
    status = place.status("tried")

    assert "2 passed, 1 retried in" in done.stdout
    assert [(row["status"], row["attempt"]) for row in shown["results"]] == [("RERUN", 1), ("PASS", 2)]
    assert shown["results"][0]["error"]["message"].startswith("assert 0 == 1")
    assert (status["finished"], status["flaky"], status["counts"]["passed"]) == (2, 1, 2)


def test_a_session_whose_end_breaks_is_not_green(place: Place) -> None:
    place.suite("def test_one(): pass")
    place.suite("def pytest_sessionfinish(): raise RuntimeError('broke')", "conftest.py")

    done = place.pytest("-q", THREEPIO_RUN_ID="broke")
    status = place.threepio("status", "broke")

    assert done.returncode == 1
    assert status.returncode == 1
    assert status.stdout.startswith("run broke: failed - the runner broke: a hook of the session's end did not return")


AGAIN = """
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt(excinfo):
    raise KeyboardInterrupt
"""


RAISES = """
def pytest_runtest_logreport(report):
    if report.failed and report.when == {phase!r}: raise RuntimeError("broke")
"""


@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
def test_a_failure_that_a_hook_of_somebody_breaks_on_is_told(compare: Checker, phase: str) -> None:
    suite = f"""
import pytest
@pytest.fixture
def setup():
    assert {phase != "setup"}
@pytest.fixture
def teardown():
    yield
    assert {phase != "teardown"}
def test_one(setup, teardown): assert {phase != "call"}
def test_two(): pass
"""
    files = {"conftest.py": RAISES.format(phase=phase), SUITE: suite}
    counts = {"failed": 1} if phase == "call" else {"errors": 1} | ({"passed": 1} if phase == "teardown" else {})
    done = compare.run(files, state="failed", kind="internal-error", exit_code=3, reportlog=False, counts=counts)

    assert done.outcomes()[f"{SUITE}::test_one"][-1] == ("FAIL" if phase == "call" else "ERROR")
    assert done.status["never_ran"] == 1


def test_a_file_that_cannot_be_imported_is_told_where_a_hook_of_somebody_breaks_on_it(compare: Checker) -> None:
    conftest = "def pytest_collectreport(report):\n    if report.failed: raise RuntimeError('broke')"
    files = {"conftest.py": conftest, SUITE: "1 / 0"}
    done = compare.run(
        files,
        state="failed",
        kind="internal-error",
        exit_code=3,
        reportlog=False,
        counts={"errors": 1},
        own_output=True,
    )

    assert done.of_type("collectionError")[0]["error"]["message"].startswith("ZeroDivisionError")


LATE_CODES = {
    "wrapper": (
        "@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
        "def pytest_sessionfinish(session):\n    yield\n    session.exitstatus = 3",
        (),
        3,
    ),
    "summary": ("def pytest_terminal_summary(): raise RuntimeError('broke')", (), 1),
    "usage": ("def pytest_sessionfinish(session): session.exitstatus = 0", ("nosuch.py",), 4),
    "exit": ("import sys\ndef pytest_terminal_summary(): sys.exit(7)", (), 7),
    "unconfigure": ("def pytest_unconfigure(): raise RuntimeError('broke')", (), 1),
}


@pytest.mark.parametrize("which", LATE_CODES)
def test_a_code_that_pytest_ends_with_after_all_is_the_run_s(compare: Checker, which: str) -> None:
    hook, arguments, code = LATE_CODES[which]
    files = {"conftest.py": f"import pytest\n{hook}", SUITE: "def test_one(): pass"}
    done = compare.run(
        files,
        *arguments,
        state="failed",
        exit_code=code,
        reportlog=False,
        own_output=which in {"summary", "exit", "unconfigure"},
        counts={} if code == 4 else {"passed": 1},
    )

    assert done.status["exit_code"] == code


def test_an_interrupt_in_the_summary_is_one(place: Place) -> None:
    place.suite("def pytest_terminal_summary(): raise KeyboardInterrupt", "conftest.py")
    place.suite("def test_one(): pass")

    place.pytest(THREEPIO_RUN_ID="run")

    status = place.status("run")
    assert (status["state"], status["exit_code"]) == ("interrupted", 2)


def test_what_a_forked_child_ends_with_is_not_the_run_s(compare: Checker) -> None:
    conftest = """
import os
parent = os.getpid()
def pytest_terminal_summary():
    if os.getpid() != parent: raise RuntimeError("in the child")
"""
    suite = """
import os, pytest
@pytest.mark.filterwarnings("ignore:.*use of fork")  # rerunfailures has a thread
def test_one():
    child = os.fork()
    if child: os.waitpid(child, 0)
"""
    done = compare.run({"conftest.py": conftest, SUITE: suite}, reportlog=False, own_output=True, counts={"passed": 1})

    assert done.status["exit_code"] == 0


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest has no subtests")
def test_subtests_of_several_threads_are_counted_as_pytest_counts_them(compare: Checker) -> None:
    suite = """
from concurrent.futures import ThreadPoolExecutor
def test_one(subtests):
    def one(number):
        with subtests.test(number=number): assert number % 10
    with ThreadPoolExecutor(8) as pool: list(pool.map(one, range(200)))
"""
    files = {SUITE: suite}  # a report log has them in another order
    done = compare.run(files, plugins=("subtests",), state="failed", exit_code=1, own_output=True, reportlog=False)

    counts = {name: number for name, number in done.status["counts"].items() if number}
    assert counts == {"failed": 21, "subtests_passed": 180}


@pytest.mark.parametrize("what", ["subtests", "reruns"])
def test_what_was_told_before_a_hook_broke_is_told_once(compare: Checker, what: str) -> None:
    if what == "subtests" and pytest.version_tuple < (9,):
        pytest.skip("pytest has no subtests")
    conftest = """
def pytest_runtest_logreport(report):
    is_test = report.when == "call" and type(report).__name__ == "TestReport"
    if is_test and report.outcome == OUTCOME: raise RuntimeError("broke")
"""
    subtests = "def test_one(subtests):\n    with subtests.test('a'): assert 0\n    with subtests.test('b'): pass"
    reruns = "tries = []\ndef test_one():\n    tries.append(1)\n    assert len(tries) > 1"
    suite, outcome, arguments = (
        (subtests, "failed", ()) if what == "subtests" else (reruns, "passed", ("--reruns", "2"))
    )
    files = {"conftest.py": conftest.replace("OUTCOME", repr(outcome)), SUITE: suite}
    counts = {"failed": 2, "subtests_passed": 1} if what == "subtests" else {"passed": 1, "rerun": 1}
    plugins = ("subtests",) if what == "subtests" else ("rerunfailures",)
    done = compare.run(
        files,
        *arguments,
        plugins=plugins,
        state="failed",
        kind="internal-error",
        exit_code=3,
        reportlog=False,
        own_output=True,
    )

    assert {name: number for name, number in done.status["counts"].items() if number} == counts


def test_what_was_counted_is_told_where_not_even_the_internal_error_is(place: Place) -> None:
    """As where a test closed the descriptors with which pytest captures output."""
    place.suite(
        """
import pytest
def pytest_runtest_logreport(report):
    if report.failed: raise OSError("cannot write")
@pytest.hookimpl(tryfirst=True)
def pytest_internalerror(): raise OSError("cannot write that either")
""",
        "conftest.py",
    )
    place.suite("def test_one(): pass\ndef test_two(): assert 0\ndef test_three(): pass")

    done = place.pytest("-q", THREEPIO_RUN_ID="run")

    assert done.returncode != 0
    status = place.status("run")
    assert (status["counts"]["passed"], status["counts"]["failed"], status["never_ran"]) == (1, 1, 1)
    assert place.threepio("failures", "run").returncode == 1


@pytest.mark.parametrize("outcome", ["passed", "failed"])
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=" ".join)
def test_what_was_counted_when_ctrl_c_came_is_told(compare: Checker, outcome: str, workers: tuple[str, ...]) -> None:
    conftest = f"""
import pytest
@pytest.hookimpl(trylast=True)  # behind the terminal's
def pytest_runtest_logreport(report):
    is_here = {not workers} or hasattr(report, "node")  # and not in the worker
    if is_here and report.outcome == {outcome!r} and report.when == "call" and "two" in report.nodeid:
        raise KeyboardInterrupt
"""
    suite = f"def test_one(): pass\ndef test_two(): assert {outcome == 'passed'}\ndef test_three(): pass"
    done = compare.run(
        {"conftest.py": conftest, SUITE: suite},
        *workers,
        plugins=("xdist",) if workers else (),
        state="interrupted",
        kind="user",
        exit_code=2,
        reportlog=False,
    )

    assert done.status["counts"][outcome] == (2 if outcome == "passed" else 1)


@pytest.mark.skipif(pytest.version_tuple < (9, 1), reason="pytest has no --max-warnings")
def test_too_many_warnings_are_no_success(compare: Checker) -> None:
    done = compare.run(
        "import warnings\ndef test_one(): warnings.warn('so')", "--max-warnings=0", state="failed", kind="warnings"
    )

    assert (done.status["exit_code"], done.exit_code) == (6, 6)


def test_an_interrupt_while_pytest_takes_note_of_the_first_is_one_too(place: Place) -> None:
    place.suite(AGAIN, "conftest.py")
    place.suite("def test_one(): raise KeyboardInterrupt")

    place.pytest(THREEPIO_RUN_ID="run")

    status = place.status("run")
    assert (status["state"], status["exit_code"], status["verdict"]["kind"]) == ("interrupted", 2, "user")


def test_a_session_called_by_who_handles_an_interrupt_is_not_interrupted(place: Place) -> None:
    place.suite("def test_one(): pass")
    place.suite(
        "import pytest, sys\ntry: raise KeyboardInterrupt\nexcept KeyboardInterrupt: sys.exit(pytest.main(['-q']))",
        "main.py",
    )

    done = place.command("main", THREEPIO_RUN_ID="run")

    assert done.returncode == 0
    assert place.status("run")["state"] == "passed"


def test_a_session_that_only_prints_is_no_run(place: Place) -> None:
    place.suite("def test_one(): pass")

    done = place.command("pytest", "-q", "--cache-show")

    assert done.returncode == 0
    assert "threepio" not in done.stdout
    assert not place.state_dir.journals.exists()


def test_a_test_that_is_given_to_the_next_worker_again_is_finished_once(place: Place) -> None:
    place.suite("import os\ndef test_1(): pass\ndef test_die(): os._exit(3)\ndef test_3(): pass")

    place.pytest("-q", "-n", "2", "--dist", "loadscope", "--max-worker-restart", "2", THREEPIO_RUN_ID="dies")
    status = place.status("dies")

    assert status["state"] == "incomplete"
    assert status["workers_died"] > 1
    assert (status["finished"], status["never_ran"], status["counts"]["passed"]) == (2, 1, 1)


OF_ONE_WORKER = """
import os, pathlib, time
JOURNAL = pathlib.Path(os.environ["THREEPIO_STATE_DIR"], "journals", "run.jsonl")
IS_FIRST = os.environ["PYTEST_XDIST_WORKER"] == "gw0"
def test_1():
    while DIES and IS_FIRST and "crashed while running" not in JOURNAL.read_text():
        time.sleep(0.01)
def test_2():
    if DIES and not IS_FIRST:
        os._exit(3)
def test_3(): pass
"""


@pytest.mark.parametrize("dies", [False, True])
def test_what_every_worker_runs_is_finished_once(place: Place, dies: bool) -> None:
    place.suite(f"DIES = {dies}{OF_ONE_WORKER}")

    place.pytest("--dist=each", "--tx=2*popen", THREEPIO_RUN_ID="run")

    status = place.status("run")
    assert (status["collected"], status["finished"], status["never_ran"]) == (3, 3, 0)
    assert (status["counts"]["passed"], status["counts"]["failed"]) == ((5, 1) if dies else (6, 0))
    assert json.loads(place.threepio("never-ran", "run", "--json").stdout)["collection_finished"]
    assert place.threepio("never-ran", "run").returncode == 0


RENAMED_IN_THE_CONTROLLER = """
import os, pytest
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        report.nodeid = f"for people {report.when}"
"""


def test_a_report_with_a_name_for_people_is_of_the_test_that_a_worker_collected(place: Place) -> None:
    place.suite(RENAMED_IN_THE_CONTROLLER, "conftest.py")
    place.suite("def test_one(): pass\ndef test_two(): assert 0")

    place.pytest("-n", "1", THREEPIO_RUN_ID="run")

    assert (place.status("run")["finished"], place.status("run")["collected"]) == (2, 2)
    assert [failure["nodeid"] for failure in failures_of(place)] == ["test_it.py::test_two"]
    assert place.threepio("never-ran", "run").returncode == 0


PARTS = """
import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    yield
    for name, outcome in (("one", "passed"), ("two", "failed")):
        report = pytest.TestReport(f"{item.nodeid}::{name}", item.location, {}, outcome, "E  no", "call")
        item.ihook.pytest_runtest_logreport(report=report)
"""


def test_parts_of_a_test_that_a_plugin_reports_keep_their_names(place: Place) -> None:
    place.suite(PARTS, "conftest.py")
    place.suite("def test_it(): pass")

    place.pytest(THREEPIO_RUN_ID="run")

    assert [failure["nodeid"] for failure in failures_of(place)] == ["test_it.py::test_it::two"]


DOCTEST = "def f():\n    QQQ\n    >>> f()\n    1\n    QQQ\n    return 2".replace("Q", "'")


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_an_example_in_a_docstring_that_fails_has_its_cause_and_place(place: Place, workers: tuple[str, ...]) -> None:
    place.suite(DOCTEST, "module.py")

    place.pytest("--doctest-modules", *workers, THREEPIO_RUN_ID="run")

    (failure,) = failures_of(place)
    assert failure["nodeid"] == "module.py::module.f"
    error = failure["error"]
    assert (error["errorType"], error["message"]) == ("DocTestFailure", "Expected: 1 Got: 2")
    assert error["location"] == f"{place.path}/module.py:3"


NAMES_FOR_PEOPLE = """
import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    report.nodeid = f"{item.function.__doc__} [{report.when}]"
"""


def test_a_report_with_a_name_for_people_is_of_the_test_that_was_collected(place: Place) -> None:
    place.suite(NAMES_FOR_PEOPLE, "conftest.py")
    place.suite("def test_one():\n  'It adds.'\ndef test_two():\n  'It fails.'\n  assert 0")

    place.pytest(THREEPIO_RUN_ID="run")

    status = place.status("run")
    assert (status["collected"], status["finished"], status["never_ran"]) == (2, 2, 0)
    assert [failure["nodeid"] for failure in failures_of(place)] == ["test_it.py::test_two"]
    assert json.loads(place.threepio("never-ran", "run", "--json").stdout)["never_ran"] == []
    again = place.pytest("--threepio-rerun=run")
    assert "1 failed, 1 deselected" in again.stdout


def failures_of(place: Place) -> list[dict[str, Any]]:
    return list(json.loads(place.threepio("failures", "run", "--json").stdout)["failures"])


AGAIN_AFTER_A_PASS = """
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item):
    report = pytest.TestReport(item.nodeid, item.location, {}, "rerun", None, "call")
    item.ihook.pytest_runtest_logreport(report=report)
"""


def test_a_test_that_a_plugin_runs_again_after_it_passed_is_not_over_with_its_teardown(place: Place) -> None:
    place.suite(AGAIN_AFTER_A_PASS, "conftest.py")
    place.suite("def test_one(): pass")

    place.pytest(THREEPIO_RUN_ID="run")

    (group,) = (found["payload"] for found in place.journal_events("run") if found["eventType"] == "testGroupResult")
    assert (group["totals"], group["remaining"]) == ({"PASS": 1, "RERUN": 1}, 1)


BESIDE_EACH_OTHER = """
import pytest
from _pytest.runner import runtestprotocol
def pytest_runtestloop(session):
    for item in session.items:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for item in session.items:
        runtestprotocol(item, nextitem=None)
    for item in session.items:
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""


def test_tests_that_run_beside_each_other_keep_their_names(place: Place) -> None:
    place.suite(BESIDE_EACH_OTHER, "conftest.py")
    place.suite("def test_one(): assert 0\ndef test_two(): pass\ndef test_three(): assert 0")

    place.pytest(THREEPIO_RUN_ID="run")

    assert place.status("run")["finished"] == 3
    assert [failure["nodeid"] for failure in failures_of(place)] == ["test_it.py::test_one", "test_it.py::test_three"]
