"""The latest run is a short one, and others go on: `status` says so, with a daemon and without."""

from __future__ import annotations

import json

import pytest

from tests.commands import Call
from tests.place import Place, wait_until
from tests.scripted import living, run_lines, write_journal
from tests.two_runs import write_run

LINE = "also: run long is {state} (2 of 2 in /somewhere): threepio status long"


@pytest.fixture(params=["daemon", "files"])
def several(request: pytest.FixtureRequest, place: Place) -> Place:
    """A run that goes on, one that died, and two that were begun after them."""
    write_journal(place.state_dir, "long", run_lines("long", 2, identity=living(), exit_code=None))
    write_journal(place.state_dir, "dead", run_lines("dead", 2, exit_code=None))
    write_run(place, "first", 1, [("t.py::test_it", "FAIL", {})])
    for number in range(2, 15):
        write_run(place, f"short-{number}", number, [("t.py::test_it", "PASS", {})])
    write_run(place, "short", 15, [("t.py::test_it", "PASS", {})])
    if request.param == "daemon":
        place.start_daemon()
        wait_until(lambda: len(json.loads(place.threepio("runs", "--json").stdout)["runs"]) == 17)
    return place


def test_the_latest_run_is_not_the_only_one_that_is_told_of(several: Place, call: Call) -> None:
    text, as_json = call(several, "status"), call(several, "status", "--json")

    state = "detached" if "detached" in text.stdout else "running"  # a daemon has no connection to it
    assert text.stdout.startswith("run short: passed")
    assert text.stdout.splitlines()[-1] == f"  {LINE.format(state=state)}"
    assert f"threepio: {LINE.format(state=state)}\n" in as_json.stderr
    assert json.loads(as_json.stdout)["run_id"] == "short"
    assert text.exit_code == as_json.exit_code == 0


@pytest.mark.parametrize("reference", ["short", "first", "long", "dead"])
def test_who_asks_for_a_run_is_told_of_that_one(several: Place, call: Call, reference: str) -> None:
    assert "also: run" not in call(several, "status", reference).stdout


def test_a_run_that_goes_on_is_no_other_one(place: Place, call: Call) -> None:
    write_run(place, "before", 0, [("t.py::test_it", "PASS", {})])
    write_journal(place.state_dir, "long", run_lines("long", 2, identity=living(), exit_code=None))

    assert "also: run" not in call(place, "status", "long").stdout + call(place, "status").stdout


def test_other_runs_of_its_command_are_told_with_what_became_of_them(place: Place, call: Call) -> None:
    write_run(place, "tox", 1, [("t.py::test_it", "PASS", {})], command_id="a")
    write_run(place, "tox-2", 2, [("t.py::test_it", "PASS", {})], command_id="a")

    assert "also: run" not in call(place, "status").stdout
