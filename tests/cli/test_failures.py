"""`threepio failures`: what failed, why and where."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.commands import Call
from tests.place import Place, wait_until
from tests.scripted import case, event, run_lines, write_journal
from tests.two_runs import write_run
from threepio_client.events import EventType, Phase
from threepio_client.line import decode, encode


def failing_lines(number: int) -> list[bytes]:
    names = [f"test_it.py::test_{i}" for i in range(number)]
    lines = run_lines("run", 0, nodeids=names, exit_code=None)[:2]
    for seq, name in enumerate(names, start=3):
        error = {"message": f"assert {seq} == 0\nand more", "location": f"test_it.py:{seq}", "stack": "..."}
        lines.append(case(seq, name, "FAIL", error=error))
    end = {"exitCode": 1, "totals": {"failed": number}, "deselected": 0, "stopped": None, "stats": {}}
    return [*lines, event(len(lines) + 1, EventType.RUN_COMPLETE, end)]


def test_failures_of_one_cause_are_one_answer(place: Place, call: Call) -> None:
    lines = failing_lines(50)
    write_journal(place.state_dir, "run", [*lines[:2], *(at_one_place(line) for line in lines[2:])])

    result = call(place, "failures")

    assert result.exit_code == 1
    assert [line.partition(" [")[0] for line in result.stdout.splitlines()] == [
        "run run: failed, 50 failures, 1 cause",
        "50x assert x == 0 at test_it.py:9",
        "    first in test_it.py::test_0",
        "    E assert 3 == 0",
    ]


def at_one_place(line: bytes) -> bytes:
    """Return the line of a failure as of all others, but for its message."""
    found = decode(line.rstrip())
    if found.type == EventType.TEST_CASE:
        stack = ">   assert x == 0\nE   assert 3 == 0"
        found.payload["error"] = {**found.payload["error"], "location": "test_it.py:9", "stack": stack}
    return encode(found.seq, found.type, found.payload, found.timestamp)


def test_each_failure_is_listed_on_demand(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", failing_lines(50))

    short, every = call(place, "failures"), call(place, "failures", "--all")

    assert "50 failures, 50 causes" in short.stdout
    assert every.stdout.count("  FAIL test_it.py::test_") == 50
    assert "  FAIL test_it.py::test_7\n      assert 10 == 0 (test_it.py:10)\n" in every.stdout
    answer = json.loads(call(place, "failures", "--json").stdout)
    assert (len(answer["failures"]), len(answer["causes"])) == (50, 50)


def test_of_one_cause_the_first_failures_are_listed(place: Place, call: Call) -> None:
    lines = failing_lines(50)
    write_journal(place.state_dir, "run", [*lines[:2], *(at_one_place(line) for line in lines[2:])])

    short = call(place, "failures", "--cause", "test_it.py:9")
    every = call(place, "failures", "--cause", "test_it.py:9", "--all")

    assert short.stdout.count("  FAIL test_it.py::test_") == 20
    assert short.stdout.endswith("  and 30 more (--all)\n")
    assert every.stdout.count("  FAIL test_it.py::test_") == 50


def test_a_file_is_found_however_its_path_is_written(
    place: Place, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = tmp_path / "unit"
    unit.mkdir()
    (unit / "test_it.py").touch()
    write_run(place, "run", 1, [("unit/test_it.py::test_x", "FAIL", {})], rootdir=str(tmp_path))
    monkeypatch.chdir(unit)

    found = [
        call(place, "failures", "--file", path).exit_code
        for path in ("unit/test_it.py", "test_it.py", "./test_it.py", ".", str(unit), "unit")
    ]

    assert found == [1] * 6
    assert call(place, "failures", "--file", "other.py").exit_code == 0


def test_a_run_that_failed_without_a_failure_says_why(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 0, exit_code=4))

    result = call(place, "failures")

    assert result.stdout == "run run: failed, nothing failed; the runner was called in a wrong way\n"


@pytest.mark.parametrize("budget", [1, 50, 200, 400, 800, 1200, 1600, 3000, 100_000])
def test_a_budget_is_kept_and_every_failure_is_accounted_for(place: Place, call: Call, budget: int) -> None:
    write_journal(place.state_dir, "run", failing_lines(100))

    text = call(place, "failures", "--budget", str(budget)).stdout

    causes = re.findall(r"^1x assert", text, re.M)
    left_out = re.search(r"^and (\d+) failures of (\d+) rarer causes: threepio failures run$", text, re.M)
    counted = int(left_out[1]) if left_out else 0
    assert len(causes) + counted == 100
    # The smallest answer, its first line and what it leaves out, is given in any case.
    assert len(text.encode()) <= max(budget * 4, 110)
    assert bool(left_out) == (budget <= 400)


def with_errors(errors: list[dict[str, str]]) -> list[bytes]:
    lines = failing_lines(len(errors))
    for number, error in enumerate(errors, start=2):
        found = decode(lines[number].rstrip())
        found.payload["error"] = error
        lines[number] = encode(found.seq, found.type, found.payload, found.timestamp)
    return lines


def test_two_hundred_causes_are_named_within_two_thousand_tokens(place: Place, call: Call) -> None:
    def error(number: int) -> dict[str, str]:
        message = f"FileNotFoundError: [Errno 2] No such file or directory: '/tmp/{number}/{'x' * 60}'"
        return {"message": message, "errorType": "FileNotFoundError", "location": f"/src/module.py:{number}"}

    write_journal(place.state_dir, "run", with_errors([error(number) for number in range(100, 300)]))

    text = call(place, "failures", "--budget", "2000").stdout

    assert len(text.encode()) <= 8000
    named = re.findall(r"^1x FileNotFoundError.*[ /]module.py:(\d+)", text, re.M)
    assert sorted(named) == [str(number) for number in range(100, 300)]
    assert text.count("No such file or directory: '/tmp/") >= 5  # places alone would say nothing


def test_both_sides_of_two_texts_that_differ_are_shown(place: Place) -> None:
    place.suite("def test_it(): assert 'a|b|c|d|same' == 'a|b|x|d|same'")
    place.pytest("-q")

    lines = place.threepio("failures").stdout.splitlines()

    assert [line.strip() for line in lines[-2:]] == ["E - a|b|x|d|same", "E + a|b|c|d|same"]


@pytest.mark.parametrize("options", [(), ("--budget", "900")])
def test_what_tells_causes_of_one_place_apart_is_always_said(
    place: Place, call: Call, options: tuple[str, ...]
) -> None:
    words = [f"{first}{second}" for first in "bcdfghjklm" for second in "aeiou"]
    errors = [
        {
            "message": f"shop.NotSet: none of the places that a setting may come from, and there are many, has {word}",
            "errorType": "NotSet",
            "location": "/src/settings.py:7",
        }
        for word in words
    ]
    write_journal(place.state_dir, "run", with_errors(errors))

    text = call(place, "failures", *options).stdout

    assert "50 failures, 50 causes" in text
    assert [word for word in words if not re.search(rf"(?:…|has ){word}\b", text)] == []


def test_a_name_is_shown_with_its_parameters_whatever_they_hold(place: Place, call: Call) -> None:
    lines = failing_lines(6)  # the last is no more shown with its assertion
    found = decode(lines[7].rstrip())
    found.payload["nodeid"] = "test_it.py::TestIt::test_hostile[a::b]"
    lines[7] = encode(found.seq, found.type, found.payload, found.timestamp)
    write_journal(place.state_dir, "run", lines)

    assert " (test_hostile[a::b])\n" in call(place, "failures").stdout


def test_assertions_whose_values_differ_are_told_in_their_own_words(place: Place, call: Call) -> None:
    errors = [
        {
            "message": f"AssertionError: assert [{values}] == [0]",
            "errorType": "AssertionError",
            "location": "/src/test_it.py:9",
            "stack": f"> assert stock() == [0]\nE AssertionError: assert [{values}] == [0]\nE   \nE   Full diff:",
        }
        for values in ("1", "1, 'a'", "{'a': 1}")
    ]
    write_journal(place.state_dir, "run", with_errors(errors))

    lines = call(place, "failures").stdout.splitlines()

    assert [line.partition(" [")[0] for line in lines[1:3]] == [
        "3x assert stock() ==",
        "    first in test_it.py::test_0",
    ]
    assert lines[3:] == ["    E AssertionError: assert [1] == [0]"]


def test_only_some_failures_are_asked_for(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", failing_lines(12))

    def names(*options: str) -> list[str]:
        found = json.loads(call(place, "failures", *options, "--json").stdout)["failures"]
        return [failure["nodeid"].rpartition("_")[2] for failure in found]

    cause = json.loads(call(place, "failures", "--json").stdout)["causes"][3]["cause"]
    assert names("-k", "test_1") == ["1", "10", "11"]
    assert len(names("--file", "test_it.py")) == 12
    assert names("--file", "test_i") == []
    assert names("--cause", cause) == ["3"]
    assert names("--cause", "test_it.py:14") == ["11"]
    assert names("--cause", "it.py:14") == []
    assert names("--since", "run") == []
    none = call(place, "failures", "-k", "nothing")
    assert (none.exit_code, none.stdout) == (0, "run run: failed, none of its 12 failures is like that\n")
    some = call(place, "failures", "--cause", cause)
    assert some.stdout.splitlines()[0] == "run run: failed, 1 failure of 12, 1 cause"


def test_a_run_in_which_nothing_failed_is_exit_code_0(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 3))

    result = call(place, "failures")

    assert (result.exit_code, result.stdout) == (0, "run run: passed, nothing failed\n")


def test_errors_of_collection_setup_and_teardown_are_failures_too(place: Place, call: Call) -> None:
    lines = run_lines("run", 0, nodeids=["a.py::one", "a.py::two"], exit_code=None)[:2]
    lines += [
        event(3, EventType.COLLECTION_ERROR, {"nodeid": "b.py", "error": {"message": "No module named 'nothing'"}}),
        case(4, "a.py::one", "ERROR", phase=Phase.SETUP, error={"message": "no fixture"}),
        case(5, "a.py::two", "ERROR", phase=Phase.TEARDOWN, error={"message": "no end"}),
    ]
    write_journal(place.state_dir, "run", lines)

    text = call(place, "failures").stdout

    assert "1x No module named 'nothing'" in text
    assert "in collect of b.py" in text
    assert "in setup of a.py::one" in text
    assert "in teardown of a.py::two" in text


def test_daemon_and_journal_name_the_same_failures(shared: Place, call: Call) -> None:
    write_journal(shared.state_dir, "run", failing_lines(3))
    wait_until(lambda: call(shared, "status", "--json").stdout.count('"stored": 6'))

    from_daemon = json.loads(call(shared, "failures", "--json").stdout)
    from_journal = json.loads(call(shared, "failures", "--json", THREEPIO_SOCKET=str(shared.path / "none")).stdout)

    assert from_daemon == from_journal
    assert from_daemon["schema_version"] == 5
    assert (from_daemon["run_id"], from_daemon["state"]) == ("run", "failed")
    failure = from_daemon["failures"][0]
    assert failure["nodeid"] == "test_it.py::test_0"
    assert failure["error"]["message"].startswith("assert 3 == 0")


@pytest.mark.parametrize("style", ["auto", "short"])
def test_assertions_of_unittest_are_causes_of_their_own(place: Place, style: str) -> None:
    place.suite(
        "import unittest\nclass TestIt(unittest.TestCase):\n"
        "    def test_one(self): self.assertEqual(404, 200)\n"
        "    def test_two(self): self.assertEqual(2, 3)\n"
    )
    place.pytest("-q", f"--tb={style}", THREEPIO_RUN_ID="run")

    said = place.threepio("failures", "run").stdout

    assert "2 failures, 2 causes" in said
    assert "404 != 200 at test_it.py:3 [" in said
    assert "2 != 3 at test_it.py:4 [" in said
