"""The main job, end to end, with the real commands: a suite runs, ends or dies, and is answered for."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.place import Place, last_line, wait_until

MIXED = """
import warnings
import pytest

class TestGroup:
    @pytest.mark.parametrize("value", ["a::b", "c"])
    def test_values(self, value):
        warnings.warn("look")

def test_fails():
    print("printed by the test")
    assert 1 == 2

@pytest.mark.skip(reason="not today")
def test_skipped(): pass

@pytest.mark.xfail(reason="known")
def test_xfails(): assert False

@pytest.mark.xfail
def test_xpasses(): pass

@pytest.fixture
def broken(): raise ValueError("no fixture")

def test_setup_error(broken): pass

@pytest.fixture
def breaks_later():
    yield
    raise ValueError("no teardown")

def test_teardown_error(breaks_later): pass
"""
MIXED_COUNTS = {
    "passed": 3,
    "failed": 1,
    "errors": 2,
    "skipped": 1,
    "xfailed": 1,
    "xpassed": 1,
    "warnings": 2,
}

WAITING = """
import os, time
import pytest

@pytest.mark.parametrize("number", range(10))
def test_number(number):
    if number == 5:
        open("reached", "w").close()
        while not os.path.exists("go on"):
            time.sleep(0.01)
"""


def counts(view: dict[str, object]) -> dict[str, int]:
    found = view["counts"]
    assert isinstance(found, dict)
    return {name: number for name, number in found.items() if number}


@pytest.mark.parametrize("with_daemon", [True, False], ids=["daemon", "journal only"])
def test_a_run_is_counted_as_pytest_counts(place: Place, with_daemon: bool) -> None:
    if with_daemon:
        place.start_daemon()
    place.suite(MIXED)

    done = place.pytest("-q", "--tb=short", THREEPIO_RUN_ID="mixed")

    assert done.returncode == 1
    assert last_line(done).startswith("1 failed, 3 passed, 1 skipped, 1 xfailed, 1 xpassed, 2 warnings, 2 errors in")
    view = place.status("mixed")
    assert counts(view) == MIXED_COUNTS
    assert (view["state"], view["exit_code"], view["collected"], view["finished"]) == ("failed", 1, 8, 8)
    assert view["source"] == ("daemon" if with_daemon else "journal")
    verified = place.verify("mixed")
    if with_daemon:
        assert verified["whole"], verified
        assert view["events"]["from_socket"] > 0
        assert view["events"]["stored"] == view["events"]["journaled"] == verified["journal_events"]
    else:
        assert verified["missing"] == verified["journal_events"] > 0


def test_a_run_without_a_daemon_is_stored_by_a_later_one(place: Place) -> None:
    place.suite(MIXED)
    place.pytest("-q", THREEPIO_RUN_ID="early")
    before = place.status("early")

    place.start_daemon()
    wait_until(lambda: place.verify("early")["whole"])

    after = place.status("early")
    assert counts(after) == counts(before) == MIXED_COUNTS
    assert after["source"] == "daemon"
    assert after["events"]["from_journal"] == after["events"]["journaled"]


def test_failures_are_named_with_message_and_place(served: Place) -> None:
    served.suite(MIXED)
    served.pytest("-q")

    done = served.threepio("failures")

    assert done.returncode == 1
    assert "in test_it.py::test_fails" in done.stdout
    assert "assert 1 == 2" in done.stdout
    assert "in setup of test_it.py::test_setup_error" in done.stdout
    assert "in teardown of test_it.py::test_teardown_error" in done.stdout


def test_a_green_run_is_green(served: Place) -> None:
    served.suite("def test_one(): pass")
    assert served.pytest("-q").returncode == 0

    done = served.threepio("status")

    assert done.returncode == 0
    assert "passed" in done.stdout
    assert served.threepio("failures").returncode == 0


@pytest.mark.parametrize("with_daemon", [True, False], ids=["daemon", "journal only"])
def test_a_killed_pytest_is_crashed_and_its_test_is_named(place: Place, with_daemon: bool) -> None:
    if with_daemon:
        place.start_daemon()
    place.suite(WAITING)
    process = place.start_pytest("-q", THREEPIO_RUN_ID="killed")
    wait_until((place.path / "reached").exists)
    running = place.status("killed")
    assert running["state"] == "running"
    assert [slot["nodeid"] for slot in running["in_flight"]] == ["test_it.py::test_number[5]"]

    process.kill()
    process.communicate()

    wait_until(lambda: place.status("killed")["state"] == "crashed")
    view = place.status("killed")
    assert [(slot["nodeid"], slot["phase"]) for slot in view["in_flight"]] == [("test_it.py::test_number[5]", "call")]
    assert (view["finished"], view["never_ran"]) == (5, 5)
    assert place.threepio("status", "killed").returncode == 1


def test_a_killed_daemon_changes_nothing_for_the_suite(served: Place) -> None:
    served.suite(WAITING)
    process = served.start_pytest("-q", THREEPIO_RUN_ID="steady")
    wait_until((served.path / "reached").exists)

    served.kill_daemon()
    assert served.status("steady")["source"] == "journal"
    served.start_daemon()
    (served.path / "go on").touch()
    output, _ = process.communicate()

    assert process.returncode == 0, output
    wait_until(lambda: served.verify("steady")["whole"])
    view = served.status("steady")
    assert (view["state"], view["counts"]["passed"]) == ("passed", 10)


def test_a_stopped_daemon_costs_no_more_than_the_budget(served: Place) -> None:
    served.suite("import pytest\n@pytest.mark.parametrize('n', range(3000))\ndef test_n(n): pass")
    pid = served.daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    done = served.pytest("-q", THREEPIO_RUN_ID="patient", THREEPIO_BLOCK_MS="100", THREEPIO_BLOCK_TOTAL_MS="300")
    took = time.monotonic() - start
    os.kill(pid, signal.SIGCONT)

    assert done.returncode == 0
    wait_until(lambda: served.verify("patient")["whole"])
    view = served.status("patient")
    assert view["blocked_ms"] <= 100 + 300
    assert took < 50.0  # a suite that waited for each event would take 300 s
    assert view["events"]["spilled"] > 0


def test_an_exit_in_a_test_is_never_green(place: Place) -> None:
    place.suite("import os\ndef test_one(): pass\ndef test_two(): os._exit(0)\ndef test_three(): pass")

    done = place.threepio("run", "--", *place.python, "-m", "pytest", "-q")

    assert done.returncode == 70, done.stdout + done.stderr
    view = place.status()
    assert (view["state"], view["exit_code"], view["verdict"]["kind"]) == ("crashed", 0, "exit")
    assert [slot["nodeid"] for slot in view["in_flight"]] == ["test_it.py::test_two"]
    assert place.threepio("status").returncode == 1


def test_off_leaves_no_trace(place: Place) -> None:
    place.suite("def test_one(): pass")

    done = place.pytest("-q", THREEPIO="off")

    assert done.returncode == 0
    assert "threepio" not in done.stdout
    assert not (place.path / "state").exists()


def test_workers_are_counted_once_and_named(served: Place) -> None:
    served.suite(MIXED)

    done = served.pytest("-q", "-n", "2", THREEPIO_RUN_ID="two")

    assert done.returncode == 1
    view = served.status("two")
    assert counts(view) == MIXED_COUNTS
    assert view["collected"] == view["finished"] == 8
    workers = {event["payload"]["worker"] for event in served.journal_events("two") if event["eventType"] == "testCase"}
    assert workers <= {"gw0", "gw1"}
    assert workers


def test_reruns_keep_every_attempt(served: Place) -> None:
    served.suite("import os\ndef test_flaky():\n    path = 'again'\n    first = not os.path.exists(path)\n"
                 "    open(path, 'w').close()\n    assert not first")  # fmt: skip

    done = served.pytest("-q", "--reruns", "2", THREEPIO_RUN_ID="flaky")

    assert done.returncode == 0
    view = served.status("flaky")
    assert counts(view) == {"passed": 1, "rerun": 1}
    assert view["finished"] == 1
    attempts = [
        (event["payload"]["status"], event["payload"].get("attempt", 1))
        for event in served.journal_events("flaky")
        if event["eventType"] == "testCase"
    ]
    assert attempts == [("RERUN", 1), ("PASS", 2)]


def test_subtests_are_counted_as_pytest_counts(served: Place) -> None:
    pytest.importorskip("_pytest.subtests", reason="subtests came with pytest 9")
    served.suite(
        "def test_parts(subtests):\n    for i in range(3):\n        with subtests.test(i=i):\n            assert i != 1"
    )

    done = served.pytest("-q", THREEPIO_RUN_ID="parts")

    assert last_line(done).startswith("2 failed, 2 subtests passed in")
    assert counts(served.status("parts")) == {"failed": 2, "subtests_passed": 2}


def test_a_collection_error_is_kept_with_its_text(served: Place) -> None:
    served.suite("import nothing_of_this_name")
    served.suite("def test_one(): pass", "test_other.py")

    done = served.pytest("-q", THREEPIO_RUN_ID="broken")

    assert done.returncode == 2
    view = served.status("broken")
    assert (view["state"], view["counts"]["errors"], view["exit_code"]) == ("failed", 1, 2)
    assert "nothing_of_this_name" in served.threepio("failures", "broken").stdout
