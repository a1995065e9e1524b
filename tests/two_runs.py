"""Two runs of one suite, made by hand, in which everything happened that can differ."""

from __future__ import annotations

from typing import Any

from tests.place import Place
from tests.scripted import case, event, run_lines, write_journal
from threepio_client.events import EventType
from threepio_client.line import decode, encode

ERROR = {
    "message": "ValueError: no stock",
    "errorType": "ValueError",
    "location": "/somewhere/shop.py:7",
    "stack": "def test_order():\n>   raise ValueError('no stock')\nE   ValueError: no stock",
}
GONE, SLOW, FIXED, BREAKS, OTHER, STILL = (
    f"t.py::test_{name}" for name in ("gone", "slow", "fixed", "breaks", "other", "still")
)
NEW, NEW_BAD = "t.py::test_new", "t.py::test_new_bad"


def write_run(
    place: Place,
    run_id: str,
    number: int,
    results: list[tuple[str, str, dict[str, Any]]],
    *,
    argv: list[str] | None = None,
    collected: list[str] | None = None,
    broken: dict[str, str] | None = None,
    collect_only: bool = False,
    rerun_of: str = "",
    rootdir: str = "/somewhere",
    git: dict[str, str] | None = None,
    command_id: str = "",
    parent: str = "",
) -> None:
    """Write the journal of a complete run, the `number`th, whose tests had these results.

    Args:
        place: where.
        run_id: the run's id.
        number: the later runs have the greater ones.
        results: node id, status and what else there is of each.
        argv: pytest's arguments.
        collected: what it collected, where that is more than what has results.
        broken: files that it could not collect, with the message of the error.
        collect_only: whether no test was to run.
        rerun_of: the run of which it runs again what failed.
        rootdir: pytest's.
        git: what the plugin read of the checkout.
        command_id: of the command that began it.
        parent: the run in one of whose tests it was started.
    """
    names = collected or list(dict.fromkeys(name for name, _, _ in results))
    start = decode(run_lines(run_id, 0, exit_code=None)[0].rstrip()).payload
    more_of_it = {
        "argv": argv or [],
        "collectOnly": collect_only,
        "rerunOf": rerun_of,
        "rootdir": rootdir,
        "git": git or {},
        "commandId": command_id,
        "parentRunId": parent,
    }
    lines = [
        event(1, EventType.RUN_START, {**start, **more_of_it}),
        event(2, EventType.TESTS_COLLECTED, {"nodeids": names}),
        event(3, EventType.COLLECTION_FINISH, {"collected": len(names), "deselected": 0}),
    ]
    for seq, (name, status, more) in enumerate(results, start=4):
        lines.append(case(seq, name, status, **more))
    for name, message in (broken or {}).items():
        error = {"errorType": "KeyError", "message": message}
        lines.append(event(len(lines) + 1, EventType.COLLECTION_ERROR, {"nodeid": name, "error": error}))
    failed = sum(status == "FAIL" for _, status, _ in results)
    end = {"exitCode": bool(failed) + 0, "totals": {}, "deselected": 0, "stopped": None, "stats": {}}
    lines.append(event(len(lines) + 1, EventType.RUN_COMPLETE, end))
    write_journal(place.state_dir, run_id, (restamped(line, number * 1000) for line in lines))


def restamped(line: bytes, later: float) -> bytes:
    found = decode(line.rstrip())
    return encode(found.seq, found.type, found.payload, found.timestamp + later)


def write_two_runs(place: Place) -> None:
    """Write the journals of the runs `one` and `two`."""
    other = {"error": {**ERROR, "message": "ValueError: no shop"}}
    moved = {"error": {**ERROR, "location": "/somewhere/shop.py:99"}}
    write_run(
        place,
        "one",
        1,
        [
            (GONE, "PASS", {}),
            (SLOW, "PASS", {"duration": 50.0}),
            (FIXED, "FAIL", {"error": ERROR}),
            (BREAKS, "PASS", {}),
            (OTHER, "FAIL", {"error": ERROR}),
            (STILL, "FAIL", {"error": ERROR}),
        ],
    )
    write_run(
        place,
        "two",
        2,
        [
            (SLOW, "PASS", {"duration": 5000.0}),
            (FIXED, "RERUN", {"error": ERROR}),
            (FIXED, "PASS", {"attempt": 2}),
            (BREAKS, "FAIL", {"error": ERROR, "output": [["Captured stdout call", "printed \x1b[31m\n"]]}),
            (OTHER, "FAIL", other),
            (STILL, "FAIL", moved),
            (NEW, "PASS", {}),
            (NEW_BAD, "FAIL", {"error": ERROR}),
        ],
    )
