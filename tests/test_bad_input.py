"""Wrong settings, wrong places, damaged files, strangers on the socket: each is said in a line that names what to do.

The tests run in any case, with their own outcome, except where a setting holds a wrong word.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Call
from tests.place import Place, wait_until
from tests.scripted import flip_bit, living, made_state_dir, run_lines, write_journal
from threepio_client.archive import Archive
from threepio_client.cli import source as source_module
from threepio_client.cli.command_output import reserve
from threepio_client.paths import StateDir
from threepio_client.runfiles import journal_files

GREEN = "def test_one(): pass"
RED = "def test_one(): assert False"

READING = [["status"], ["failures"], ["verify"]]
"""Commands that speak of one run."""


def only_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


# Which run?


@pytest.fixture(scope="module")
def three(shared: Place) -> Place:
    """A place with a daemon and the runs `apple`, `apricot` and `banana`."""
    for run_id in ("apple", "apricot", "banana"):
        write_journal(shared.state_dir, run_id, run_lines(run_id, 1))
    return shared


@pytest.mark.parametrize("with_daemon", [True, False], ids=["daemon", "journal only"])
@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_an_unknown_run(three: Place, call: Call, command: list[str], with_daemon: bool) -> None:
    environ = {} if with_daemon else {"THREEPIO_SOCKET": str(three.path / "none")}

    unknown = call(three, *command, "cherry", **environ)
    ambiguous = call(three, *command, "ap", **environ)

    for result in (unknown, ambiguous):
        assert (result.exit_code, result.stdout) == (4, "")
    assert "no run begins with 'cherry': see them with: threepio runs" in only_line(unknown.stderr)
    assert "2 runs begin with 'ap': " in only_line(ambiguous.stderr)
    assert "apple" in ambiguous.stderr
    assert "apricot" in ambiguous.stderr
    assert "banana" not in ambiguous.stderr


def test_a_reference_that_acts_on_the_terminal(three: Place, call: Call) -> None:
    assert "\\x1b[31m" in only_line(call(three, "status", "\x1b[31m").stderr)


@pytest.mark.parametrize("command", [*READING, ["wait", "--max", "0s"], ["rerun"], ["events"]], ids=" ".join)
def test_the_id_of_a_command_that_began_no_run_is_no_prefix(place: Place, call: Call, command: list[str]) -> None:
    write_journal(made_state_dir(place.state_dir.path), "shard-10", run_lines("shard-10", 1))
    place.state_dir.output("shard-1").parent.mkdir()
    place.state_dir.output("shard-1").touch()

    result = call(place, command[0], "shard-1", *command[1:])

    assert (result.exit_code, result.stdout) == (4, "")
    printed = place.state_dir.output("shard-1")
    assert f"no run shard-1 has begun; what its command printed: {printed}" in result.stderr.splitlines()[-1]
    assert "has begun" not in call(place, command[0], "../output/shard-1", *command[1:]).stderr


@pytest.mark.parametrize(
    "command", [["status"], ["status", "--json"], ["failures"], ["report", "--format", "junit"]], ids=" ".join
)
def test_a_later_command_without_a_run_is_said_beside_the_latest_run(
    place: Place, call: Call, command: list[str]
) -> None:
    write_journal(made_state_dir(place.state_dir.path), "run", run_lines("run", 1))
    before = call(place, *command)
    printed = place.state_dir.output("broken")
    printed.parent.mkdir()
    printed.touch()

    after, named = call(place, *command), call(place, command[0], "run", *command[1:])

    said = f"threepio: a later command has begun no run; what it printed: {printed}\n"
    assert said not in before.stderr
    assert said in after.stderr
    assert said not in named.stderr
    assert after.exit_code == before.exit_code


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_no_runs_yet(place: Place, call: Call, command: list[str]) -> None:
    for reference in ("latest", "any"):
        result = call(place, *command, reference)
        assert (result.exit_code, result.stdout) == (4, "")
        assert "there are no runs yet" in only_line(result.stderr)
        assert "threepio run -- pytest" in result.stderr


# The state directory


def a_file(place: Place) -> Path:
    path = place.path / "state"
    path.write_text("precious")
    return path


def below_a_file(place: Place) -> Path:
    return a_file(place) / "below"


def in_proc(place: Place) -> Path:
    return Path("/proc/threepiod/state")


def too_long(place: Place) -> Path:
    return place.path / ("x" * 300)


BAD_PLACES = [a_file, below_a_file, in_proc, too_long]


@pytest.mark.parametrize("bad", BAD_PLACES)
def test_a_state_directory_that_cannot_be_used_is_said(place: Place, call: Call, bad: Callable[[Place], Path]) -> None:
    path = bad(place)
    place.environ["THREEPIO_STATE_DIR"] = str(path)

    start = place.threepiod("start")
    read = call(place, "status")

    assert start.returncode == 2
    assert str(path) in only_line(start.stderr)
    assert "THREEPIO_STATE_DIR" in start.stderr
    assert read.exit_code == (4 if bad is in_proc else 2)
    assert "THREEPIO_STATE_DIR" in only_line(read.stderr) or bad is in_proc


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file of somebody else")
@pytest.mark.parametrize("command", [*READING, ["runs"], ["flaky"], ["history", "test_1"]], ids=" ".join)
def test_a_journal_of_another_user_is_passed_over_and_said(place: Place, call: Call, command: list[str]) -> None:
    journal = write_journal(made_state_dir(place.state_dir.path), "theirs", run_lines("theirs", 1))
    write_journal(place.state_dir, "ours", run_lines("ours", 2))
    os.chown(journal, 65534, 65534)

    result = call(place, *command)

    assert f"the journal {journal} is not read, because it belongs to uid 65534, not to you" in result.stderr
    assert "theirs" not in result.stdout
    assert "no flaky test in 1 run" in result.stdout or "ours" in result.stdout


def test_an_error_of_the_system_that_nobody_expected_is_one_line(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_journal(made_state_dir(place.state_dir.path), "run", run_lines("run", 1))
    monkeypatch.setattr(Archive, "run", lambda *_: os.stat("/proc/self/no-such-file"))

    result = call(place, "status", "run")

    assert (result.exit_code, result.stdout) == (2, "")
    assert only_line(result.stderr).startswith("threepio: /proc/self/no-such-file: No such file or directory. ")


def test_what_cannot_be_searched_keeps_no_command_from_running(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that keeps HOME=/root for another user."""
    real, closed = os.stat, place.path / "closed"

    def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{closed}/"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)

    run_id, output = reserve(StateDir(closed / "state"), "wanted")

    if output is not None:
        os.close(output)
    assert run_id == "wanted"
    assert journal_files(StateDir(closed / "state"), "wanted") == {}


@pytest.mark.parametrize(("bad", "suite", "code"), [(a_file, RED, 1), (too_long, GREEN, 0)], ids=["red", "green"])
def test_a_suite_runs_where_it_cannot_be_recorded(
    place: Place, bad: Callable[[Place], Path], suite: str, code: int
) -> None:
    place.environ["THREEPIO_STATE_DIR"] = str(bad(place))
    place.suite(suite)

    done = place.pytest("-q")

    assert done.returncode == code
    assert "threepio: this run is not recorded" in done.stdout
    assert "THREEPIO_STATE_DIR" in done.stdout
    assert bad is not a_file or (place.path / "state").read_text() == "precious"


def test_threepio_run_runs_the_command_also_where_nothing_can_be_written(place: Place) -> None:
    a_file(place)
    place.suite(RED)

    done = place.threepio("run", "--", *place.python, "-m", "pytest", "-q")

    assert done.returncode == 1
    assert "1 failed in" in done.stdout  # its output comes here
    assert "THREEPIO_STATE_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_mounted_read_only(place: Place) -> None:
    mounted = place.path / "mounted"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(mounted)], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        place.environ["THREEPIO_STATE_DIR"] = str(mounted / "state")
        place.suite(GREEN)
        start, suite = place.threepiod("start"), place.pytest("-q")
    finally:
        subprocess.run(["umount", str(mounted)], check=True)

    assert start.returncode == 2
    assert "Read-only file system. Set THREEPIO_STATE_DIR" in only_line(start.stderr)
    assert suite.returncode == 0
    assert "Read-only file system" in suite.stdout


def test_where_recording_is_required_a_place_that_cannot_be_used_is_a_usage_error(place: Place) -> None:
    a_file(place)
    place.suite(GREEN)

    done = place.pytest("-q", THREEPIO="require")

    assert done.returncode == 4
    assert "THREEPIO_STATE_DIR" in done.stderr
    assert "passed" not in done.stdout


def test_something_else_where_the_journals_should_be(place: Place, call: Call) -> None:
    place.state_dir.path.mkdir()
    place.state_dir.journals.write_text("no directory")
    place.suite(GREEN)

    read = call(place, "runs")
    suite = place.pytest("-q")

    assert read.exit_code == 2
    assert str(place.state_dir.journals) in only_line(read.stderr)
    assert suite.returncode == 0
    assert "this run is not recorded" in suite.stdout


# The socket


def test_a_socket_path_that_is_too_long(place: Place, call: Call) -> None:
    long = f"{place.path}/{'s' * 200}"
    place.environ["THREEPIO_SOCKET"] = long
    place.suite(RED)

    commands = [place.threepiod("start"), place.threepiod("stop")]
    suite = place.pytest("-q", THREEPIO_RUN_ID="long")
    required = place.pytest("-q", THREEPIO="require")
    run = place.threepio("run", "--", "sh", "-c", "exit 9")
    read = call(place, "status", "long")

    for done in commands:
        assert done.returncode == 2
        assert f"the socket path has {len(long)} bytes, the system allows 107" in only_line(done.stderr)
        assert "set THREEPIO_SOCKET to a shorter path" in done.stderr
    assert suite.returncode == 1
    assert "journal only: the socket path has" in suite.stdout
    assert required.returncode == 4
    assert "THREEPIO_SOCKET" in required.stderr
    assert run.returncode == 9
    assert "going on without a daemon" in run.stderr
    assert read.exit_code == 1
    assert "run long: failed" in read.stdout
    assert "THREEPIO_SOCKET" in only_line(read.stderr)


def test_a_directory_where_the_socket_should_be(place: Place, call: Call) -> None:
    place.settings.socket.mkdir()
    (place.settings.socket / "precious").touch()
    place.suite(GREEN)

    start = place.threepiod("start")
    suite = place.pytest("-q", THREEPIO_RUN_ID="run")
    read = call(place, "status", "run")
    required = place.pytest("-q", THREEPIO="require")

    assert start.returncode == 2
    assert "is a directory, not a socket: remove it, or set THREEPIO_SOCKET" in only_line(start.stderr)
    assert (suite.returncode, read.exit_code) == (0, 0)
    assert "run run: passed" in read.stdout
    assert "no daemon at" in only_line(read.stderr)
    assert required.returncode == 4
    assert "Start it with: threepiod start" in required.stderr
    assert (place.settings.socket / "precious").exists()


@contextmanager
def stranger(path: Path, answer: bytes | None) -> Iterator[None]:
    """Listen as another program does: answer everybody, or accept and never say a word."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            held.append(client)
            if answer is not None:
                with suppress(OSError):  # a client that only looked has left already
                    client.recv(65536)
                    client.sendall(answer)

    listening.bind(str(path))
    listening.listen(16)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()
        for client in held:
            client.close()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", None],
    ids=["text", "not a word"],
)
def test_another_program_at_the_socket(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    monkeypatch.setattr(source_module, "PATIENCE_S", 0.3)
    place.suite(RED)
    with stranger(place.settings.socket, answer):
        start = place.threepiod("start")
        suite = place.pytest("-q", THREEPIO_RUN_ID="run")
        read = call(place, "status", "run")

    assert start.returncode == 5
    assert "another program listens at" in only_line(start.stderr)
    assert "THREEPIO_SOCKET" in start.stderr
    assert suite.returncode == 1
    assert "1 failed" in suite.stdout
    assert any(line.startswith("threepio: ") and "journal" in line for line in suite.stdout.splitlines()[-4:])
    assert read.exit_code == 1
    assert "run run: failed" in read.stdout
    assert ("does not answer within" if answer is None else "another program") in only_line(read.stderr)
    assert "this answer comes from store and journals" in read.stderr


GARBAGE = [
    b"\xff" * 1000,
    b"GET / HTTP/1.1\r\n\r\n",
    b"\0\0\0\0",
    b"\0\0\0\x05\x95\x01\x91\x01\xa5",
    os.urandom(50_000),
]


def test_garbage_on_the_socket_of_the_daemon(served: Place) -> None:
    served.suite("import os, time\ndef test_one():\n    open('reached', 'w').close()\n"
                 "    while not os.path.exists('go on'): time.sleep(0.01)\ndef test_two(): pass")  # fmt: skip
    suite = served.start_pytest("-q", THREEPIO_RUN_ID="steady")
    wait_until((served.path / "reached").exists)
    pid = served.daemon_pid()

    for garbage in GARBAGE:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(served.settings.socket))
            try:
                client.sendall(garbage)
                while client.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass  # it closed before it had read all of that
    (served.path / "go on").touch()
    output, _ = suite.communicate()

    assert suite.returncode == 0, output
    assert "is stored" in output  # over the connection that it had all the time
    status = json.loads(served.threepiod("status", "--json").stdout)
    assert status["pid"] == pid
    assert status["errors"] == len(GARBAGE)
    assert "refused a client" in status["last_error"]["text"]
    view = served.status("steady")
    assert (view["state"], view["events"]["spilled"]) == ("passed", 0)


# Damaged journals and stores


@pytest.mark.parametrize("with_daemon", [True, False], ids=["daemon", "journal only"])
def test_a_journal_that_is_damaged(place: Place, call: Call, with_daemon: bool) -> None:
    torn, flipped = run_lines("torn", 5, exit_code=None), run_lines("flipped", 5)
    path = write_journal(place.state_dir, "torn", [*torn, b'{"seq":8,"eventTy'])
    write_journal(place.state_dir, "flipped", flipped)
    flip_bit(place.state_dir.journal("flipped"), sum(map(len, flipped[:4])) + 50)
    before = path.read_bytes()
    if with_daemon:
        place.start_daemon()
        wait_until(lambda: call(place, "verify", "torn").exit_code == 0)
        wait_until(lambda: json.loads(call(place, "status", "flipped", "--json").stdout)["events"]["stored"] == 8)

        wait_until(lambda: "crashed" in call(place, "status", "torn").stdout)
    crashed, incomplete = call(place, "status", "torn"), call(place, "status", "flipped")
    verified = call(place, "verify", "flipped", THREEPIO_SOCKET=str(place.path / "none"))

    assert (crashed.exit_code, incomplete.exit_code, verified.exit_code) == (1, 1, 1)
    assert "run torn: crashed" in crashed.stdout
    assert json.loads(call(place, "status", "torn", "--json").stdout)["finished"] == 5
    assert "run flipped: incomplete" in incomplete.stdout
    assert "1 unreadable" in incomplete.stdout
    assert "1 corrupt" in verified.stdout
    assert "line 5 of flipped.jsonl is corrupt: checksum does not match" in verified.stdout
    assert path.read_bytes() == before


def test_a_store_that_is_none(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 5))
    place.state_dir.store.write_bytes(b"no store" * 1000)

    read, runs = call(place, "status"), call(place, "runs")

    assert (read.exit_code, runs.exit_code) == (0, 0)
    assert "run run: passed" in read.stdout
    for result in (read, runs):
        assert f"the store {place.state_dir.store} cannot be read" in only_line(result.stderr)
        assert "this answer comes from the journals alone" in result.stderr


# Settings


def test_a_run_id_that_is_taken(place: Place) -> None:
    write_journal(place.state_dir, "mine", run_lines("mine", 1, identity=living()))
    before = place.state_dir.journal("mine").read_bytes()
    place.suite(RED)

    done = place.pytest("-q", THREEPIO_RUN_ID="mine")

    assert done.returncode == 1
    assert done.stdout.count("the run id mine is taken already: this run is mine-2") == 1
    assert place.state_dir.journal("mine").read_bytes() == before
    assert place.status("mine-2")["state"] == "failed"


WRONG_WORDS = {
    "THREEPIO": ("on", "must be one of auto, require, off"),
    "THREEPIO_RUN_ID": ("../../etc/passwd", "must be 1 to 64 of"),
    "THREEPIO_SYNC": ("sometimes", "must be one of group, always, exit"),
    "THREEPIO_EVENT_BUFFER_SIZE": ("-5", "must be a whole number"),
    "THREEPIO_BLOCK_MS": ("soon", "must be a number of milliseconds"),
    "THREEPIO_BLOCK_TOTAL_MS": ("nan", "must be a number of milliseconds"),
    "THREEPIO_NESTED": ("yes", "must be 0 or 1"),
}


@pytest.mark.parametrize("name", WRONG_WORDS)
def test_a_wrong_word_in_a_setting_is_a_usage_error_of_a_command(place: Place, call: Call, name: str) -> None:
    value, allowed = WRONG_WORDS[name]
    for command in (["status"], ["runs"], ["run", "--", "touch", "ran"]):
        result = call(place, *command, **{name: value})
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{name}={value!r}: {allowed}" in only_line(result.stderr)
    assert not Path("ran").exists()


@pytest.mark.parametrize("value", ["latest", "", "a" * 65, "a b", "x.observed", "\u00e9"])
def test_a_run_id_that_cannot_be_one(place: Place, call: Call, value: str) -> None:
    result = call(place, "runs", THREEPIO_RUN_ID=value)
    assert result.exit_code == (2 if value else 0)


def test_a_wrong_word_in_a_setting_is_a_usage_error_of_pytest_and_of_the_daemon(place: Place) -> None:
    place.suite(GREEN)
    suite = place.pytest("-q", THREEPIO_SYNC="sometimes")
    start = place.threepiod("start", THREEPIO_SYNC="sometimes")

    assert (suite.returncode, start.returncode) == (4, 2)
    for text in (suite.stderr, start.stderr):
        assert "THREEPIO_SYNC='sometimes': must be one of group, always, exit" in text
    assert "passed" not in suite.stdout
