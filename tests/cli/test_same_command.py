"""What is said of the other runs of a command that begins several."""

from __future__ import annotations

import json
from typing import Any

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


@pytest.mark.parametrize(("command", "code"), [("failures", 0), ("never-ran", 0), ("rerun", 1)])
def test_a_good_answer_about_one_run_says_that_another_one_of_its_command_is_bad(
    several: Place, call: Call, command: str, code: int
) -> None:
    found, other = call(several, command, "ci-4"), call(several, command, "build-12")

    assert "threepio: its command has other runs: ci-3 failed, " in found.stderr
    assert "; see threepio status ci-3" in found.stderr
    assert found.exit_code == code
    assert (other.exit_code, other.stderr) == (0, "")


def test_runs_of_a_command_are_compared_with_those_of_the_one_before(place: Place, call: Call) -> None:
    """A script that runs pytest for one directory after the other, twice."""
    for number, (command, status) in enumerate([("a", "FAIL"), ("b", "PASS")]):
        for part in (1, 2, 3):
            results: list[tuple[str, str, dict[str, Any]]] = [
                (f"p{part}.py::test_it", "FAIL" if part == 1 else status, {})
            ]
            write_run(place, f"{command}{part}", 10 * number + part, results, argv=[f"p{part}.py"], command_id=command)

    said = [call(place, "diff", "", f"b{part}") for part in (1, 2, 3)]

    assert [one.stdout for one in said] == [
        "run b1 against run a1: 1 still failing\n",
        "run b2 against run a2: 1 fixed\nfixed:\n  p2.py::test_it\n",
        "run b3 against run a3: 1 fixed\nfixed:\n  p3.py::test_it\n",
    ]


def test_where_none_of_them_was_called_alike_it_is_the_last_one(place: Place, call: Call) -> None:
    for number, run_id in enumerate(["old", "a1", "a2", "new"]):
        argv = [run_id] if run_id != "old" else ["new"]
        write_run(place, run_id, number, [("t.py::test_it", "PASS", {})], argv=argv, command_id=run_id[0])

    assert call(place, "diff", "", "new").stdout.startswith("run new against run a2: ")
