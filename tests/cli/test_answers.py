"""`show`, `diff`, `slow`, `flaky`, `history`, `events`: what became of tests in one run and over several."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Call
from tests.place import Place, wait_until
from tests.scripted import STARTED, case, event, gone, living, run_lines, write_journal
from tests.two_runs import (
    BREAKS,
    ERROR,
    FIXED,
    GONE,
    NEW,
    NEW_BAD,
    OTHER,
    SLOW,
    STILL,
    restamped,
    write_run,
    write_two_runs,
)
from threepio_client.events import EventType, ObservationType, Phase
from threepio_client.here import SOUGHT
from threepio_client.journal import append_observation
from threepio_client.line import decode
from threepio_client.nowpage import NowPage
from threepio_client.process import ProcessIdentity
from threepiod.rebuild import rebuild


@pytest.fixture
def told(place: Place) -> Place:
    """A place with the runs `one` and `two`."""
    write_two_runs(place)
    return place


# show


TALKS = "test_it.py::test_talks"


def talking() -> list[bytes]:
    """Return the lines of a run with one test that failed at two attempts, after it had printed a lot."""
    error = {
        "message": "ValueError: no",
        "stack": "\n".join(["def test_talks():", *["    ..."] * 20, "E   ValueError: no"]),
    }
    printed = "\n".join([f"line {number} \x1b" for number in range(3000)])
    long = "x" * 30_000
    lines = run_lines("run", 0, exit_code=1)
    more = {"output": [["Captured stdout call", printed], ["Captured stderr call", long]]}
    return [
        *lines[:2],
        case(3, TALKS, "RERUN", error=error, **more),
        case(4, TALKS, "FAIL", error=error, attempt=2, **more),
        event(5, EventType.RUN_COMPLETE, {"exitCode": 1}),
    ]


@pytest.mark.parametrize("budget", [300, 700, 2000, 10_000])
def test_a_budget_leaves_out_the_middle_of_what_is_long_and_says_so(place: Place, call: Call, budget: int) -> None:
    write_journal(place.state_dir, "run", talking())

    text = call(place, "show", TALKS, "--budget", str(budget)).stdout

    lines = text.splitlines()
    assert 0.7 * budget * 4 < len(text.encode()) <= budget * 4
    assert (lines[0], lines[-1]) == (f"{TALKS}: FAIL in run run", "  no other run has an outcome of it")
    assert [line for line in lines if line.startswith("    -- ")] == [
        "    -- Captured stdout call",
        "    -- Captured stderr call",
    ] * 2
    assert lines.count("    E   ValueError: no") == 2
    assert lines.count("    line 2999 \\x1b") == 2
    # What is shown of the lines and what is said to be left out are all of them.
    told = text.split("    -- Captured stdout call\n")[1].split("    -- Captured stderr call\n")[0].splitlines()
    (left_out,) = re.findall(r"\[\.\.\. (\d+) lines left out, see all without --budget", "\n".join(told))
    assert len(told) - 1 + int(left_out) == 3000


@pytest.mark.parametrize("printed", ["x" * 100_000, "\U0001f600" * 30_000, "\x1b[31m\x07" * 5000, "\0" * 20_000])
@pytest.mark.parametrize("budget", [500, 2000])
def test_of_one_long_line_the_ends_are_shown(place: Place, call: Call, printed: str, budget: int) -> None:
    found = case(
        3, TALKS, "FAIL", error={"message": "no", "stack": "E   no"}, output=[["Captured stdout call", printed]]
    )
    write_journal(place.state_dir, "run", [*run_lines("run", 0)[:2], found])

    text = call(place, "show", TALKS, "--budget", str(budget)).stdout

    assert 0.15 * budget * 4 < len(text.encode()) <= budget * 4
    assert "[... cut: " in text


def test_with_a_budget_what_is_bad_is_told_before_what_is_not(place: Place, call: Call) -> None:
    error = {"message": "ValueError: no", "stack": "E   ValueError: the reason"}
    cases = []
    for number in range(1000):
        subtest = {"message": "case", "parameters": {"n": str(number)}}
        is_bad = number == 998
        more = {"error": error} if is_bad else {}
        status = "FAIL" if is_bad else "PASS"
        cases.append(case(number + 3, TALKS, status, subtest=subtest, countedAs="subtests_passed", **more))
    write_journal(place.state_dir, "run", [*run_lines("run", 0)[:2], *cases])

    text, whole = call(place, "show", TALKS, "--budget", "500").stdout, call(place, "show", TALKS).stdout

    said = whole.splitlines()
    assert said[1].startswith("  FAIL in call"), whole
    assert said[-2] == "  [... and 999 subtests that passed, see each with --json ...]"
    assert len(text.encode()) <= 2000
    assert "    E   ValueError: the reason" in text.splitlines()
    told = re.search(r"^  \[\.\.\. and (\d+) PASS, see each with --json", text, re.M)
    assert told is not None
    assert text.count("PASS in call") + int(told[1]) == 999


def test_a_subtest_that_passed_and_printed_is_told(place: Place, call: Call) -> None:
    cases = [
        case(number + 3, TALKS, "PASS", subtest={"message": f"case {number}", "parameters": {}}) for number in range(20)
    ]
    printed = {"output": [["Captured stdout call", "of this one"]]}
    cases.append(case(23, TALKS, "PASS", subtest={"message": "talks", "parameters": {}}, **printed))
    write_journal(place.state_dir, "run", [*run_lines("run", 0)[:2], *cases])

    said = call(place, "show", TALKS).stdout.splitlines()

    assert said[1].endswith("subtest talks")
    assert said[3] == "    of this one"
    assert said[4] == "  [... and 20 subtests that passed, see each with --json ...]"


@pytest.mark.parametrize("parameters", [["x"], "x", None, 5])
def test_a_subtest_is_shown_whatever_a_foreign_writer_takes_for_its_parameters(
    place: Place, call: Call, parameters: object
) -> None:
    found = case(3, TALKS, "FAIL", subtest={"message": "part", "parameters": parameters}, error={"message": "no"})
    write_journal(place.state_dir, "run", [*run_lines("run", 0)[:2], found])

    assert call(place, "show", TALKS).stdout.splitlines()[1] == "  FAIL in call after 0.002 s, subtest part"


@pytest.mark.parametrize("command", [["show", "x"], ["failures"]])
def test_json_is_not_cut(told: Place, call: Call, command: list[str]) -> None:
    result = call(told, *command, "--json", "--budget", "10")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "JSON is whole" in result.stderr


def test_what_fits_into_a_budget_is_whole(told: Place, call: Call) -> None:
    assert call(told, "show", BREAKS, "--budget", "500").stdout == call(told, "show", BREAKS).stdout


def test_everything_of_one_test(told: Place, call: Call) -> None:
    result = call(told, "show", BREAKS)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{BREAKS}: FAIL in run two",
        "  FAIL in call after 0.002 s",
        "    def test_order():",
        "    >   raise ValueError('no stock')",
        "    E   ValueError: no stock",
        "    -- Captured stdout call",
        "    printed \\x1b[31m",
        "  in other runs: bad in 0 of 1; PASS in one",
    ]


def test_a_part_of_a_name_is_enough_where_only_one_test_has_it(told: Place, call: Call) -> None:
    fine, several, none = (call(told, "show", part, "two") for part in ("fixed", "new", "nothing"))

    assert fine.exit_code == 0
    assert "attempt 2" in fine.stdout
    assert (several.exit_code, none.exit_code) == (4, 4)
    assert f"  {NEW}\n  {NEW_BAD}" in several.stderr
    assert "run two has no test with nothing in its node id" in none.stderr


def test_the_history_of_a_test_does_not_hold_the_run_itself(told: Place, call: Call) -> None:
    answer = json.loads(call(told, "show", BREAKS, "one", "--json").stdout)

    assert answer["history"] == [{"run_id": "two", "status": "FAIL"}]


KILLS, LATER, BROKEN = "t.py::test_kills", "t.py::test_kills_later", "broken.py"


def write_unfinished(place: Place, run_id: str, identity: ProcessIdentity, *, exit_signal: int | None = None) -> None:
    """Write a run in which one test is in flight, one waits, and a file could not be collected."""
    lines = [
        *run_lines(run_id, 0, identity=identity, exit_code=None)[:1],
        event(2, EventType.COLLECTION_ERROR, {"nodeid": BROKEN, "error": ERROR}),
        event(3, EventType.TESTS_COLLECTED, {"nodeids": [KILLS, LATER]}),
        event(4, EventType.COLLECTION_FINISH, {"collected": 2, "deselected": 0}),
    ]
    write_journal(place.state_dir, run_id, lines)
    page = NowPage(place.state_dir.now_page(run_id), 2, create=True)
    page.set_seq(4)
    page.set(KILLS, Phase.CALL, STARTED)
    page.close()
    if exit_signal is not None:
        end = {"pid": identity.pid, "signal": exit_signal}
        append_observation(place.state_dir.observed(run_id), ObservationType.EXIT_STATUS, end, STARTED + 1.0)


def test_what_a_dead_process_was_at_and_what_it_never_ran(place: Place, call: Call) -> None:
    write_unfinished(place, "dead", gone(), exit_signal=9)

    killer, later = call(place, "show", KILLS), call(place, "show", "later")
    answer = json.loads(call(place, "show", KILLS, "--json").stdout)

    assert (killer.exit_code, later.exit_code) == (0, 0)
    assert killer.stdout.splitlines() == [
        f"{KILLS}: in flight in call when the process was killed by SIGKILL, in run dead",
        "  no other run has an outcome of it",
    ]
    assert later.stdout.splitlines()[0] == f"{LATER}: collected, never ran, in run dead"
    assert (answer["status"], answer["attempts"], answer["results"]) == (None, 0, [])
    assert answer["without_outcome"] == {"how": "died", "phase": "call", "elapsed_s": 0.004, "worker": None}
    assert f"  {KILLS}\n  {LATER}" in call(place, "show", "test_kill", "dead").stderr


@pytest.mark.parametrize("more", [{"status": "PASS", "subtest": {}}, {"status": "RERUN", "error": ERROR}])
def test_a_test_of_which_only_a_part_was_over_has_no_outcome(place: Place, call: Call, more: dict[str, Any]) -> None:
    write_run(place, "before", -1, [(KILLS, "PASS", {}), (LATER, "PASS", {})])
    write_unfinished(place, "dead", gone(), exit_signal=9)
    write_journal(place.state_dir, "dead", [case(5, KILLS, **more)])

    shown, answer = call(place, "show", KILLS), json.loads(call(place, "show", KILLS, "--json").stdout)

    assert shown.exit_code == 0
    first, *others = shown.stdout.splitlines()
    assert first == f"{KILLS}: in flight in call when the process was killed by SIGKILL, in run dead"
    assert others[0].startswith(f"  {more['status']} in call")
    assert (answer["status"], answer["attempts"], len(answer["results"])) == (None, 0, 1)
    assert [entry["run_id"] for entry in json.loads(call(place, "history", KILLS, "--json").stdout)["runs"]] == [
        "before"
    ]
    assert json.loads(call(place, "slow", "--json").stdout)["tests"] == []
    assert json.loads(call(place, "diff", "before", "dead", "--json").stdout)["never_ran"] == [KILLS, LATER]


def test_what_is_in_flight_and_what_has_no_outcome_yet(place: Place, call: Call) -> None:
    write_unfinished(place, "live", living())

    at, waiting = call(place, "show", KILLS), call(place, "show", LATER)
    answer = json.loads(call(place, "show", LATER, "--json").stdout)

    assert (at.exit_code, waiting.exit_code) == (0, 0)
    assert re.fullmatch(rf"{KILLS}: in flight in call for [0-9hmin .]+, in run live", at.stdout.splitlines()[0])
    assert waiting.stdout.splitlines()[0] == f"{LATER}: collected, no outcome yet, in run live"
    assert answer["without_outcome"] == {"how": "waiting", "phase": None, "elapsed_s": None, "worker": None}


def test_what_a_worker_died_in(place: Place, call: Call) -> None:
    write_run(place, "run", 1, [(FIXED, "PASS", {})], collected=[FIXED, KILLS])
    *lines, end = place.state_dir.journal("run").read_bytes().splitlines(keepends=True)
    death = {"worker": "gw1", "signal": 11, "nodeid": KILLS, "phase": "setup"}
    last = event(len(lines) + 2, EventType.RUN_COMPLETE, decode(end.rstrip()).payload)
    place.state_dir.journal("run").unlink()
    write_journal(place.state_dir, "run", [*lines, event(len(lines) + 1, EventType.WORKER_GONE, death), last])

    shown = call(place, "show", KILLS)

    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0] == (
        f"{KILLS}: in flight in setup when worker gw1 was killed by SIGSEGV, in run run"
    )


def test_a_file_that_could_not_be_collected_is_shown_with_its_error(place: Place, call: Call) -> None:
    write_unfinished(place, "dead", gone())

    result, answer = call(place, "show", BROKEN), json.loads(call(place, "show", "brok", "--json").stdout)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{BROKEN}: ERROR in run dead",
        "  ERROR in collect",
        "    def test_order():",
        "    >   raise ValueError('no stock')",
        "    E   ValueError: no stock",
        "  no other run has an outcome of it",
    ]
    assert [(found["phase"], found["error"]) for found in answer["results"]] == [("collect", ERROR)]
    assert answer["without_outcome"] is None


def test_a_part_that_only_one_name_ends_with_means_that_one(place: Place, call: Call) -> None:
    names = ["a/b/test_m.py::test_3", "a/b/test_m.py::test_30", "a/b/test_m.py::best_test_3", "a/c/test_m.py::test_3"]
    write_run(place, "run", 1, [(name, "PASS", {}) for name in names])

    found = {
        part: call(place, "show", part) for part in ("b/test_m.py::test_3", "test_30", "test_3", "test_m.py::test_3")
    }

    assert {part: done.stdout.partition(": ")[0] for part, done in found.items()} == {
        "b/test_m.py::test_3": names[0],
        "test_30": names[1],
        "test_3": "",
        "test_m.py::test_3": "",
    }
    assert [done.exit_code for done in found.values()] == [0, 0, 4, 4]


def test_a_whole_name_is_not_taken_for_a_part_of_another(place: Place, call: Call) -> None:
    write_run(place, "run", 1, [(LATER, "FAIL", {"error": ERROR})], collected=[KILLS, LATER])

    assert call(place, "show", KILLS).stdout.splitlines()[0] == f"{KILLS}: collected, never ran, in run run"


# diff


def test_what_differs_between_two_runs(told: Place, call: Call) -> None:
    result = call(told, "diff", "--json")
    answer = json.loads(result.stdout)

    assert result.exit_code == 1
    assert answer == {
        "schema_version": 5,
        "before": "one",
        "after": "two",
        "newly_failing": [BREAKS],
        "new_failing": [NEW_BAD],
        "fixed": [FIXED],
        "excused": [],
        "other_reason": [OTHER],
        "still_failing": [STILL],
        "new": [NEW],
        "ran_now": [],
        "never_ran": [],
        "gone": [GONE],
        "left_out": [],
        "slower": [{"nodeid": SLOW, "before_s": 0.05, "after_s": 5.0}],
    }


def test_a_difference_in_words(told: Place, call: Call) -> None:
    text = call(told, "diff").stdout

    assert text.splitlines()[0] == (
        "run two against run one: 1 newly failing, 1 new and failing, 1 failing for another reason, 1 still failing, "
        "1 fixed, 1 gone, 1 new, 1 much slower"
    )
    assert f"newly failing:\n  {BREAKS}\n" in text
    assert f"  0.050 s -> 5.000 s  {SLOW}" in text
    assert STILL not in text
    assert f"still failing:\n  {STILL}" in call(told, "diff", "--all").stdout


def test_tests_that_were_not_asked_for_are_not_gone(place: Place, call: Call) -> None:
    all_of_it: list[tuple[str, str, dict[str, Any]]] = [
        (f"{file}.py::test_{name}", "PASS", {}) for file in "ab" for name in "xy"
    ]
    write_run(place, "all", 1, all_of_it, argv=[])
    write_run(place, "some", 2, all_of_it[:1], argv=["a.py"])
    write_run(place, "less", 3, all_of_it[:1], argv=[])

    some, less = (call(place, "diff", "all", run_id) for run_id in ("some", "less"))

    assert (some.exit_code, less.exit_code) == (1, 1)
    assert some.stdout.splitlines() == [
        "run some against run all: 1 gone, 2 not asked for this time",
        "gone:",
        "  a.py::test_y",
    ]
    assert less.stdout.startswith("run less against run all: 3 gone\n")


@pytest.mark.parametrize("argv", [[], ["--continue-on-collection-errors"]], ids=["same command", "another"])
@pytest.mark.parametrize("is_stored", [True, False])
def test_a_file_that_cannot_be_collected_any_more_is_newly_failing(
    place: Place, call: Call, argv: list[str], is_stored: bool
) -> None:
    fine: list[tuple[str, str, dict[str, Any]]] = [("a.py::test_x", "PASS", {}), ("b.py::test_y", "PASS", {})]
    write_run(place, "one", 1, fine)
    write_run(place, "two", 2, fine[1:], argv=argv, broken={"a.py": "KeyError: 'key'", "new.py": "KeyError: 1"})
    write_run(place, "three", 3, fine[1:], argv=argv, broken={"a.py": "KeyError: 'other'", "new.py": "KeyError: 1"})
    write_run(place, "four", 4, [*fine, ("new.py::test_z", "PASS", {})], argv=argv)
    if is_stored:
        rebuild(place.state_dir)

    broke, still, mended = (
        call(place, "diff", *runs) for runs in (("one", "two"), ("two", "three"), ("three", "four"))
    )

    assert (broke.exit_code, still.exit_code, mended.exit_code) == (1, 0, 0)
    assert broke.stdout.splitlines() == [
        "run two against run one: 1 newly failing, 1 new and failing, 1 never ran",
        "newly failing:",
        "  a.py",
        "new and failing:",
        "  new.py",
        "never ran:",
        "  a.py::test_x",
    ]
    assert "1 failing for another reason, 1 still failing" in still.stdout
    assert "2 fixed, 2 new" in mended.stdout
    assert "fixed:\n  a.py\n  new.py\n" in mended.stdout


def test_a_test_that_was_collected_and_has_no_outcome_never_ran(place: Place, call: Call) -> None:
    names = ["a.py::test_x", "a.py::test_y"]
    write_run(place, "all", 1, [(name, "PASS", {}) for name in names])
    write_run(place, "died", 2, [(names[0], "PASS", {})], collected=names)

    result = call(place, "diff")

    assert result.exit_code == 1
    assert result.stdout == "run died, incomplete, against run all: 1 never ran\nnever ran:\n  a.py::test_y\n"


def test_a_new_test_that_has_no_outcome_never_ran_either_and_is_not_new_when_it_runs(place: Place, call: Call) -> None:
    names = ["a.py::test_x", "a.py::test_y", "a.py::test_z"]
    write_run(place, "all", 1, [(names[0], "PASS", {})])
    write_run(place, "died", 2, [(names[0], "PASS", {})], collected=names)
    write_run(place, "later", 3, [(names[0], "PASS", {}), (names[1], "PASS", {}), (names[2], "FAIL", {})])

    died, later = call(place, "diff", "all", "died"), call(place, "diff", "died", "later")

    assert died.stdout.splitlines()[0] == "run died, incomplete, against run all: 2 never ran"
    assert later.stdout.splitlines()[0] == "run later against run died: 1 newly failing, 1 that had not run before"
    assert (died.exit_code, later.exit_code) == (1, 1)


def test_where_collection_was_not_over_nothing_is_gone(place: Place, call: Call) -> None:
    write_run(place, "all", 1, [("a.py::test_x", "PASS", {})])
    start = run_lines("died", 0, exit_code=None)[0]
    write_journal(place.state_dir, "died", [restamped(start, 9000)])

    result = call(place, "diff")

    assert result.stdout == "run died, crashed, against run all: 1 never ran\nnever ran:\n  a.py::test_x\n"
    assert result.exit_code == 1
    assert call(place, "never-ran").stdout.splitlines()[0] == "run died: no test has run"


def test_what_a_rerun_was_to_run_again_and_is_not_there_is_gone(place: Place, call: Call) -> None:
    names = ["a.py::test_x", "a.py::test_y", "a.py::test_z"]
    write_run(place, "all", 1, [(names[0], "PASS", {}), (names[1], "FAIL", {}), (names[2], "FAIL", {})])
    write_run(place, "again", 2, [(names[2], "PASS", {})], rerun_of="all")
    write_run(place, "some", 3, [(names[2], "PASS", {})], rerun_of="all", argv=["-k", "test_z"])

    again, some = (call(place, "diff", "", run_id) for run_id in ("again", "some"))

    assert again.stdout.splitlines()[0] == "run again against run all: 1 fixed, 1 gone, 1 not asked for this time"
    assert some.stdout.splitlines()[0] == "run some against run all: 1 fixed, 2 not asked for this time"
    assert (again.exit_code, some.exit_code) == (1, 0)


@pytest.mark.parametrize(
    "argv",
    [
        ["a.py::test_x"],
        ["-k", "test_x", "-n", "2"],
        ["-ktest_x"],
        ["-m", "x"],
        ["--lf"],
        ["--stepwise"],
        ["--testmon"],
        ["--picked=first"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("twice", [True, False])
def test_what_a_selection_leaves_out_is_not_gone(place: Place, call: Call, argv: list[str], twice: bool) -> None:
    names = ["a.py::test_x", "a.py::test_y"]
    write_run(place, "all", 1, [(name, "PASS", {}) for name in names], argv=argv if twice and "--" in argv[0] else [])
    write_run(place, "some", 2, [(names[0], "PASS", {})], argv=argv)

    result = call(place, "diff")

    assert (result.exit_code, result.stdout) == (0, "run some against run all: 1 not asked for this time\n")


@pytest.mark.parametrize(
    "argv",
    [
        ["-x"],
        ["-qx"],
        ["-n", "2"],
        ["-n2"],
        ["--maxfail=3", "-rA"],
        ["--tb", "short", "--reruns", "1"],
        ["--exitfirst"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_gone_whatever_is_printed_and_however_many_may_fail(
    place: Place, call: Call, argv: list[str]
) -> None:
    write_run(place, "all", 1, [(f"{name}.py::test_x", "PASS", {}) for name in "ab"], argv=["-q"])
    write_run(place, "some", 2, [("a.py::test_x", "PASS", {})], argv=argv)

    result = call(place, "diff")

    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, "run some against run all: 1 gone")


@pytest.mark.parametrize("argv", [["-x", "a.py"], ["--ignore=b.py"], ["-n", "2", "a.py"], ["-p", "chooser"], ["--n=2"]])
def test_what_may_choose_leaves_out(place: Place, call: Call, argv: list[str]) -> None:
    write_run(place, "all", 1, [(f"{name}.py::test_x", "PASS", {}) for name in "ab"], argv=["-q"])
    write_run(place, "some", 2, [("a.py::test_x", "PASS", {})], argv=argv)

    assert call(place, "diff").stdout == "run some against run all: 1 not asked for this time\n"


def test_a_rerun_leaves_out_and_is_no_measure_for_what_follows(place: Place, call: Call) -> None:
    names = ["a.py::test_x", "a.py::test_y"]
    write_run(place, "all", 1, [(names[0], "PASS", {}), (names[1], "FAIL", {})])
    write_run(place, "again", 2, [(names[1], "PASS", {})], rerun_of="all")
    write_run(place, "later", 3, [(names[0], "FAIL", {}), (names[1], "PASS", {})])

    rerun, later = (call(place, "diff", "", run_id) for run_id in ("again", "later"))

    assert rerun.stdout.startswith("run again against run all: 1 fixed, 1 not asked for this time\n")
    assert rerun.exit_code == 0
    assert later.stdout.startswith("run later against run all: 1 newly failing, 1 fixed\n")


def test_the_one_run_that_is_named_is_compared_with_the_one_before_it(told: Place, call: Call) -> None:
    assert call(told, "diff", "two").stdout == call(told, "diff").stdout


def test_what_has_no_outcome_yet_is_not_said_to_be_lost(place: Place, call: Call) -> None:
    names = ["a.py::test_x", "a.py::test_y"]
    write_run(place, "all", 1, [(name, "PASS", {}) for name in names])
    start, *_ = run_lines("now", 0, exit_code=None, identity=living())
    more = [event(2, EventType.TESTS_COLLECTED, {"nodeids": names}), case(3, names[0], "PASS")]
    write_journal(place.state_dir, "now", [restamped(line, 9000) for line in (start, *more)])

    result = call(place, "diff", "all", "now")

    assert result.exit_code == 0
    assert "1 without an outcome yet" in result.stdout


def test_the_history_of_a_test_is_that_of_one_project(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nodeid = "test_it.py::test_x"
    write_run(place, "here", 1, [(nodeid, "PASS", {})], rootdir=str(place.path))
    write_run(place, "there", 2, [(nodeid, "FAIL", {})], rootdir="/elsewhere")

    shown = json.loads(call(place, "show", nodeid, "there", "--json").stdout)
    found = []
    for directory in (place.path, tmp_path):
        monkeypatch.chdir(directory)
        found.append(json.loads(call(place, "history", nodeid, "--json").stdout)["runs"])

    assert shown["history"] == []
    assert [[row["run_id"] for row in rows] for rows in found] == [["here"], ["there"]]
    assert "threepio: these runs are of another directory: /elsewhere" in call(place, "history", nodeid).stderr
    for number in range(SOUGHT):
        write_run(place, f"nested{number}", 3 + number, [], rootdir="/nested", parent="there")
    monkeypatch.chdir(place.path)
    again = call(place, "history", nodeid)
    assert "run here" in again.stdout
    assert again.stderr == ""


def test_what_only_collects_leaves_all_tests_out(place: Place, call: Call) -> None:
    names = ["a.py::test_x", "a.py::test_y"]
    write_run(place, "all", 1, [(name, "PASS", {}) for name in names])
    write_run(place, "names", 2, [], collected=names, collect_only=True)

    result = call(place, "diff", "all", "names")

    assert (result.exit_code, result.stdout) == (0, "run names against run all: 2 not asked for this time\n")


def test_a_single_test_that_was_run_between_is_no_measure_of_a_whole_run(place: Place, call: Call) -> None:
    names = [f"a.py::test_{number}" for number in range(6)]
    for number, (run_id, some) in enumerate((("first", names), ("single", names[:1]), ("second", names))):
        write_run(place, run_id, number, [(name, "FAIL", {}) for name in some], argv=some[1:] or names[:1])

    assert call(place, "diff").stdout == "run second against run first: 6 still failing\n"
    assert "run single against run first: " in call(place, "diff", "", "single").stdout


def test_a_run_that_stopped_early_is_measured_by_what_it_was_to_run(place: Place, call: Call) -> None:
    names = [f"a.py::test_{number}" for number in range(6)]
    write_run(place, "full", 0, [(name, "FAIL", {}) for name in names])
    write_run(place, "single", 1, [(names[5], "PASS", {})], argv=names[5:])
    write_run(place, "stopped", 2, [(names[0], "FAIL", {})], collected=names, argv=["-x"])

    said = call(place, "diff").stdout
    assert said.startswith("run stopped, incomplete, against run full: 1 still failing, 5 never ran"), said


def test_a_collection_that_is_named_is_the_later_one(place: Place, call: Call) -> None:
    write_run(place, "all", 1, [("a.py::test_x", "PASS", {})])
    write_run(place, "listed", 2, [], collected=["a.py::test_x"], collect_only=True)

    assert call(place, "diff", "listed").stdout == "run listed against run all: 1 not asked for this time\n"


def test_what_fails_after_a_collection_fails_newly(place: Place, call: Call) -> None:
    names = ["a.py::test_x", "a.py::test_y"]
    write_run(place, "listed", 1, [], collected=names, collect_only=True)
    write_run(place, "all", 2, [(names[0], "FAIL", {}), (names[1], "PASS", {}), ("a.py::test_z", "FAIL", {})])

    said = call(place, "diff", "listed", "all").stdout
    told = "run all against run listed: 1 newly failing, 1 new and failing, 1 that had not run before"
    assert said.splitlines()[0] == told


def test_what_is_skipped_or_xfailed_now_was_not_fixed(place: Place, call: Call) -> None:
    names = [f"a.py::test_{number}" for number in range(6)]
    was = ["FAIL", "FAIL", "PASS", "SKIP", "XFAIL", "FAIL"]
    now = ["SKIP", "XFAIL", "SKIP", "XFAIL", "SKIP", "XPASS"]
    for number, (run_id, found) in enumerate((("one", was), ("two", now))):
        write_run(place, run_id, number, [(name, status, {}) for name, status in zip(names, found, strict=True)])

    done = call(place, "diff", "--json")
    rebuild(place.state_dir)
    from_store = call(place, "diff", "--json")

    assert done.stdout == from_store.stdout
    answer = json.loads(done.stdout)
    assert (answer["fixed"], answer["excused"], done.exit_code) == (names[5:], names[:3], 0)
    assert call(place, "diff").stdout.startswith(
        "run two against run one: 1 fixed, 3 skipped or xfailed, and not before\n"
    )


def test_what_only_collected_asks_its_rerun_for_nothing(place: Place, call: Call) -> None:
    write_run(place, "listed", 1, [], collected=["a.py::test_x"], collect_only=True)
    write_run(place, "again", 2, [], rerun_of="listed")

    assert call(place, "diff").stdout == "run again against run listed: no difference\n"


def test_a_collection_that_failed_can_be_compared_with(place: Place, call: Call) -> None:
    suite = "import nothing_of_this_name\ndef test_one(): pass"
    for run_id, text in (("first", suite), ("second", suite), ("third", suite.partition("\n")[2])):
        place.suite(text)
        place.pytest("-q", THREEPIO_RUN_ID=run_id)

    second, third = call(place, "diff", "", "second"), call(place, "diff")

    history, shown = (
        call(place, *asked).stdout for asked in (("history", "test_it.py"), ("show", "test_it.py", "second"))
    )
    assert history.startswith("test_it.py: bad in 2 of 2 runs\n  ERROR ")
    assert shown.splitlines()[-1] == "  in other runs: bad in 1 of 1; ERROR in first"
    assert (second.exit_code, second.stdout) == (0, "run second against run first: 1 still failing\n")
    assert (third.exit_code, third.stdout.splitlines()[0]) == (0, "run third against run second: 1 fixed, 1 new")


def test_a_rerun_is_compared_with_what_it_ran_again(place: Place) -> None:
    place.suite("def test_one(): assert 0\ndef test_two(): assert 0")
    place.pytest("-q", THREEPIO_RUN_ID="all")
    place.pytest("-q", "test_it.py::test_two", THREEPIO_RUN_ID="single")
    place.threepio("rerun", "all", THREEPIO_RUN_ID="again")

    assert place.threepio("diff").stdout.startswith("run again against run all: 2 still failing")


def test_no_difference_is_exit_code_0(told: Place, call: Call) -> None:
    result = call(told, "diff", "two", "two")

    assert (result.exit_code, result.stdout) == (0, "run two against run two: 4 still failing\n")


def test_without_an_earlier_run_there_is_nothing_to_compare_with(told: Place, call: Call) -> None:
    result = call(told, "diff", "", "one")

    assert result.exit_code == 4
    assert "no run of /somewhere is known before one: name both runs" in result.stderr


# slow, history, flaky


def test_the_slowest_tests_and_files(told: Place, call: Call) -> None:
    answer = json.loads(call(told, "slow", "two", "-n", "1", "--json").stdout)

    assert answer["tests"] == [{"nodeid": SLOW, "status": "PASS", "duration_s": 5.0}]
    assert [(row["file"], row["tests"]) for row in answer["files"]] == [("t.py", 7)]
    assert f"5.000 s  {SLOW}" in call(told, "slow", "-n", "1").stdout


def test_the_history_of_a_test(told: Place, call: Call) -> None:
    text = call(told, "history", FIXED).stdout.splitlines()
    answer = json.loads(call(told, "history", FIXED, "--limit", "1", "--json").stdout)

    assert text[0] == f"{FIXED}: bad in 1 of 2 runs"
    assert [line.split()[0] for line in text[1:]] == ["PASS", "FAIL"]
    assert text[1].endswith("run two, attempt 2")
    assert [(row["run_id"], row["status"], row["attempts"]) for row in answer["runs"]] == [("two", "PASS", 2)]
    assert call(told, "history", "t.py::nothing").exit_code == 4


def test_a_part_of_a_name_has_the_history_of_the_only_test_that_has_it(told: Place, call: Call) -> None:
    fine, several, none = (call(told, "history", part) for part in ("fixed", "new", "nothing"))
    whole = call(told, "history", FIXED)

    assert (fine.exit_code, fine.stdout) == (0, whole.stdout)
    assert (several.exit_code, none.exit_code) == (4, 4)
    assert f"  {NEW}\n  {NEW_BAD}" in several.stderr
    assert "the newest 2 runs have no test with nothing in its node id" in none.stderr


def test_the_history_of_a_test_without_any_outcome(told: Place, call: Call) -> None:
    write_unfinished(told, "dead", gone(), exit_signal=9)

    killer, later = call(told, "history", KILLS), call(told, "history", LATER)
    answer = json.loads(call(told, "history", KILLS, "--json").stdout)

    assert (killer.exit_code, later.exit_code) == (0, 0)
    first, row = killer.stdout.splitlines()
    assert first == f"{KILLS}: no run has an outcome of it"
    assert row.startswith("  in flight in call when the process was killed by SIGKILL  2023-11-")
    assert row.endswith("  run dead")
    assert later.stdout.splitlines()[1].startswith("  collected, never ran  ")
    assert answer["runs"] == []
    assert answer["without_outcome"] == [
        {
            "how": "died",
            "phase": "call",
            "elapsed_s": 0.004,
            "worker": None,
            "run_id": "dead",
            "started": STARTED + 0.001,
        }
    ]
    assert json.loads(call(told, "history", FIXED, "--json").stdout)["without_outcome"] == []


def test_a_test_that_needed_another_attempt_is_flaky(told: Place, call: Call) -> None:
    answer = json.loads(call(told, "flaky", "--json").stdout)

    assert answer["runs"] == 2
    assert answer["tests"] == [{"nodeid": FIXED, "needed_attempts": 1, "changed_at_one_commit": False}]
    assert f"  {FIXED}: passed after another attempt in 1 run" in call(told, "flaky", "--runs", "1").stdout


def test_a_test_that_passed_and_failed_at_one_commit_is_flaky_if_its_file_is_in_that(
    place: Place, call: Call, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    (project / "below").mkdir(parents=True)

    def git(*arguments: str) -> str:
        author = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
        return subprocess.run(
            ["git", *author, *arguments], cwd=project, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    (project / "below" / "test_old.py").touch()
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (project / "below" / "test_new.py").touch()
    known, unknown = git("rev-parse", "HEAD").strip(), "0" * 40
    for number, (status, commit) in enumerate([("PASS", known), ("FAIL", known), ("PASS", unknown), ("FAIL", unknown)]):
        results: list[tuple[str, str, dict[str, Any]]] = [
            (f"below/test_{n}.py::test_it", status, {}) for n in ("old", "new")
        ]
        if commit == unknown:  # a commit that is gone, of which git cannot say what was in it
            results = [("below/test_gone.py::test_it", status, {})]
        write_run(place, f"run{number}", number, results, rootdir=str(project), git={"commit": commit})
        tree = {"when": "start", "dirty": False, "changed": False, "commit": commit, "digest": ""}
        append_observation(place.state_dir.observed(f"run{number}"), ObservationType.WORK_TREE, tree, STARTED)

    tests = json.loads(call(place, "flaky", "--json").stdout)["tests"]
    git("add", ".")  # what became of the file later says nothing of the commit
    git("commit", "-q", "-m", "second")
    later = json.loads(call(place, "flaky", "--json").stdout)["tests"]
    without_git = json.loads(call(place, "flaky", "--json", PATH="/nowhere").stdout)["tests"]

    tree = {"when": "start", "dirty": True, "changed": False, "commit": known, "digest": ""}
    write_run(
        place, "dirty", 9, [("below/test_old.py::test_it", "PASS", {})], rootdir=str(project), git={"commit": known}
    )
    append_observation(place.state_dir.observed("dirty"), ObservationType.WORK_TREE, tree, STARTED)
    history = call(place, "history", "test_old").stdout.splitlines()
    assert [line.rpartition(" at ")[2] for line in history[1:]] == [f"{known[:10]}+changes", known[:10], known[:10]]
    assert [test["nodeid"] for test in tests] == [f"below/test_{name}.py::test_it" for name in ("gone", "old")]
    assert later == tests
    assert [test["nodeid"] for test in without_git] == [f"below/test_{n}.py::test_it" for n in ("gone", "new", "old")]


# events


def test_the_events_are_the_journals_own_lines(told: Place, call: Call) -> None:
    every, some = call(told, "events", "two"), call(told, "events", "two", "--type", "runComplete")

    assert every.stdout == told.state_dir.journal("two").read_text()
    assert [json.loads(line)["eventType"] for line in some.stdout.splitlines()] == ["runComplete"]


def test_events_are_followed_until_the_run_is_over(place: Place) -> None:
    place.suite("import os, time\ndef test_waits():\n    while not os.path.exists('go on'): time.sleep(0.01)")
    process = place.start_pytest("-q", THREEPIO_RUN_ID="live")
    wait_until(place.state_dir.journal("live").exists)
    follower = subprocess.Popen(
        [*place.python, "-m", "threepio_client.cli", "events", "live", "--follow"],
        env=place.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    seen = [follower.stdout.readline()]
    (place.path / "go on").touch()
    process.communicate()

    seen += follower.stdout  # until it ends: the end of the run ends it

    assert "".join(seen) == place.state_dir.journal("live").read_text()
    assert follower.wait() == 0
    follower.stdout.close()


def test_the_same_answers_come_from_the_store_and_from_the_journals(told: Place, call: Call) -> None:
    questions = [("show", BREAKS, "two"), ("diff",), ("slow",), ("history", FIXED), ("flaky",), ("events", "two")]
    before = [
        call(told, *question, "--json") if question[0] != "events" else call(told, *question) for question in questions
    ]
    told.start_daemon()
    wait_until(lambda: all(told.verify(run_id)["whole"] for run_id in ("one", "two")))

    after = [
        call(told, *question, "--json") if question[0] != "events" else call(told, *question) for question in questions
    ]

    assert before == after


def test_errors_of_phases_are_kept_apart(place: Place, call: Call) -> None:
    teardown = {"error": ERROR, "phase": Phase.TEARDOWN}
    write_run(
        place, "one", 1, [(STILL, "PASS", {}), (STILL, "ERROR", teardown), (FIXED, "ERROR", {"phase": Phase.SETUP})]
    )

    shown, again = call(place, "show", STILL), json.loads(call(place, "failures", "--json").stdout)

    assert "ERROR in teardown" in shown.stdout
    assert shown.exit_code == 1
    assert [found["phase"] for found in again["failures"]] == ["teardown", "setup"]
