"""`threepio wait`: the right exit code at the end, at the first failure, and at the limit."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
import time
from contextlib import nullcontext

import pytest

from tests.commands import Call
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import STARTED, living, run_lines, write_journal
from tests.two_runs import restamped
from threepio_client.cli import ending, wait
from threepio_client.paths import StateDir

GATED = """
import os, time
def gate(name):
    open(name + ".reached", "w").close()
    while not os.path.exists(name): time.sleep(0.01)
def test_first(): gate("first")
def test_fails(): assert 0
def test_last(): gate("last")
"""


@pytest.mark.parametrize(("exit_code", "answer"), [(0, 0), (1, 1)])
def test_a_run_that_is_over_is_not_waited_for(place: Place, call: Call, exit_code: int, answer: int) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 2, exit_code=exit_code))

    result = call(place, "wait", "run", "--json")

    assert result.exit_code == answer
    assert json.loads(result.stdout)["run_id"] == "run"


LATE = """
import os, time
def pytest_terminal_summary():
    while not os.path.exists("asked"): time.sleep(0.01)
    time.sleep(0.3)
    raise RuntimeError("broke")
"""


def test_a_run_that_passed_is_waited_for_until_its_process_has_said_its_code(place: Place) -> None:
    place.suite(LATE, "conftest.py")
    place.suite("def test_one(): pass")
    suite = place.start_pytest("-q", THREEPIO_RUN_ID="run")
    wait_until(lambda: place.state_dir.journal("run").exists() and place.status("run")["state"] == "passed")
    (place.path / "asked").touch()

    done = place.threepio("wait", "run")

    suite.communicate(timeout=COMMAND_TIMEOUT_S)
    assert (suite.returncode, done.returncode) == (1, 1)
    assert "the runner ended with exit code 1, though no test failed" in done.stdout


def test_a_runner_that_prints_its_summary_for_long_has_not_ended(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.suite(LATE, "conftest.py")
    place.suite("def test_one(): pass")
    suite = place.start_pytest("-q", THREEPIO_RUN_ID="run")
    wait_until(lambda: place.state_dir.journal("run").exists() and place.status("run")["state"] == "passed")
    monkeypatch.setattr(ending, "ENDING_S", 0.0)  # as if it had been that long ago

    within = call(place, "wait", "run", "--max", "0s")
    (place.path / "asked").touch()
    afterwards = call(place, "wait", "run")
    suite.communicate(timeout=COMMAND_TIMEOUT_S)

    assert (within.exit_code, within.stdout.splitlines()[0]) == (3, "run run: passed")
    assert "it is over, and pytest has yet to say with what code it ends" in within.stderr
    assert afterwards.exit_code == 1


def test_a_process_that_lives_on_after_its_session_is_not_waited_for(place: Place, call: Call) -> None:
    place.suite("def test_one(): pass")
    place.suite("import pytest, time\npytest.main(['-q'])\nprint('over', flush=True)\ntime.sleep(3600)", "notebook.py")
    process = subprocess.Popen(
        [*place.python, "notebook.py"],
        env={**place.environ, "THREEPIO_RUN_ID": "run"},
        cwd=place.path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert any(line == "over\n" for line in process.stdout)
        done = call(place, "wait", "run", "--max", "0s")
    finally:
        process.kill()
        process.communicate()

    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("longest", ["", "x", "5 parsecs", "-1s", "1w"])
def test_a_limit_that_is_no_time_is_a_usage_error(place: Place, call: Call, longest: str) -> None:
    result = call(place, "wait", "--max", longest)

    assert result.exit_code == 2
    assert "30s, 9m, 1h or 30d" in result.stderr


def test_a_run_that_is_not_there(place: Place, call: Call) -> None:
    assert call(place, "wait").exit_code == 4
    later = call(place, "wait", "later", "--max", "0.5s")
    assert (later.exit_code, later.stderr.count("; waiting for one to begin that is named so\n")) == (4, 1)


def test_the_beginning_of_an_id_is_no_run_that_is_over(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "unit-old", run_lines("unit-old", 2))

    result = call(place, "wait", "unit", "--max", "0.5s")

    assert result.exit_code == 4
    assert "no run is named 'unit'; unit-old begins with it, and is over; waiting for one" in result.stderr


def test_the_beginning_of_an_id_is_a_run_that_goes_on(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "unit-now", run_lines("unit-now", 2, exit_code=None, identity=living()))

    assert call(place, "wait", "unit", "--max", "0s").exit_code == 3


@pytest.mark.parametrize("has_daemon", [True, False])
def test_the_limit_the_first_failure_and_the_end(place: Place, has_daemon: bool) -> None:
    if has_daemon:
        place.start_daemon()
    place.suite(GATED)
    ends = start_wait(place, "live")  # of a run that has not begun
    suite = place.start_pytest("-q", THREEPIO_RUN_ID="live")
    wait_until((place.path / "first.reached").exists)
    limited = place.threepio("wait", "--max", "0s")
    fails = start_wait(place, "--until", "first-failure")
    (place.path / "first").touch()
    failed, _ = fails.communicate(timeout=COMMAND_TIMEOUT_S)
    still = suite.poll()
    (place.path / "last").touch()
    ended, _ = ends.communicate(timeout=COMMAND_TIMEOUT_S)
    suite.communicate(timeout=COMMAND_TIMEOUT_S)

    assert (limited.returncode, fails.returncode, ends.returncode) == (3, 1, 1)
    assert still is None
    assert "run live: running" in limited.stdout
    assert "1 failed" in failed
    assert "run live: failed" in ended


def start_wait(place: Place, *arguments: str) -> subprocess.Popen[str]:
    command = [*place.python, "-m", "threepio_client.cli", "wait", *arguments]
    return subprocess.Popen(command, env=place.environ, stdout=subprocess.PIPE, text=True)


class Changing:
    """A source in which another run begins while the latest one is waited for."""

    def __init__(self, state_dir: StateDir) -> None:
        self.state_dir = state_dir
        self.asked: list[str] = []

    def status(self, reference: str) -> dict[str, object]:
        self.asked.append(reference)
        run_id = reference if reference != "latest" else ("first", "later")[len(self.asked) > 1]
        is_over = run_id == "later" or len(self.asked) > 2
        return {
            "run_id": run_id,
            "state": ("failed" if is_over else "running"),
            "counts": {},
            "rootdir": "",
            "started": 0.0,
            "command_id": None,
        }

    def say_newer(self) -> None: ...

    def say_what_came_later(self, _started: float) -> None: ...


def test_a_run_that_begins_meanwhile_is_another_one(place: Place, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Changing(place.state_dir)
    monkeypatch.setattr(wait, "open_source", lambda: nullcontext(source))

    result = call(place, "wait", "--json")

    assert source.asked == ["latest", "first", "first"]
    assert (result.exit_code, json.loads(result.stdout)["run_id"]) == (1, "first")


def start_command(place: Place, line: str, **environ: str) -> subprocess.Popen[str]:
    command = [*place.python, "-m", "threepio_client.cli", "run", "--", "sh", "-c", line]
    return subprocess.Popen(
        command, env={**place.environ, **environ}, cwd=place.path, stdout=subprocess.PIPE, text=True
    )


UNTIL_GO = "touch reached; until test -e go; do sleep 0.01; done; "


def test_a_command_that_is_about_to_begin_a_run_has_the_latest_one(place: Place) -> None:
    write_journal(place.state_dir, "older", run_lines("older", 2))
    place.suite("def test_one(): assert 0")
    command = start_command(place, f"{UNTIL_GO}{shlex.join(place.python)} -m pytest -q", THREEPIO_RUN_ID="new")
    wait_until((place.path / "reached").exists)
    waiting = start_wait(place)
    answer, failures = place.threepio("status"), place.threepio("failures")
    (place.path / "go").touch()
    told, _ = waiting.communicate(timeout=COMMAND_TIMEOUT_S)
    command.communicate(timeout=COMMAND_TIMEOUT_S)

    assert "run older: passed" in answer.stdout
    assert [
        line for done in (answer, failures) for line in done.stderr.splitlines() if "another directory" not in line
    ] == ["threepio: a later command has not begun its run yet: threepio wait new"] * 2
    assert (waiting.returncode, told.splitlines()[0].startswith("run new: failed")) == (1, True)


@pytest.mark.parametrize("reference", ["new", "latest"])
def test_a_command_that_ended_without_a_run_is_not_waited_for(place: Place, call: Call, reference: str) -> None:
    write_journal(place.state_dir, "older", run_lines("older", 2))
    command = start_command(place, f"{UNTIL_GO}echo no module named torch; exit 3", THREEPIO_RUN_ID="new")
    wait_until((place.path / "reached").exists)
    threading.Timer(0.5, (place.path / "go").touch).start()

    result = call(place, "wait", reference, "--max", "60s")
    command.communicate(timeout=COMMAND_TIMEOUT_S)

    output = place.state_dir.output("new")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.splitlines()[-2:] == [
        f"threepio: the command has ended and no run began; all that it printed: {output}",
        "  no module named torch",
    ]


@pytest.mark.parametrize("reference", ["new", "latest"])
def test_a_command_that_has_not_begun_its_run_at_the_limit_is_no_older_run(
    place: Place, call: Call, reference: str
) -> None:
    write_journal(place.state_dir, "older", run_lines("older", 2))
    command = start_command(place, f"exec >log 2>&1; {UNTIL_GO}", THREEPIO_RUN_ID="new")
    wait_until((place.path / "reached").exists)

    result = call(place, "wait", reference, "--max", "0.5s")
    (place.path / "go").touch()
    command.communicate(timeout=COMMAND_TIMEOUT_S)

    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines() == [
        "threepio: waiting for the run new, which a command is about to begin",
        "threepio: the command of run new goes on, and has not begun its run yet",
    ]


def test_a_command_that_began_before_the_latest_run_is_another_one(place: Place, call: Call) -> None:
    command = start_command(place, UNTIL_GO, THREEPIO_RUN_ID="server")
    wait_until((place.path / "reached").exists)
    lines = [restamped(line, time.time() + 1 - STARTED) for line in run_lines("later", 2)]
    write_journal(place.state_dir, "later", lines)
    wait_until(
        lambda: call(place, "status").stdout.startswith("run later: passed")
    )  # else the daemon knows of no run yet

    result = call(place, "wait")
    (place.path / "go").touch()
    command.communicate(timeout=COMMAND_TIMEOUT_S)

    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "run later: passed")


def test_a_command_that_is_started_right_now_is_waited_for(place: Place) -> None:
    write_journal(place.state_dir, "older", run_lines("older", 2))
    place.suite("def test_one(): assert 0")
    waiting = start_wait(place)  # is the first to be there
    command = start_command(place, f"{shlex.join(place.python)} -m pytest -q", THREEPIO_RUN_ID="new")
    told, _ = waiting.communicate(timeout=COMMAND_TIMEOUT_S)
    command.communicate(timeout=COMMAND_TIMEOUT_S)

    assert (waiting.returncode, told.splitlines()[0].startswith("run new: failed")) == (1, True), told


@pytest.mark.parametrize("has_daemon", [True, False])
def test_a_command_that_begins_several_runs_is_waited_for_to_its_end(place: Place, has_daemon: bool) -> None:
    if has_daemon:
        place.start_daemon()
    place.suite("def test_one(): pass\ndef test_two(): assert 0")
    pytest_ = f"{shlex.join(place.python)} -m pytest -q"
    line = f"{pytest_} -k one; {UNTIL_GO}{pytest_} -k two; until test -e end; do sleep 0.01; done"
    command = start_command(place, line, THREEPIO_RUN_ID="both")
    wait_until((place.path / "reached").exists)
    between = place.threepio("wait", "both", "--max", "0s")
    done, fails = start_wait(place, "both"), start_wait(place, "both", "--until", "first-failure")
    (place.path / "go").touch()
    failed, _ = fails.communicate(timeout=COMMAND_TIMEOUT_S)
    still = done.poll()
    (place.path / "end").touch()
    told, _ = done.communicate(timeout=COMMAND_TIMEOUT_S)
    command.communicate(timeout=COMMAND_TIMEOUT_S)

    assert (between.returncode, between.stdout.splitlines()[0]) == (3, "run both: passed")
    assert between.stderr.splitlines()[-1] == "threepio: it is over, and its command goes on"
    assert (fails.returncode, still, done.returncode) == (1, None, 1)
    assert failed.splitlines()[-1] == told.splitlines()[-1]
    assert told.splitlines()[-1] == "  its command has other runs: both-2 failed; see threepio status both-2"
    assert "is taken already" not in (place.state_dir.output("both")).read_text()


@pytest.mark.parametrize("name", ["", "a/b", "a b"])
def test_what_can_be_no_run_id_is_not_waited_for(place: Place, call: Call, name: str) -> None:
    result = call(place, "wait", name)

    assert result.exit_code == 2
    assert "can be no run id" in " ".join(re.findall(r"\w+", result.stderr))
