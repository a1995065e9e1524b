"""`threepio wait`: the right exit code at the end, at the first failure, and at the limit."""

from __future__ import annotations

import json
import subprocess
from contextlib import nullcontext

import pytest

from tests.commands import Call
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import living, run_lines, write_journal
from threepio_client.cli import wait

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

    def __init__(self) -> None:
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
        }


def test_a_run_that_begins_meanwhile_is_another_one(place: Place, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Changing()
    monkeypatch.setattr(wait, "open_source", lambda: nullcontext(source))

    result = call(place, "wait", "--json")

    assert source.asked == ["latest", "first", "first"]
    assert (result.exit_code, json.loads(result.stdout)["run_id"]) == (1, "first")
