"""`threepio status` and `threepio runs`: the same answer from daemon and journal, and the exit code that it deserves."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Call
from tests.place import Place, wait_until
from tests.scripted import STARTED, case, event, living, made_state_dir, run_lines, sleeper, write_journal
from threepio_client import process
from threepio_client.events import EventType, ObservationType, Phase
from threepio_client.journal import append_observation
from threepio_client.line import decode, encode
from threepio_client.nowpage import NowPage
from threepio_client.process import ProcessIdentity
from threepiod.rebuild import rebuild

FIELDS = {
    "schema_version", "run_id", "state", "exit_code", "started", "duration_s", "collected", "finished", "counts",
    "in_flight", "verdict", "events", "source",
}  # fmt: skip
COUNTS = {
    "passed", "failed", "errors", "skipped", "xfailed", "xpassed", "rerun", "deselected", "warnings",
    "subtests_passed", "subtests_failed", "subtests_skipped", "subtests_xfailed", "subtests_xpassed",
}  # fmt: skip

HOSTILE = {
    "escape": "t.py::test[\x1b[31mred\x1b]0;title\x07]",
    "newline": "t.py::test[one\nrun forged: passed\r]",
    "bidi": "t.py::test[\u202eabc\u2066\u200f]",
    "NUL": "t.py::test[\0]",
    "C1": "t.py::test[\x9b31m]",
    "long": "t.py::test[" + "x" * 10_000 + "]",
    "surrogate": "t.py::test[\ud800\udc80]",
    "astral": "t.py::test[\U0001f600\u00e9]",
}


def is_harmless(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)


def invisible() -> ProcessIdentity:
    return process.current()._replace(pid_namespace="pid:[1]")


def end(lines: list[bytes], **payload: Any) -> list[bytes]:
    """Return the lines with a runComplete of this payload at their end."""
    plain = {"exitCode": 0, "totals": {}, "deselected": 0, "stopped": None, "stats": {}}
    return [*lines, event(len(lines) + 1, EventType.RUN_COMPLETE, {**plain, **payload})]


def cut_short(tests: int, **more: Any) -> list[bytes]:
    return run_lines("run", tests, exit_code=None, **more)


def failing(**more: Any) -> list[bytes]:
    lines = run_lines("run", 2, exit_code=None, **more)
    return [*lines[:3], case(4, "test_it.py::test_1", "FAIL", error={"message": "assert 1 == 2"})]


STATES: dict[str, tuple[list[bytes], str, int]] = {
    "passed": (run_lines("run", 2), "passed", 0),
    "failed": (end(failing(), exitCode=1), "failed", 1),
    "no tests": (end(cut_short(0), exitCode=5), "failed", 1),
    "a gate": (end(cut_short(2), exitCode=1), "failed", 1),
    "stopped by the user": (
        end(cut_short(2), exitCode=2, stopped={"kind": "user", "text": "KeyboardInterrupt"}),
        "interrupted",
        1,
    ),
    "stopped by maxfail": (
        end(failing()[:4], exitCode=1, stopped={"kind": "maxfail", "text": "stopping after 1 failures"}),
        "failed",
        1,
    ),
    "fewer than collected": (end(cut_short(3)[:4]), "incomplete", 1),
    "process gone": (cut_short(2), "crashed", 1),
    "running": (cut_short(2, identity=living()), "detached", 1),
    "not to be seen": (cut_short(2, identity=invisible()), "detached", 1),
}


@pytest.mark.parametrize("name", [name for name in STATES if name != "running"])
def test_the_exit_code_is_0_for_what_is_green_and_1_for_all_else(place: Place, call: Call, name: str) -> None:
    lines, state, code = STATES[name]
    write_journal(place.state_dir, "run", lines)

    as_text = call(place, "status")
    as_json = call(place, "status", "--json")

    assert (as_text.exit_code, as_json.exit_code) == (code, code)
    assert as_text.stdout.startswith(f"run run: {state}")
    assert json.loads(as_json.stdout)["state"] == state
    assert as_text.stderr == as_json.stderr == ""


def test_a_run_without_a_failure_so_far_is_good_and_one_with_a_failure_is_not(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "good", run_lines("good", 2, identity=living(), exit_code=None))
    write_journal(place.state_dir, "bad", failing(identity=living()))

    assert call(place, "status", "good").exit_code == 0
    assert call(place, "status", "bad").exit_code == 1
    assert "see why: threepio failures bad" in call(place, "status", "bad").stdout
    assert json.loads(call(place, "status", "bad", "--json").stdout)["state"] == "running"


def test_the_answer_has_the_fields_of_the_contract_wherever_it_comes_from(shared: Place, call: Call) -> None:
    lines = end(failing(), exitCode=1, totals={"passed": 1, "failed": 1})
    write_journal(shared.state_dir, "fields", lines)
    wait_until(lambda: call(shared, "status", "fields", "--json").stdout.count('"stored": 5'))

    from_daemon = json.loads(call(shared, "status", "fields", "--json").stdout)
    nowhere = str(shared.path / "nobody listens here")
    from_journal = json.loads(call(shared, "status", "fields", "--json", THREEPIO_SOCKET=nowhere).stdout)

    for view in (from_daemon, from_journal):
        assert view.keys() >= FIELDS
        assert view["counts"].keys() == COUNTS
        assert {"kind", "text"} <= view["verdict"].keys()
        assert {"journaled", "received", "stored"} <= view["events"].keys()
    assert (from_daemon.pop("source"), from_journal.pop("source")) == ("daemon", "journal")
    assert from_daemon == from_journal
    assert (from_daemon["counts"]["passed"], from_daemon["counts"]["failed"], from_daemon["exit_code"]) == (1, 1, 1)


def test_without_a_store_the_journal_alone_answers(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 7))

    view = json.loads(call(place, "status", "--json").stdout)

    assert (view["source"], view["counts"]["passed"], view["collected"], view["finished"]) == ("journal", 7, 7, 7)
    assert view["events"]["stored"] == 0
    assert view["started"] == pytest.approx(STARTED, abs=1)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_test_acts_on_the_terminal(place: Place, call: Call, name: str) -> None:
    nodeid = HOSTILE[name]
    with sleeper() as (identity, kill):
        lines = run_lines("run", 0, nodeids=[nodeid], identity=identity, exit_code=None)
        error = {"message": f"message of {nodeid}", "location": f"{nodeid}:1"}
        write_journal(place.state_dir, "run", [*lines[:2], case(3, nodeid, "FAIL", error=error)])
        page = NowPage(place.state_dir.now_page("run"), 0, create=True)
        page.set_seq(3)
        page.set(nodeid, Phase.CALL, STARTED)
        status, failures = call(place, "status", "run"), call(place, "failures")
        as_json = [call(place, "status", "--json"), call(place, "failures", "--json")]
        page.close()
        kill()

    assert len(status.stdout.splitlines()) == 5
    assert len(failures.stdout.splitlines()) == 3
    for output in (status.stdout, failures.stdout):
        assert is_harmless(output)
        assert "t.py::test[" in output
        assert not any(line.startswith("run forged") for line in output.splitlines())
    for result in as_json:
        assert result.stdout.isascii()
        assert is_harmless(result.stdout)
        json.loads(result.stdout)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "long"])
def test_no_reason_for_a_stop_acts_on_the_terminal(place: Place, call: Call, name: str) -> None:
    write_journal(
        place.state_dir, "run", end(cut_short(1), exitCode=2, stopped={"kind": "exit", "text": HOSTILE[name]})
    )

    result = call(place, "status", "run")

    assert is_harmless(result.stdout)
    assert len(result.stdout.splitlines()) == 4


def test_a_terminal_that_knows_only_ascii_gets_escapes(place: Place) -> None:
    write_journal(place.state_dir, "run", [*cut_short(0)[:2], case(3, "t.py::test[\u00e9\U0001f600]", "FAIL")])

    done = place.threepio("failures", "run", PYTHONIOENCODING="ascii:strict")

    assert done.returncode == 1
    assert done.stderr == ""
    assert "t.py::test[\\xe9\\U0001f600]" in done.stdout


def test_a_reader_that_has_enough_is_no_error(place: Place) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 1))
    read_end, write_end = os.pipe()
    os.close(read_end)  # as `head` does
    command = [sys.executable, "-m", "threepio_client.cli", "status"]
    done = subprocess.run(
        command, env=place.environ, cwd=place.path, stdout=write_end, stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)
    assert done.stderr == b""


# Which run


def test_a_run_is_named_by_id_by_unique_prefix_or_as_latest(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "abcd", run_lines("abcd", 1))
    write_journal(place.state_dir, "abef", run_lines("abef", 2))
    write_journal(place.state_dir, "ab", run_lines("ab", 3))
    for reference, passed in (("abcd", 1), ("abc", 1), ("abe", 2), ("ab", 3)):  # "ab" is an id itself
        view = json.loads(call(place, "status", reference, "--json").stdout)
        assert view["counts"]["passed"] == passed, reference


def test_latest_is_the_one_that_began_last(place: Place, call: Call) -> None:
    for run_id, when in (("zz-older", 100.0), ("aa-newer", 200.0)):
        lines = run_lines(run_id, 1)
        first = decode(lines[0][:-1])
        write_journal(place.state_dir, run_id, [encode(1, first.type, first.payload, when), *lines[1:]])

    assert json.loads(call(place, "status", "--json").stdout)["run_id"] == "aa-newer"
    rows = json.loads(call(place, "runs", "--json").stdout)["runs"]
    assert [row["run_id"] for row in rows] == ["aa-newer", "zz-older"]


# runs


@pytest.mark.parametrize(
    ("age_s", "said"),
    [(-100, []), (4, []), (50, ["  ended 50 s ago"]), (70, ["  ended 1 min ago"]), (7300, ["  ended 2 h ago"]),
     (100_000, ["  ended 27 h ago"]), (200_000, ["  ended 2 days ago"])],
)  # fmt: skip
def test_how_old_an_answer_is_is_said(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch, age_s: float, said: list[str]
) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 2))
    view = json.loads(call(place, "status", "run", "--json").stdout)
    monkeypatch.setattr(time, "time", lambda: view["started"] + view["duration_s"] + age_s + 0.1)

    assert [line for line in call(place, "status", "run").stdout.splitlines() if "ended" in line] == said


def test_when_a_process_died_that_nobody_saw_is_not_known(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 2, exit_code=None))

    assert "  last heard of " in call(place, "status", "run").stdout


@pytest.mark.parametrize("command", [["runs", "--project", "."], ["doctor"]], ids=" ".join)
def test_in_a_directory_that_is_gone_it_is_said(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    result = call(place, *command)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such file or directory. " in result.stderr


def test_runs_lists_the_latest_and_no_more_than_asked_for(place: Place, call: Call) -> None:
    for number in range(5):
        write_journal(place.state_dir, f"run-{number}", run_lines(f"run-{number}", number))

    as_text = call(place, "runs", "-n", "3")
    as_json = json.loads(call(place, "runs", "--json").stdout)

    assert as_text.exit_code == 0
    assert [line.split()[0] for line in as_text.stdout.splitlines()] == ["run-4", "run-3", "run-2"]
    assert "4 passed" in as_text.stdout
    assert as_json["schema_version"] == 5
    assert as_text.stderr == "there are more runs than these 3: --limit shows them\n"
    assert call(place, "runs", "-n", "5").stderr == ""
    assert len(as_json["runs"]) == 5
    assert {"run_id", "state", "exit_code", "started", "duration_s", "counts"} <= as_json["runs"][0].keys()


def test_runs_are_listed_by_project_branch_and_state(place: Place, call: Call) -> None:
    git = {"branch": "main", "commit": "0" * 40}
    for number, (rootdir, more, code) in enumerate([("/a/b", {"git": git}, 0), ("/a", {}, 1), ("/ab", {}, 0)]):
        lines = run_lines(f"run{number}", 1, exit_code=code)
        start = decode(lines[0].rstrip()).payload
        write_journal(
            place.state_dir, f"run{number}", [event(1, "runStart", {**start, "rootdir": rootdir, **more}), *lines[1:]]
        )

    def listed(*options: str) -> set[str]:
        return {row["run_id"] for row in json.loads(call(place, "runs", *options, "--json").stdout)["runs"]}

    assert listed("--project", "/a") == {"run0", "run1"}
    assert listed("--branch", "main") == {"run0"}
    assert listed("--state", "failed") == {"run1"}
    assert listed("--project", "/a", "--state", "passed") == {"run0"}
    assert len(listed("--project", "/a", "--limit", "1")) == 1
    assert call(place, "runs", "--branch", "other").stderr == "no run is like that: threepio runs lists all\n"
    assert "/a/b (main)" in call(place, "runs", "--branch", "main").stdout


def test_runs_without_runs_says_how_to_get_one(place: Place, call: Call) -> None:
    as_text = call(place, "runs")
    assert (as_text.exit_code, as_text.stdout) == (0, "")
    assert "threepio run -- pytest" in as_text.stderr
    assert json.loads(call(place, "runs", "--json").stdout)["runs"] == []


def test_of_a_run_without_a_first_line_no_process_is_named(place: Place, call: Call) -> None:
    write_journal(made_state_dir(place.state_dir.path), "run", [])

    assert "run run: detached - its process is not connected; " in call(place, "status", "run").stdout


def test_no_run_id_or_directory_acts_on_the_terminal(place: Place, call: Call) -> None:
    lines = run_lines("run", 1)
    write_journal(place.state_dir, "\x1b[31mrun\nforged", lines)

    result = call(place, "runs")

    assert is_harmless(result.stdout)
    assert len(result.stdout.splitlines()) == 1


def test_what_went_wrong_with_events_is_in_the_status(place: Place, call: Call) -> None:
    stats = {"writeFailures": 3, "unjournaled": 2, "blockedMs": 1500.0, "synced": 4, "acked": 4}
    error = {"time": 1_700_000_000.0, "text": "the disk\x1b[2J is full"}
    lines = run_lines("run", 2)
    lines[-1] = event(
        5,
        "runComplete",
        {"exitCode": 0, "totals": {"passed": 2}, "stopped": None, "stats": {**stats, "lastError": error}},
    )
    write_journal(made_state_dir(place.state_dir.path), "run", lines)

    text = call(place, "status", "run")
    view = json.loads(call(place, "status", "run", "--json").stdout)

    assert text.exit_code == 0
    assert "2 unjournaled, 3 write failures, blocked for 1.5 s (asked the journal)" in text.stdout
    assert "last error, 2023-11-1" in text.stdout
    assert "is full" in text.stdout
    assert "\x1b" not in text.stdout
    assert view["events"]["synced"] == view["events"]["acked"] == 4
    assert (view["write_failures"], view["blocked_ms"], view["last_error"]) == (3, 1500.0, error)


def test_a_store_with_a_damaged_page_is_an_error_that_says_what_to_do(place: Place, call: Call) -> None:
    state_dir = made_state_dir(place.state_dir.path)
    write_journal(state_dir, "run", run_lines("run", 5))
    rebuild(state_dir)
    with closing(sqlite3.connect(state_dir.store)) as db:
        db.execute("UPDATE runs SET snapshot = 'no JSON'")
        db.commit()

    result = call(place, "status", "run")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "is damaged" in result.stderr
    assert "threepiod rebuild" in result.stderr
    rebuild(state_dir)
    assert call(place, "status", "run").exit_code == 0


def test_what_was_committed_after_a_run_that_no_daemon_saw_is_not_what_it_tested(place: Place) -> None:
    path = place.suite("def test_one(): assert 0")
    author = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")

    def commit() -> None:
        for step in (("init", "-q"), ("add", path.name), (*author, "commit", "-q", "-m", "a step")):
            subprocess.run(["git", *step], cwd=place.path, check=True)

    commit()
    place.start_daemon()
    place.pytest("-q", THREEPIO_RUN_ID="red")
    wait_until(lambda: place.status("red")["git"]["changed_during_run"] is not None)
    place.stop_daemon()
    path.write_text("def test_one(): pass")
    place.pytest("-q", THREEPIO_RUN_ID="green")
    commit()
    place.start_daemon()
    wait_until(lambda: place.status("green")["events"]["stored"] == place.status("green")["events"]["journaled"])

    assert place.status("green")["git"]["dirty"] is None
    assert place.threepio("flaky").stdout.startswith("no flaky test in 2 runs")


def test_a_checkout_that_changes_during_the_run_is_said(place: Place) -> None:
    place.suite("def test_edits():\n    with open('tracked.txt', 'a') as file: file.write('more')")
    place.suite("text", "tracked.txt")
    place.suite("text", "second.txt")
    author = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    for step in (("init", "-q"), ("add", "tracked.txt", "second.txt"), (*author, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *step], cwd=place.path, check=True)
    place.start_daemon()
    for run_id in ("clean", "dirty"):
        if run_id == "dirty":
            place.suite("other text", "second.txt")
        place.pytest("-q", THREEPIO_RUN_ID=run_id)
        wait_until(lambda run_id=run_id: place.status(run_id)["git"]["changed_during_run"] is not None)  # type: ignore[misc]

    shown = place.threepio("status", "clean").stdout

    assert "  the checkout was changed during the run" in shown
    assert place.status("clean")["git"]["dirty"] in (False, None)  # None if the test was quicker than git
    assert place.status("dirty")["git"]["dirty"] is True
    assert place.status("dirty")["git"]["changed_during_run"] is True


def test_what_was_changed_after_the_run_while_no_daemon_was_there_is_not_said(place: Place) -> None:
    made_state_dir(place.state_dir.path)
    start, *lines = run_lines("run", 1)
    of_it = {"rootdir": str(place.path), "git": {"commit": "0" * 40}}
    write_journal(place.state_dir, "run", [event(1, "runStart", {**decode(start.rstrip()).payload, **of_it}), *lines])
    tree = {"when": "start", "commit": "0" * 40, "dirty": False, "digest": "of then"}
    append_observation(place.state_dir.observed("run"), ObservationType.WORK_TREE, tree, STARTED)
    subprocess.run(["git", "init", "-q"], cwd=place.path, check=True)

    place.start_daemon()

    wait_until(lambda: "over, passed" in (place.state_dir.logs / "threepiod.log").read_text())
    git = place.status("run")["git"]
    assert (git["dirty"], git["changed_during_run"]) == (False, None)


@pytest.mark.parametrize("rootdir", ["/somewhere/else", "HERE", "PARENT", ""])
def test_the_latest_run_of_another_directory_is_said_to_be_that(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch, rootdir: str
) -> None:
    monkeypatch.chdir(place.path)
    rootdir = rootdir.replace("HERE", str(place.path)).replace("PARENT", str(place.path.parent))
    start = decode(run_lines("run", 0)[0][:-1])
    lines = [encode(1, EventType.RUN_START, {**start.payload, "rootdir": rootdir}, STARTED), *run_lines("run", 1)[1:]]
    write_journal(place.state_dir, "run", lines)

    latest, named = call(place, "status").stdout, call(place, "status", "run").stdout

    expected = ["  of another directory: /somewhere/else, begun "] if rootdir == "/somewhere/else" else []
    assert [line[: len(expected[0])] for line in latest.splitlines() if "another directory" in line] == expected
    assert "another directory" not in named


@pytest.mark.parametrize("command", [("failures",), ("slow",), ("never-ran",), ("wait", "--max", "0s"), ("events",)])
def test_what_is_told_of_another_directory_says_so(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(place.path)
    write_journal(place.state_dir, "run", run_lines("run", 1))

    latest = call(place, *command)
    named = call(place, command[0], "run", *command[1:])

    said = "of another directory: /somewhere, begun "
    assert said in (latest.stdout if command[0] == "wait" else latest.stderr)
    assert said not in named.stdout + named.stderr


@pytest.mark.parametrize("with_daemon", [True, False], ids=["daemon", "journal only"])
def test_a_session_that_only_collected_is_not_the_latest_run(place: Place, with_daemon: bool) -> None:
    if with_daemon:
        place.start_daemon()
    place.suite("def test_bad(): assert 0")
    place.pytest("-q", "--co", THREEPIO_RUN_ID="first")
    assert "run first: passed - 1 tests collected" in place.threepio("status").stdout  # there is no other

    place.pytest("-q", THREEPIO_RUN_ID="ran")
    place.pytest("-q", "--co", THREEPIO_RUN_ID="listed")

    said = [place.threepio(command) for command in ("status", "failures", "never-ran")]
    assert [done.stdout.split(":")[0] for done in said] == ["run ran"] * 3
    assert [done.returncode for done in said] == [1, 1, 0]
    assert "listed" in place.threepio("runs").stdout
    if with_daemon:
        wait_until(lambda: os.path.exists(place.path / ".threepio/runs/listed/test-run.md"))
        assert os.readlink(place.path / ".threepio/latest") == "runs/ran"
        place.pytest("-q", THREEPIO_RUN_ID="newer")
        place.pytest("-q", "--co", THREEPIO_RUN_ID="newest")
        wait_until(lambda: os.path.exists(place.path / ".threepio/runs/newest/test-run.md"))
        assert place.threepio("prune", "newer").returncode == 0
        assert os.readlink(place.path / ".threepio/latest") == "runs/ran"
