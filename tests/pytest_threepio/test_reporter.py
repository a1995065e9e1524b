"""What the reporter records of a suite, by comparison with the same suite without it: see `tests/suites/checker.py`."""

from __future__ import annotations

import pytest

from tests.suites.checker import SUITE, Checker

MIXED = """
import unittest
import warnings
import pytest

class TestGroup:
    @pytest.mark.parametrize("value", ["a::b", "c"])
    def test_values(self, value):
        warnings.warn("look")

    class TestInner:
        def test_same(self): pass

class TestOther:
    def test_same(self): pass

def test_same(): pass

def test_fails():
    print("printed by the test")
    assert 1 == 2

@pytest.mark.skip(reason="not today")
def test_skipped(): pass

def test_skips_itself(): pytest.skip("in the middle")

@pytest.fixture
def skips(): pytest.skip("in setup")

def test_skipped_in_setup(skips): pass

@pytest.mark.xfail(reason="known")
def test_xfails(): assert False

@pytest.mark.xfail(reason="never run", run=False)
def test_xfail_not_run(): assert False

@pytest.mark.xfail
def test_xpasses(): pass

@pytest.mark.xfail(strict=True, reason="must fail")
def test_strict_xpass(): pass

@pytest.fixture
def broken(): raise ValueError("no fixture")

def test_setup_error(broken): pass

@pytest.mark.xfail(reason="setup is known to break")
def test_xfail_in_setup(broken): pass

@pytest.fixture
def breaks_later():
    yield
    raise ValueError("no teardown")

def test_teardown_error(breaks_later): pass

def test_both_errors(breaks_later): assert False

class TestUnit(unittest.TestCase):
    @unittest.skip("unit skip")
    def test_skip(self): pass

    @unittest.expectedFailure
    def test_expected(self): self.fail("expected")

    def test_pass(self): pass
"""
FOUR = """
import pytest
@pytest.mark.parametrize("n", range(4))
def test_n(n): assert n % 2
"""


@pytest.mark.parametrize("arguments", [("-rA",), ("-q", "--tb=no"), ("-s", "-v", "--tb=short"), ("-p", "no:capture")])
def test_every_kind_of_outcome(compare: Checker, arguments: tuple[str, ...]) -> None:
    done = compare.run(MIXED, *arguments)

    assert (done.exit_code, done.status["state"]) == (1, "failed")
    assert done.status["collected"] == done.status["finished"] == 20
    assert done.status["never_ran"] == 0
    outcomes = {nodeid.removeprefix(f"{SUITE}::"): statuses for nodeid, statuses in done.outcomes().items()}
    assert outcomes == {
        "TestGroup::test_values[a::b]": ["PASS"],
        "TestGroup::test_values[c]": ["PASS"],
        "TestGroup::TestInner::test_same": ["PASS"],
        "TestOther::test_same": ["PASS"],
        "test_same": ["PASS"],
        "test_fails": ["FAIL"],
        "test_skipped": ["SKIP"],
        "test_skips_itself": ["SKIP"],
        "test_skipped_in_setup": ["SKIP"],
        "test_xfails": ["XFAIL"],
        "test_xfail_not_run": ["XFAIL"],
        "test_xpasses": ["XPASS"],
        "test_strict_xpass": ["FAIL"],
        "test_setup_error": ["ERROR"],
        "test_xfail_in_setup": ["XFAIL"],
        "test_teardown_error": ["PASS", "ERROR"],
        "test_both_errors": ["FAIL", "ERROR"],
        "TestUnit::test_skip": ["SKIP"],
        "TestUnit::test_expected": ["XFAIL"],
        "TestUnit::test_pass": ["PASS"],
    }


def test_what_is_said_of_each_outcome(compare: Checker) -> None:
    done = compare.run(MIXED, "-rA")

    failed = done.case("test_fails")
    assert failed["error"]["message"].startswith("assert 1 == 2")
    assert failed["error"]["errorType"] == "AssertionError"
    assert failed["error"]["location"].startswith(f"{done.directory}/{SUITE}:")
    assert "def test_fails" in failed["error"]["stack"]
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


def test_a_slow_teardown_is_kept(compare: Checker) -> None:
    done = compare.run(
        "import time, pytest\n@pytest.fixture\ndef slow():\n    yield\n    time.sleep(0.15)\n"
        "def test_slow(slow): pass\ndef test_quick(): pass"
    )

    (slow,) = done.of_type("testTeardown")
    assert slow["nodeid"] == f"{SUITE}::test_slow"
    assert slow["duration"] >= 100


Files = str | dict[str, str]

STOPPED: dict[str, tuple[Files, tuple[str, ...], int, str, int, int]] = {
    "-x": (FOUR, ("-x",), 1, "maxfail", 1, 3),
    "--maxfail": (FOUR, ("--maxfail=2",), 1, "maxfail", 3, 1),
    "pytest.exit": ("import pytest\ndef test_a(): pass\ndef test_b(): pytest.exit('enough', 7)\ndef test_c(): pass",
                    (), 7, "exit", 1, 2),
    "pytest.exit with 0": ("import pytest\ndef test_a(): pass\ndef test_b(): pytest.exit('fine', 0)\ndef test_c(): pass",
                           (), 0, "exit", 1, 2),
    "KeyboardInterrupt in a test": ("def test_a(): pass\ndef test_b(): raise KeyboardInterrupt\ndef test_c(): pass",
                                    (), 2, "user", 1, 2),
    "KeyboardInterrupt in a fixture": (
        "import pytest\n@pytest.fixture\ndef stop(): raise KeyboardInterrupt\n"
        "def test_a(): pass\ndef test_b(stop): pass\ndef test_c(): pass", (), 2, "user", 1, 2),
    "SIGINT": (
        "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)  # a caller may have it ignored\n"
        "def test_a(): pass\ndef test_b(): os.kill(os.getpid(), signal.SIGINT)\ndef test_c(): pass", (), 2, "user", 1, 2),
    "session.shouldstop": (
        {SUITE: "def test_a(request): request.session.shouldstop = 'a plugin wants it'\ndef test_b(): pass"},
        (), 2, "stop", 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPPED)
def test_a_run_that_was_stopped_is_interrupted(compare: Checker, name: str) -> None:
    files, arguments, exit_code, kind, finished, never_ran = STOPPED[name]

    done = compare.run(files, *arguments)

    assert done.exit_code == exit_code
    assert (done.status["state"], done.status["verdict"]["kind"]) == ("interrupted", kind)
    assert (done.status["finished"], done.status["never_ran"]) == (finished, never_ran)


SKIPPED_MODULE = "import pytest\npytest.skip('not here', allow_module_level=True)\ndef test_one(): pass"
BROKEN = "import nothing_of_this_name"
OTHER: dict[str, tuple[Files, tuple[str, ...], int, str, str]] = {
    "nothing collected": ({"notes.txt": ""}, (), 5, "failed", "no-tests"),
    "all deselected": (FOUR, ("-k", "nothing"), 5, "failed", "no-tests"),
    "some deselected": (FOUR, ("-k", "1 or 3"), 0, "passed", "passed"),
    "missing file": (FOUR, ("missing.py",), 4, "failed", "usage"),
    "missing test": (FOUR, (f"{SUITE}::test_missing",), 4, "failed", "usage"),
    "collection error": ({"test_a.py": BROKEN, "test_b.py": FOUR}, (), 2, "failed", "collection"),
    "going on after a collection error": (
        {"test_a.py": BROKEN, "test_b.py": "def test_fine(): pass"},
        ("--continue-on-collection-errors",), 1, "failed", "tests-failed"),
    "only a collection error": (BROKEN, ("-q",), 2, "failed", "collection"),
    "module-level skip": ({"test_a.py": SKIPPED_MODULE, "test_b.py": "def test_one(): pass"}, (), 0, "passed", "passed"),
    "only a module-level skip": (SKIPPED_MODULE, (), 5, "failed", "no-tests"),
    "warnings": ("import warnings\nwarnings.warn('in import')\ndef test_a(): warnings.warn('in test')", (), 0,
                 "passed", "passed"),
    "doctest": ({"it.py": '"""\n>>> 1 + 1\n2\n"""\ndef fails():\n    """\n    >>> 1\n    2\n    """\n'},
                ("--doctest-modules",), 1, "failed", "tests-failed"),
    "an exit code that a plugin set": (
        {"conftest.py": "def pytest_sessionfinish(session): session.exitstatus = 1", SUITE: "def test_a(): pass"},
        (), 1, "failed", "error"),
    "rootdir elsewhere": ({"below/here/" + SUITE: "def test_a(): pass", "below/pytest.ini": "[pytest]"},
                          ("below/here",), 0, "passed", "passed"),
    "internal error": (
        {"conftest.py": "def pytest_runtest_logfinish(): raise ValueError('a bad plugin')", SUITE: FOUR},
        (), 3, "failed", "internal-error"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_other_ends(compare: Checker, name: str) -> None:
    files, arguments, exit_code, state, kind = OTHER[name]

    done = compare.run(files, *arguments)

    assert done.exit_code == exit_code
    assert (done.status["state"], done.status["verdict"]["kind"]) == (state, kind)


def test_a_collection_error_keeps_its_text(compare: Checker) -> None:
    done = compare.run({"test_a.py": BROKEN, "test_b.py": FOUR})

    (found,) = done.of_type("collectionError")
    assert found["nodeid"] == "test_a.py"
    assert "No module named 'nothing_of_this_name'" in found["error"]["stack"]
    assert done.status["collected"] == done.status["never_ran"] == 4


def test_a_usage_error_has_no_run(compare: Checker) -> None:
    done = compare.run(FOUR, "--no-such-option", has_run=False)

    assert done.exit_code == 4
    assert done.said == []


def test_collecting_alone_runs_nothing(compare: Checker) -> None:
    done = compare.run(FOUR, "--collect-only", "-k", "not 3", counts={"deselected": 1})

    assert done.exit_code == 0
    assert done.outcomes() == {}
    assert (done.status["collected"], done.status["finished"]) == (3, 0)
    assert (done.status["state"], done.status["verdict"]["kind"]) == ("passed", "collect-only")


def test_node_ids_are_by_the_rootdir(compare: Checker) -> None:
    done = compare.run({"below/here/test_a.py": FOUR, "pytest.ini": "[pytest]"}, "-q", cwd="below")

    start = done.of_type("runStart")[0]
    assert (start["cwd"], start["rootdir"]) == (str(done.directory / "below"), str(done.directory))
    assert next(iter(done.outcomes())) == "below/here/test_a.py::test_n[0]"


def test_counts_are_known_where_pytest_prints_none(compare: Checker) -> None:
    usual = compare.run(MIXED)

    for arguments in (("-q", "-q"), ("-p", "no:terminal")):
        done = compare.run(MIXED, *arguments, counts=usual.counts)

        assert done.status["state"] == usual.status["state"]
        assert done.outcomes() == usual.outcomes()


@pytest.mark.parametrize("distribution", ["load", "loadscope", "loadfile", "worksteal"])
def test_workers(compare: Checker, distribution: str) -> None:
    files = {SUITE: MIXED, "test_more.py": FOUR, "test_skip.py": SKIPPED_MODULE}

    done = compare.run(files, "-n", "2", "--dist", distribution, with_workers=True)

    assert done.status["collected"] == done.status["finished"] == 24
    workers = [p.get("worker") for p in done.of_type("testCase") if p["phase"] != "collect"]
    assert len(workers) == 26
    assert set(workers) == {"gw0", "gw1"}
    assert done.case("test_values[a::b]")["parentNames"] == [SUITE, "TestGroup"]


def test_a_worker_that_dies_is_counted_as_pytest_does(compare: Checker) -> None:
    suite = "import os\ndef test_a(): pass\ndef test_dies(): os._exit(3)\ndef test_c(): pass\ndef test_d(): pass"

    done = compare.run(suite, "-n", "2", with_workers=True)

    assert (done.exit_code, done.status["state"]) == (1, "failed")
    assert done.status["verdict"]["kind"] == "tests-failed"
    dead = done.case("test_dies")
    assert dead["status"] == "FAIL"
    assert dead["phase"] == "call"
    assert "crashed while running" in dead["error"]["message"]
    assert done.status["finished"] == done.status["collected"] == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_reruns_are_attempts_of_one_test(compare: Checker, workers: int) -> None:
    suite = """
import pathlib
def test_flaky():
    path = pathlib.Path("attempts")
    n = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (n + 1))
    assert n == 2
def test_hopeless(): assert False
"""
    done = compare.run(suite, "--reruns", "2", *(("-n", str(workers)) if workers else ()), with_workers=bool(workers))

    assert done.outcomes() == {
        f"{SUITE}::test_flaky": ["RERUN", "RERUN", "PASS"],
        f"{SUITE}::test_hopeless": ["RERUN", "RERUN", "FAIL"],
    }
    attempts = [p.get("attempt", 1) for p in done.of_type("testCase") if p["testName"] == "test_flaky"]
    assert attempts == [1, 2, 3]
    assert done.status["finished"] == done.status["collected"] == 2


SUBTESTS = """
import unittest, pytest
def test_parts(subtests):
    for i in range(3):
        with subtests.test("part", i=i):
            if i == 2: pytest.skip("no")
            assert i != 1
class TestUnit(unittest.TestCase):
    def test_parts(self):
        for i in range(4):
            with self.subTest("unit", i=i):
                if i == 3: self.skipTest("no")
                self.assertNotEqual(i, 1)
    def test_all_pass(self):
        with self.subTest(i=1): pass
"""


@pytest.mark.parametrize("arguments", [(), ("-q",), ("-n", "2")], ids=["usual", "quiet", "workers"])
def test_subtests(compare: Checker, arguments: tuple[str, ...]) -> None:
    pytest.importorskip("_pytest.subtests", reason="subtests came with pytest 9")

    done = compare.run(SUBTESTS, *arguments, with_workers="-n" in arguments)

    assert done.status["finished"] == done.status["collected"] == 3
    skipped = "skipped" if "-q" in arguments else "subtests_skipped"  # where pytest says that it counts them
    assert done.counts == {"passed": 2, "failed": 3, "subtests_passed": 4, skipped: 2}
    if "-n" not in arguments:  # by the way from a worker, pytest quotes the parameters once more
        parts = [p["subtest"] for p in done.of_type("testCase") if "subtest" in p]
        assert {"message": "part", "parameters": {"i": "1"}} in parts
        assert {"message": "unit", "parameters": {"i": "1"}} in parts


@pytest.mark.parametrize("arguments", [(), ("-q",), ("-q", "-n", "2")], ids=["usual", "quiet", "workers"])
def test_subtests_of_an_attempt_that_is_repeated(compare: Checker, arguments: tuple[str, ...]) -> None:
    pytest.importorskip("_pytest.subtests", reason="subtests came with pytest 9")

    done = compare.run(SUBTESTS, "--reruns", "2", *arguments, with_workers="-n" in arguments)

    assert done.status["counts"]["rerun"] == 2
    assert done.status["finished"] == 3
    assert done.of_type("runComplete")[0]["totals"]["failed"] == done.status["counts"]["failed"]
