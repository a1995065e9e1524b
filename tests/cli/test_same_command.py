"""What is said of the other runs of a command that begins several."""

from __future__ import annotations

import json

import pytest

from tests.commands import Call
from tests.place import Place
from tests.two_runs import write_run


def write_runs(place: Place, command_id: str, runs: dict[str, str]) -> None:
    for run_id, status in runs.items():
        number = len(list(place.state_dir.journals.glob("*.jsonl"))) if place.state_dir.journals.exists() else 0
        write_run(place, run_id, number, [("t.py::test_it", status, {})], command_id=command_id)


@pytest.fixture
def several(place: Place) -> Place:
    """Runs of commands whose names begin alike."""
    write_runs(place, "", {"ci": "PASS"})
    write_runs(place, "a", {"ci-2": "PASS", "ci-3": "FAIL", "ci-4": "PASS"})
    write_runs(place, "b", {"ci-5": "FAIL"})
    write_runs(place, "a", {"ci-6": "PASS", "own-name": "PASS"})
    write_runs(place, "c", {"build-12": "PASS", "build-12-2": "PASS", "build-12-3": "PASS"})
    write_runs(place, "d", {"build-13": "FAIL", "build": "PASS"})
    return place


@pytest.mark.parametrize(
    ("run_id", "said"),
    [
        ("ci", None),
        ("ci-2", "ci-3 failed, ci-4 passed, ci-6 passed, own-name passed; see threepio status ci-3"),
        ("ci-3", "ci-2 passed, ci-4 passed, ci-6 passed, own-name passed"),
        ("own-name", "ci-3 failed, ci-2 passed, ci-4 passed, ci-6 passed; see threepio status ci-3"),
        ("ci-5", None),
        ("build-12", "build-12-2 passed, build-12-3 passed"),
        ("build-12-2", "build-12 passed, build-12-3 passed"),
        ("build-13", "build passed"),
    ],
)
def test_a_run_says_what_became_of_the_others_of_its_command(
    several: Place, call: Call, run_id: str, said: str | None
) -> None:
    text, as_json = call(several, "status", run_id), call(several, "status", run_id, "--json")

    line = f"its command has other runs: {said}"
    assert text.stdout.splitlines()[-1] == f"  {line}" if said else "other runs" not in text.stdout
    assert as_json.stderr == (f"threepio: {line}\n" if said else "")
    assert json.loads(as_json.stdout)["run_id"] == run_id
    assert text.exit_code == as_json.exit_code == (run_id in {"ci-3", "ci-5", "build-13"})


def test_of_many_runs_some_are_named(place: Place, call: Call) -> None:
    write_runs(place, "a", {f"m-{n}" if n > 1 else "m": "FAIL" if n == 12 else "PASS" for n in range(1, 13)})

    line = call(place, "status", "m").stdout.splitlines()[-1]

    assert line == (
        "  its command has other runs: m-12 failed, m-2 passed, m-3 passed, m-4 passed, m-5 passed and 6 more"
        "; see threepio status m-12"
    )


@pytest.mark.parametrize("run_id", ["ci-2", "ci-4"])
def test_who_waits_for_one_run_of_a_command_waits_for_all(several: Place, call: Call, run_id: str) -> None:
    assert call(several, "wait", run_id).exit_code == 1
    assert call(several, "wait", "build-12").exit_code == 0
