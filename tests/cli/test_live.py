"""What `threepio run` says while its command runs."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from contextlib import closing
from typing import Any

import pytest

from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import case, event, made_state_dir, run_lines, write_journal
from threepio_client.archive import Archive
from threepio_client.cli.live import ENOUGH, NOTHING, TimeLeft, line_of, time_left
from threepio_client.events import EventType
from threepio_client.runstate import COUNTS
from threepiod.rebuild import rebuild


def view(finished: int, collected: int | None, duration_s: float, **more: Any) -> dict[str, Any]:
    counts = {**dict.fromkeys(COUNTS, 0), **more.pop("counts", {})}
    return {
        "finished": finished, "collected": collected, "duration_s": duration_s, "in_flight": [], "counts": counts, **more
    }  # fmt: skip


def test_without_an_earlier_run_the_rate_says_how_long_it_will_take() -> None:
    assert NOTHING.seconds(ENOUGH - 1, 100, 5.0) is None
    assert NOTHING.seconds(50, 100, 5.0) == 5.0
    assert NOTHING.seconds(100, 100, 5.0) == 0.0


def test_beyond_what_an_earlier_run_had_the_own_rate_counts() -> None:
    one_slow_test = TimeLeft([4000.0], 4.0)

    assert one_slow_test.seconds(164, 300, 8.2) == pytest.approx(6.8)


def test_only_an_earlier_run_of_comparable_size_is_looked_at(place: Place) -> None:
    state_dir = made_state_dir(place.state_dir.path)
    write_journal(state_dir, "all", run_lines("all", 20))
    write_journal(state_dir, "one", run_lines("one", 1))
    rebuild(state_dir)

    with closing(Archive(state_dir)) as archive:
        assert len(time_left(archive, "/somewhere", 40).cumulated) == 21
        assert len(time_left(archive, "/somewhere", 2).cumulated) == 2
        assert time_left(archive, "/somewhere", 41) is NOTHING


def test_subtests_and_attempts_of_an_earlier_run_are_no_tests_of_their_own(place: Place) -> None:
    state_dir = made_state_dir(place.state_dir.path)
    start, collected, *_ = run_lines("run", 2)
    subtests = [case(number, "a::x", subtest={"message": None, "parameters": {}}) for number in range(3, 13)]
    attempts = [case(14, "a::y", "RERUN", attempt=1, duration=9.0), case(15, "a::y", attempt=2, duration=2.0)]
    end = event(
        16, EventType.RUN_COMPLETE, {"exitCode": 0, "totals": {}, "deselected": 0, "stopped": None, "stats": {}}
    )
    write_journal(state_dir, "run", [start, collected, *subtests, case(13, "a::x", duration=30.0), *attempts, end])
    rebuild(state_dir)

    with closing(Archive(state_dir)) as archive:
        assert time_left(archive, "/somewhere", 2).cumulated == [0.0, 30.0, 32.0]


def test_an_earlier_run_knows_that_the_slow_tests_come_last() -> None:
    earlier = TimeLeft([10.0] * 50 + [1000.0] * 50, 50.5)

    assert earlier.seconds(0, 100, 0.0) == pytest.approx(50.5)
    assert earlier.seconds(50, 100, 0.5) == pytest.approx(50.0)
    assert earlier.seconds(50, 100, 1.0) == pytest.approx(100.0)  # this machine is half as fast


def test_tests_that_the_earlier_run_did_not_have_are_taken_as_long_as_its_others() -> None:
    earlier = TimeLeft([100.0] * 50, 5.0)

    assert earlier.seconds(50, 100, 5.0) == pytest.approx(5.0)
    assert earlier.seconds(60, 100, 6.0) == pytest.approx(4.0)  # by the run's own rate: the others are used up
    assert earlier.seconds(0, 0, 1.0) == 0.0


def test_with_workers_the_earlier_run_took_less_than_the_sum_of_its_tests() -> None:
    assert TimeLeft([100.0] * 100, 2.5).seconds(0, 100, 0.0) == pytest.approx(2.5)


def test_the_line_of_a_run() -> None:
    slots = [{"nodeid": "t.py::quick", "elapsed_s": 0.1}, {"nodeid": "t.py::slow", "elapsed_s": 61.0}]

    assert line_of(view(0, None, 3.0), NOTHING) == "collecting for 3.0 s"
    assert line_of(view(50, 200, 10.0), NOTHING) == "25% 50/200  5/s  none failed  30.0 s left"
    assert line_of(view(5, 200, 1.0, counts={"failed": 1, "errors": 2}, in_flight=slots), NOTHING) == (
        "2% 5/200  5/s  3 failed  t.py::slow (1 min 01 s)"
    )
    assert line_of(view(0, 0, 0.0), NOTHING) == "100% 0/0  0/s  none failed  0.0 s left"


HANGS_AT_ITS_END = """
import os, time
def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        open("over", "w").close()
        while not os.path.exists("go on"): time.sleep(0.01)
        if os.environ.get("KILL"): os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("kill", ["", "1"])
def test_the_verdict_is_said_before_the_command_has_ended(served: Place, kill: str) -> None:
    served.suite("def test_one(): assert 0")
    served.suite(HANGS_AT_ITS_END, "conftest.py")
    environ = {**served.environ, "THREEPIO_RUN_ID": "run", "KILL": kill}
    command = [*served.python, "-m", "threepio_client.cli", "run", "--", *served.python, "-m", "pytest", "-q"]
    process = subprocess.Popen(command, env=environ, cwd=served.path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None

    first = process.stdout.readline()
    was_running = process.poll() is None
    wait_until((served.path / "over").exists)
    (served.path / "go on").touch()
    rest = process.stdout.read()
    process.stdout.close()

    assert first == "run run: failed - tests failed\n"
    assert was_running
    assert rest.count("1x assert 0 at test_it.py:1") == 1
    assert process.wait(COMMAND_TIMEOUT_S) == (137 if kill else 1)
    late = "run run: failed - tests failed; afterwards the process was killed by SIGKILL"
    assert (late in rest) is bool(kill)


def test_a_terminal_has_one_live_line_and_failures_as_they_come(served: Place) -> None:
    served.suite("""
import os, time
def test_fails(): assert 0
def test_waits():
    open("reached", "w").close()
    while not os.path.exists("go on"): time.sleep(0.01)
""")
    master, slave = pty.openpty()
    command = [*served.python, "-m", "threepio_client.cli", "run", "--", *served.python, "-m", "pytest", "-q"]
    process = subprocess.Popen(command, env=served.environ, cwd=served.path, stdout=slave, stderr=slave)
    os.close(slave)
    seen = read_until(master, rb"50% 1/2  \S+/s  1 failed.*test_waits")
    (served.path / "go on").touch()
    seen += read_until(master, rb"full output: .*\n")
    assert process.wait(COMMAND_TIMEOUT_S) == 1
    os.close(master)

    text = seen.decode()
    assert text.count("FAIL test_it.py::test_fails\r\n") == 1
    assert re.search(r"\r\x1b\[Krun \w+: failed - tests failed\r\n", text)  # the live line is gone before


def read_until(fd: int, pattern: bytes) -> bytes:
    """Return what a terminal shows until the pattern is in it."""
    seen = b""
    while not re.search(pattern, seen):
        assert select.select([fd], [], [], COMMAND_TIMEOUT_S)[0], seen
        seen += os.read(fd, 65536)
    return seen
