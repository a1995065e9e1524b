"""The same questions with the daemon, without it, and with whatever may be wrong with it: the same answers, and one line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.test_exit_codes import write_runs
from tests.commands import Call, Result
from tests.conftest import made_place
from tests.place import Place, wait_until
from tests.questions import ASKED, ask_all
from tests.scripted import run_lines, write_journal
from threepio_client.cli.source import PATIENCE_S

SUITE: Final = """
def test_is_fine(): pass
def test_is_bad(): assert 1 == 2
def test_waits():
    open("go on").close()  # a pipe: it waits at one place, so that every stack is the same
def test_is_last(): pass
"""
FORBID: Final = Path(__file__).parent.parent / "suites" / "no_unix_sockets.py"
HANG_S: Final = 0.01
"""Patience with a daemon that is stopped: it is over anyway."""
UP: Final = "daemon"
MODES: Final = {
    UP: "",
    "sockets forbidden": r"threepio: no Unix socket can be made here \(.+\); {}",
    "daemon hangs": r"threepio: threepiod at \S+ does not answer within 0\.01 s; {}",
    "nobody listens": r"threepio: no daemon at \S+ \(Connection refused\), start one with: threepiod start; {}",
    "no daemon": "",
    "store unreadable": r"threepio: the store \S+ cannot be read \(.+\); this answer comes from the journals alone",
    "no store": "",
}
"""What stderr says: one line where something should have worked, and nothing where there simply is no daemon."""
FROM_FILES: Final = "this answer comes from store and journals"
WITHOUT_STORE: Final = frozenset({"store unreadable", "no store"})
OF_THE_SOURCE: Final = frozenset({"source", "duration_s", "elapsed_s", "received", "stored", "acked", "synced",
                                  "from_socket", "from_journal", "duplicates"})  # fmt: skip
"""Fields that say where an answer comes from, what has come to the daemon, and how long something runs by now."""

OF_THE_DAEMON: Final = frozenset({"status", "runs", "wait", "stacks", "prune", "verify"})
"""Commands that ask the daemon whatever the run; others do where it goes on and they want to know how it stands."""

Answers = dict[str, dict[str, Result]]


def asked_without_sockets(place: Place) -> dict[str, Result]:
    """Ask in a process that may make no Unix socket."""
    command = [sys.executable, str(FORBID), sys.executable, "-m", "tests.questions", str(place.path), str(HANG_S)]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, env={**place.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode and "no filter can be set" in done.stderr:
        return {}
    assert done.returncode == 0, done.stderr
    return {name: Result(**found) for name, found in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    """The answers of every mode: runs that failed, passed and crashed, and one that goes on all the time."""
    with made_place() as place:
        write_runs(place)
        place.state_dir.journal("live").unlink()
        place.suite(SUITE, "test_live.py")
        os.mkfifo(place.path / "go on")
        place.start_daemon()
        live = place.start_pytest("-q", "test_live.py", THREEPIO_RUN_ID="live", THREEPIO_STACKS="1")
        wait_until(lambda: place.state_dir.journal("live").exists())
        try:
            yield _asked(place)
        finally:
            with open(place.path / "go on", "r+b", buffering=0):
                live.communicate()


def _asked(place: Place) -> Answers:
    wait_until(lambda: is_at_rest(place))
    found = {UP: ask_all(place, PATIENCE_S)}
    if forbidden := asked_without_sockets(place):
        found["sockets forbidden"] = forbidden
    pid = place.daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        found["daemon hangs"] = ask_all(place, HANG_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    place.stop_daemon()
    found["no daemon"] = ask_all(place, PATIENCE_S)
    with socket.socket(socket.AF_UNIX) as unheard:
        unheard.bind(place.environ["THREEPIO_SOCKET"])
    found["nobody listens"] = ask_all(place, PATIENCE_S)
    Path(place.environ["THREEPIO_SOCKET"]).unlink()
    store = place.state_dir.store
    for path in store.parent.glob(f"{store.name}-*"):
        path.unlink()
    store.write_bytes(b"no store" * 1000)
    found["store unreadable"] = ask_all(place, PATIENCE_S)
    store.unlink()
    found["no store"] = ask_all(place, PATIENCE_S)
    return found


def is_at_rest(place: Place) -> bool:
    """Return whether every run is stored as far as it is, and the live one at its third test."""
    at = place.status("live")
    return (
        [slot["nodeid"] for slot in at["in_flight"]] == ["test_live.py::test_waits"]
        and at["finished"] == 2
        and all(
            (found := place.status(run)["events"])["stored"] == found["journaled"] for run in ("one", "two", "live")
        )
        and all(place.verify(run)["whole"] for run in ("one", "two", "green"))
    )


def same(name: str, answer: Result) -> object:
    """Return what of an answer must not depend on where it comes from."""
    return answer.exit_code, (_comparable(answer.stdout) if "--json" in name else _words(answer.stdout))


def _comparable(text: str) -> object:
    def without(fields: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in fields.items() if key not in OF_THE_SOURCE}

    try:
        return json.loads(text, object_hook=without)
    except ValueError:
        return text


def _words(text: str) -> str:
    """Return a text without times that go on, and without what `status` says of the daemon's own part."""
    return re.sub(r"^  events: .*$| +[\d.]+ s\b", "", text, flags=re.MULTILINE)


def one_line_of(mode: str) -> str:
    return MODES[mode].format(FROM_FILES)


@pytest.mark.parametrize("question", [f"{name}{end}" for name in ASKED for end in ("", " --json")])
def test_the_answers_and_exit_codes_are_the_same(answers: Answers, question: str) -> None:
    modes = [mode for mode in answers if not (mode in WITHOUT_STORE and question.startswith("verify"))]

    assert {mode: same(question, answers[mode][question]) for mode in modes} == dict.fromkeys(
        modes, same(question, answers[UP][question])
    )


@pytest.mark.parametrize("mode", MODES)
def test_exactly_one_line_says_what_should_have_worked(answers: Answers, mode: str) -> None:
    if mode not in answers:
        pytest.skip("no seccomp filter can be set here")
    for question, answer in answers[mode].items():
        name, error = question.removesuffix(" --json"), answers[UP][question].stderr
        asks = ASKED[name][0] in OF_THE_DAEMON or name == "failures of a live run" or mode in WITHOUT_STORE
        line = f"{one_line_of(mode)}\n" if MODES[mode] and asks else ""
        assert re.fullmatch(line, answer.stderr.replace(error, "", 1)), (question, answer.stderr)


def test_who_was_asked_is_said(answers: Answers) -> None:
    said = {mode: json.loads(found["status of two --json"].stdout)["source"] for mode, found in answers.items()}

    assert said == {mode: "daemon" if mode == UP else "journal" for mode in answers}


def test_a_command_is_run_and_told_of_where_sockets_are_forbidden(place: Place) -> None:
    place.suite("def test_is_bad(): assert 0")
    words = ["run", "--", sys.executable, "-m", "pytest", "test_it.py"]
    done = subprocess.run(
        [sys.executable, str(FORBID), sys.executable, "-m", "threepio_client.cli", *words],
        env=place.environ, cwd=place.path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "no filter can be set" in done.stderr:
        pytest.skip("no seccomp filter can be set here")

    (line,) = done.stderr.splitlines()

    assert done.returncode == 1
    assert re.fullmatch(
        r"threepio: going on without a daemon: (threepiod: )?no Unix socket can be made here \(.+\)", line
    )
    assert "1 failed" in done.stdout


@pytest.mark.parametrize("mode", sorted(WITHOUT_STORE))
def test_without_the_store_nothing_can_be_proved(answers: Answers, mode: str) -> None:
    found = json.loads(answers[mode]["verify --json"].stdout)

    assert answers[mode]["verify --json"].exit_code == 1
    assert {run["run_id"]: run["missing"] for run in found["runs"] if run["stored_events"] == 0} == {
        "live": 0, "two": 12, "one": 10, "green": 5, "dead": 3,
    }  # fmt: skip


OLDER = """
import msgpack
from threepiod import connection, lifecycle, daemon
pack = msgpack.packb

def older(answer):  # as a daemon answered whose answers had fewer fields
    answer.pop("schema_version", None)
    if isinstance(answer.get("result"), dict):
        answer["result"].pop("counts", None)
        answer["result"].pop("events", None)
    return pack(answer)

connection.msgpack.packb = older
daemon.VIEW_VERSION = 1
lifecycle.main()
"""


def test_an_older_daemon_is_named_and_passed_over(place: Place) -> None:
    place.suite("def test_it(): pass")
    daemon = subprocess.Popen(
        [sys.executable, "-c", OLDER], env=place.environ, cwd=place.path, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: place.threepiod("status").returncode == 0)
        assert place.pytest("-q", THREEPIO_RUN_ID="run").returncode == 0
        answers = [place.threepio(*words) for words in (["status"], ["runs"], ["failures"])]
        own, metrics = place.threepiod("status"), place.threepiod("metrics")
    finally:
        daemon.terminate()
        daemon.wait()

    assert [answer.returncode for answer in answers] == [0, 0, 0]
    assert answers.pop().stderr == ""  # the run is over: the files tell
    for answer in answers:
        assert answer.stderr == (
            "threepio: the daemon is of an older version: threepiod restart brings this one; "
            "this answer comes from store and journals\n"
        )
    assert "1 passed" in answers[0].stdout
    assert (own.returncode, metrics.returncode) == (0, 5)
    assert f"pid {daemon.pid}" in own.stdout
    assert "of an older version than this command: threepiod restart" in own.stdout
    assert "of an older version than this command: threepiod restart" in metrics.stderr


@pytest.mark.parametrize("command", ["status", "failures", "runs", "never-ran"])
def test_a_directory_into_which_others_may_write_is_not_read(place: Place, call: Call, command: str) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 1))
    place.state_dir.path.chmod(0o777)

    result = call(place, command)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"threepio: others may write to the directory {place.state_dir.path}: chmod 700 it")
