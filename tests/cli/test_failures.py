"""`threepio failures`: what failed, why and where."""

from __future__ import annotations

import json

from tests.commands import Call
from tests.place import Place, wait_until
from tests.scripted import case, event, run_lines, write_journal
from threepio_client.events import EventType, Phase


def failing_lines(number: int) -> list[bytes]:
    names = [f"test_it.py::test_{i}" for i in range(number)]
    lines = run_lines("run", 0, nodeids=names, exit_code=None)[:2]
    for seq, name in enumerate(names, start=3):
        error = {"message": f"assert {seq} == 0\nand more", "location": f"test_it.py:{seq}", "stack": "..."}
        lines.append(case(seq, name, "FAIL", error=error))
    end = {"exitCode": 1, "totals": {"failed": number}, "deselected": 0, "stopped": None, "stats": {}}
    return [*lines, event(len(lines) + 1, EventType.RUN_COMPLETE, end)]


def test_each_failure_has_its_name_message_and_place(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", failing_lines(2))

    result = call(place, "failures")

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "run run: failed, 2 failures",
        "  FAIL test_it.py::test_0",
        "      assert 3 == 0 (test_it.py:3)",
        "  FAIL test_it.py::test_1",
        "      assert 4 == 0 (test_it.py:4)",
    ]


def test_a_long_list_is_cut_and_says_how_to_see_all(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", failing_lines(50))

    short, long = call(place, "failures"), call(place, "failures", "--all")

    assert short.stdout.count("FAIL") == 20
    assert "and 30 more" in short.stdout
    assert "threepio failures run --all" in short.stdout
    assert long.stdout.count("FAIL") == 50
    assert len(json.loads(call(place, "failures", "--json").stdout)["failures"]) == 50


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

    assert "ERROR in collect b.py" in text
    assert "No module named 'nothing'" in text
    assert "ERROR in setup a.py::one" in text
    assert "ERROR in teardown a.py::two" in text


def test_daemon_and_journal_name_the_same_failures(shared: Place, call: Call) -> None:
    write_journal(shared.state_dir, "run", failing_lines(3))
    wait_until(lambda: call(shared, "status", "--json").stdout.count('"stored": 6'))

    from_daemon = json.loads(call(shared, "failures", "--json").stdout)
    from_journal = json.loads(call(shared, "failures", "--json", THREEPIO_SOCKET=str(shared.path / "none")).stdout)

    assert from_daemon == from_journal
    assert from_daemon["schema_version"] == 1
    assert (from_daemon["run_id"], from_daemon["state"]) == ("run", "failed")
    failure = from_daemon["failures"][0]
    assert failure["nodeid"] == "test_it.py::test_0"
    assert failure["error"]["message"].startswith("assert 3 == 0")
