"""`threepio run`: the command's own exit code, unless it said 0 and did not pass; signals reach it once."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import made_state_dir, run_lines, write_journal
from threepio_client.cli import command_output
from threepio_client.cli import run as run_module
from threepio_client.cli.command_output import LAST_LINES
from threepio_client.paths import StateDir

PYTEST = f"{sys.executable} -m pytest -q -p no:cacheprovider"

GREEN = "def test_one(): pass\ndef test_two(): pass"
VERDICT = {"text": "passed", "kind": "passed"}
RED = "def test_fine(): pass\ndef test_broken(): assert 1 == 2"

RUNNER = """
import sys
from threepio_client import settings
from threepio_client.adapter import Adapter
code = int(sys.argv[1])
adapter = Adapter(settings.load(), {"runner": {"name": "script"}})
adapter.emit("collectionFinish", {"collected": 1, "deselected": 0})
name = "test_it.py::test_one"
adapter.emit("testCase", {"testName": "test_one", "parentNames": ["test_it.py"], "nodeid": name,
                          "status": "FAIL" if code else "PASS", "phase": "call", "duration": 1.0})
totals = {"failed" if code else "passed": 1}
adapter.close({"exitCode": code, "totals": totals, "deselected": 0, "stopped": None})
sys.exit(code)
"""
"""A runner that is quicker than pytest: one test, which fails if the exit code is to be 1."""

NOTES_SIGNALS = """
import os, signal, sys, time
def note(number, frame):
    with open("signals", "a") as file:
        file.write(signal.Signals(number).name + "\\n")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, note)
open("reached", "w").close()
while not os.path.exists("go on"):
    time.sleep(0.01)
time.sleep(0.3)  # a signal that comes twice comes by then
sys.exit(3)
"""


@pytest.fixture
def here(shared: Place, tmp_path: Path) -> Place:
    """The shared place with its daemon, seen from a directory of the test's own."""
    found = Place(shared.path)
    found.path = tmp_path
    found.environ = {**shared.environ}
    return found


def runner(place: Place, code: int) -> str:
    """Return the shell command of a run of RUNNER."""
    (place.path / "runner.py").write_text(RUNNER)
    return f"{sys.executable} runner.py {code}"


def start(place: Place, *command: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "threepio_client.cli", "run", "--", *command],
        env=place.environ,
        cwd=place.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **more,
    )


def output_of(place: Place, stdout: str) -> str:
    line = next(line for line in stdout.splitlines() if "full output:" in line)
    return Path(line.partition("full output: ")[2]).read_text()


def state_of(place: Place, run_id: str) -> str:
    return str(json.loads(place.threepio("status", run_id, "--json").stdout)["state"])


@pytest.mark.parametrize("code", [0, 255])
def test_the_exit_code_of_a_command_without_an_adapter_passes_through(here: Place, code: int) -> None:
    done = here.threepio("run", "--", "sh", "-c", f"echo said by it; exit {code}")

    assert done.returncode == code
    assert "no adapter reported" in done.stderr
    assert "said by it" not in done.stdout
    assert output_of(here, done.stdout) == "said by it\n"
    assert "threepio doctor" in done.stderr


def test_why_a_command_ended_before_any_adapter_reported_is_shown(here: Place) -> None:
    here.path.joinpath("conftest.py").write_text("import not_there_at_all\n")

    done = here.threepio("run", "--", sys.executable, "-m", "pytest", "-q")

    assert done.returncode == 4
    assert "No module named 'not_there_at_all'" in done.stderr
    assert len(done.stderr.splitlines()) <= LAST_LINES + 2


def test_what_a_command_printed_last_is_shown_inert_and_bounded(here: Place) -> None:
    done = here.threepio("run", "--", "sh", "-c", r"seq 100000; printf '\033[31m%09999d\n\n' 7; exit 3")

    assert done.returncode == 3
    assert "\033" not in done.stderr
    assert "  99999\n" in done.stderr
    assert len(done.stderr) < 3_000


def test_a_green_suite_is_a_few_lines_and_exit_code_0(here: Place) -> None:
    here.suite(GREEN)

    done = here.threepio("run", "--", *PYTEST.split(), THREEPIO_RUN_ID="green")

    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) <= 5
    assert "run green: passed" in done.stdout
    assert "2 passed" in done.stdout
    assert "2 passed in" in output_of(here, done.stdout)
    assert here.verify("green")["whole"]


def test_a_red_suite_is_named_with_its_failures_and_keeps_its_exit_code(here: Place) -> None:
    here.suite(RED)

    done = here.threepio("run", "--", *PYTEST.split(), THREEPIO_RUN_ID="red")

    assert (done.returncode, done.stderr) == (1, "")
    assert "run red: failed" in done.stdout
    assert "1x assert 1 == 2 at test_it.py:2" in done.stdout
    assert "in test_it.py::test_broken" in done.stdout


def test_a_wrapper_that_hides_a_failure_is_not_believed(here: Place) -> None:
    done = here.threepio("run", "--", "sh", "-c", f"{runner(here, 1)} || true", THREEPIO_RUN_ID="hidden")

    assert done.returncode == 70
    assert "the command said 0" in done.stderr
    assert "run hidden: failed" in done.stdout


def test_an_exit_code_that_a_plugin_made_0_is_not_believed(here: Place) -> None:
    here.suite(RED)
    (here.path / "conftest.py").write_text("def pytest_sessionfinish(session): session.exitstatus = 0\n")

    done = here.threepio("run", "--", *PYTEST.split(), THREEPIO_RUN_ID="hides")

    assert done.returncode == 70
    assert done.stderr == "threepio: the command said 0, but its run did not pass\n"
    assert "run hides: failed - tests failed, though the runner ended with exit code 0" in done.stdout
    assert "1x assert 1 == 2" in done.stdout


@pytest.mark.parametrize(("code", "stdout"), [(0, ">/dev/full"), (1, ">/dev/full"), (0, ">&-"), (1, ">&-")])
def test_an_answer_that_cannot_be_written_changes_no_exit_code(here: Place, code: int, stdout: str) -> None:
    command = f"{sys.executable} -m threepio_client.cli run -- {runner(here, code)} {stdout}"

    done = here.shell(command)

    assert done.returncode == code
    said = "threepio: the answer cannot be written: No space left on device\n"
    assert done.stderr == (said if stdout == ">/dev/full" else "")


@pytest.mark.parametrize("code", [0, 1])
def test_a_reader_that_leaves_changes_no_exit_code(here: Place, code: int) -> None:
    runs = f"{sys.executable} -m threepio_client.cli run -- {runner(here, code)}"
    hides = f"{sys.executable} -m threepio_client.cli run -- sh -c '{runner(here, 1)} || true'"

    plain = here.shell(f"bash -o pipefail -c '{runs} | true'")
    doubted = here.shell(f"""bash -o pipefail -c "{hides} | true" """)

    assert (plain.returncode, plain.stderr) == (code, "")
    assert (doubted.returncode, doubted.stderr) == (
        70,
        "threepio: the command said 0, but its run did not pass\n",
    )


def test_an_answer_whose_reader_has_left_is_no_0(here: Place) -> None:
    write_journal(here.state_dir, "bad", run_lines("bad", 2, exit_code=1))

    done = here.shell(f"bash -o pipefail -c '{sys.executable} -m threepio_client.cli status bad | true'")

    assert (done.returncode, done.stderr) == (141, "")


def test_why_a_runner_was_called_in_a_wrong_way_is_shown(here: Place) -> None:
    done = here.threepio("run", "--", *PYTEST.split(), "no_such_file.py", THREEPIO_RUN_ID="usage")

    assert done.returncode == 4
    assert "run usage: failed - the runner was called in a wrong way" in done.stdout
    assert "    ERROR: file or directory not found: no_such_file.py\n" in done.stdout


def test_why_a_runner_ended_after_its_collection_is_shown(here: Place) -> None:
    (here.path / "pytest.ini").write_text("[pytest]\naddopts = --strict-config\nunknown_setting = 1\n")
    here.suite("def test_one(): pass")

    done = here.threepio("run", "--", *PYTEST.split(), "test_it.py", THREEPIO_RUN_ID="strict")

    assert done.returncode == 4
    assert "run strict: failed - the runner was called in a wrong way" in done.stdout
    assert "unknown_setting" in done.stdout


@pytest.mark.parametrize("says", ["", "echo about to die; "])
def test_a_command_that_was_killed_before_its_run_began_is_told_so(here: Place, says: str) -> None:
    done = here.threepio("run", "--", "sh", "-c", f"{says}kill -KILL $$")

    assert done.returncode == 137
    assert "the command was killed by SIGKILL before a run began" in done.stderr
    assert "plugin" not in done.stderr
    assert ("  about to die\n" in done.stderr) == bool(says)


def test_a_relative_place_is_the_same_for_a_command_elsewhere(here: Place) -> None:
    below = here.path / "below"
    below.mkdir()
    state = os.path.relpath(here.state_dir.path, here.path)
    command = runner(here, 0).replace(" ", " ../", 1)

    done = here.threepio(
        "run", "--", "sh", "-c", f"cd below && {command}", THREEPIO_RUN_ID="moved", THREEPIO_STATE_DIR=state
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "run moved: passed" in done.stdout


def test_an_end_that_cannot_be_noted_is_said_and_the_run_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadOnly:
        def __enter__(self) -> ReadOnly:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def observe(self, *_: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system", "run.observed.jsonl")

        def status(self, _run: str) -> dict[str, Any]:
            return {
                "run_id": "run",
                "parent_run_id": None,
                "state": "passed",
                "verdict": VERDICT,
                "death": None,
                "workers_died": 0,
            }

    monkeypatch.setattr(run_module, "open_source", ReadOnly)
    monkeypatch.setattr(run_module, "say_result", lambda _, view: print(f"run {view['run_id']}: {view['state']}"))

    doubt = run_module._report(["run"], {"exitCode": 0}, None, {})

    said = capsys.readouterr()
    assert (doubt, said.out) == ("", "run run: passed\n")
    assert said.err == (
        "threepio: cannot note how the command ended: [Errno 30] Read-only file system: 'run.observed.jsonl'\n"
    )


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_command_never_writes_to_a_file_for_which_there_is_no_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def fails(*_: int) -> None:
        raise OSError(error, os.strerror(error))

    state_dir = made_state_dir(tmp_path / "state")
    _, file = command_output.reserve(state_dir, "one")
    assert file is not None
    assert os.fstat(file).st_size == 0
    os.close(file)
    monkeypatch.setattr(os, "posix_fallocate", fails)

    assert command_output.reserve(state_dir, "two") == ("two", None)
    assert capsys.readouterr().err == (
        f"threepio: the command's output comes here, not into a file: cannot write {state_dir.output('two')}: "
        f"{os.strerror(error)}\n"
    )


def test_a_file_system_that_reserves_no_room_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "")

    monkeypatch.setattr(os, "posix_fallocate", fails)

    run_id, file = command_output.reserve(made_state_dir(tmp_path / "state"), "one")

    assert run_id == "one"
    assert file is not None
    os.close(file)


def test_every_runner_of_a_command_is_a_run_of_its_own(here: Place) -> None:
    command = "; ".join(runner(here, code) for code in (0, 1, 0))

    done = here.threepio("run", "--", "sh", "-c", command, THREEPIO_RUN_ID="several")

    assert done.returncode == 70  # the last one said 0
    for run_id, state in (("several", "passed"), ("several-2", "failed"), ("several-3", "passed")):
        assert f"run {run_id}: {state}" in done.stdout
        assert state_of(here, run_id) == state


def test_runs_of_the_longest_id_are_all_found(here: Place) -> None:
    long = "x" * 64
    command = f"{runner(here, 0)}; {runner(here, 1)} || true"

    done = here.threepio("run", "--", "sh", "-c", command, THREEPIO_RUN_ID=long)

    assert done.returncode == 70
    assert f"run {long}: passed" in done.stdout
    assert f"run {'x' * 62}-2: failed" in done.stdout


def test_a_taken_run_id_shows_the_new_run_and_not_the_old_one(here: Place) -> None:
    write_journal(here.state_dir, "taken", run_lines("taken", 2))

    done = here.threepio("run", "--", *runner(here, 0).split(), THREEPIO_RUN_ID="taken")

    assert done.returncode == 0
    assert done.stderr == "threepio: the run id taken is taken: this run is taken-2\n"
    assert "run taken-2: passed" in done.stdout
    assert "run taken:" not in done.stdout
    assert f"full output: {here.state_dir.output('taken-2')}\n" in done.stdout


def test_of_two_commands_that_want_one_id_at_once_each_has_its_own(here: Place, tmp_path: Path) -> None:
    waits = f"touch reached; while ! [ -e go ]; do sleep 0.01; done; {runner(here, 1)}"
    first = subprocess.Popen(
        [*here.python, "-m", "threepio_client.cli", "run", "--", "sh", "-c", waits],
        env={**here.environ, "THREEPIO_RUN_ID": "both"},
        cwd=here.path,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until((here.path / "reached").exists)

    second = here.threepio("run", "--", *runner(here, 0).split(), THREEPIO_RUN_ID="both")
    (here.path / "go").touch()
    said, _ = first.communicate(timeout=COMMAND_TIMEOUT_S)

    assert (first.returncode, second.returncode) == (1, 0)
    assert "run both-2: passed" in second.stdout
    assert "run both: failed" in said
    assert "both-2" not in said


def test_the_runs_of_a_command_are_its_own_whatever_their_ids(here: Place) -> None:
    """Both want one id; the first one begins a second run while the other has yet to begin its first."""
    fails = f"touch reached; while ! [ -e go ]; do sleep 0.01; done; {runner(here, 0)}; {runner(here, 1)}; touch over"
    waits = f"touch other; while ! [ -e over ]; do sleep 0.01; done; {runner(here, 0)}"
    here.environ["THREEPIO_RUN_ID"] = "shared"
    first = start(here, "sh", "-c", fails)
    wait_until((here.path / "reached").exists)
    second = start(here, "sh", "-c", waits)
    wait_until((here.path / "other").exists)

    (here.path / "go").touch()
    said = [process.communicate(timeout=COMMAND_TIMEOUT_S)[0] for process in (first, second)]

    assert (first.returncode, second.returncode) == (70, 0)
    assert "run shared: passed" in said[0]
    assert "run shared-3: failed" in said[0]
    assert "run shared-2: passed" in said[1]
    assert "shared-3" not in said[1]


def test_a_run_that_another_program_began_under_its_id_is_not_its_own(here: Place) -> None:
    command = f"{runner(here, 0)}; env -u THREEPIO_COMMAND_ID {runner(here, 1)} || true"

    done = here.threepio("run", "--", "sh", "-c", command, THREEPIO_RUN_ID="plain")

    assert done.returncode == 0
    assert "run plain: passed" in done.stdout
    assert "plain-2" not in done.stdout
    assert state_of(here, "plain-2") == "failed"


def test_a_run_of_an_older_adapter_is_known_by_its_name(here: Place) -> None:
    older = write_journal(StateDir(here.path / "older"), "older-2", run_lines("older-2", 1, exit_code=1))
    command = f"{runner(here, 0)}; cp {older} {here.state_dir.journals}"

    done = here.threepio("run", "--", "sh", "-c", command, THREEPIO_RUN_ID="older")

    assert done.returncode == 70
    assert "run older-2: failed" in done.stdout


def test_where_a_suite_removed_its_journal_no_later_command_is_made_of_it(here: Place) -> None:
    here.threepio("run", "--", "sh", "-c", f"{runner(here, 0)}; echo done", THREEPIO_RUN_ID="removed")
    here.state_dir.journal("removed").unlink()

    done = here.threepio("status")

    assert "run removed: passed" in done.stdout
    assert done.stderr == ""


def test_the_runs_of_a_command_are_found_under_ids_of_its_own(here: Place) -> None:
    command = f"THREEPIO_RUN_ID=chosen {runner(here, 1)}; THREEPIO_RUN_ID=another {runner(here, 0)}"

    done = here.threepio("run", "--", "sh", "-c", command, THREEPIO_RUN_ID="given")

    assert done.returncode == 70
    assert "run chosen: failed" in done.stdout
    assert "run another: passed" in done.stdout
    assert f"full output: {here.state_dir.output('chosen')}\n" in done.stdout
    assert here.threepio("status").stderr == ""


def test_a_run_whose_journal_its_suite_removed_is_told_by_the_store(here: Place) -> None:
    removes = f"{runner(here, 1)}; rm {here.state_dir.journal('removed-too')}"

    done = here.threepio("run", "--", "sh", "-c", removes, THREEPIO_RUN_ID="removed-too")

    assert done.returncode == 70
    assert "run removed-too: failed" in done.stdout


@pytest.mark.parametrize(
    "mask", [{"THREEPIO_MASK_ENV": "*_ID"}, {"THREEPIO_MASK": "[0-9a-f]{12,}"}], ids=["names", "patterns"]
)
def test_with_secrets_masked_a_command_knows_its_runs(here: Place, mask: dict[str, str]) -> None:
    done = here.threepio("run", "--", "sh", "-c", f"{runner(here, 1)}; true", **mask)

    assert done.returncode == 70
    assert ": failed" in done.stdout


def test_without_a_home_directory_the_command_runs(here: Place) -> None:
    (here.path / "stub").mkdir()
    (here.path / "stub/platformdirs.py").write_text("def user_state_path(*_, **__): raise RuntimeError('no home')")
    del here.environ["THREEPIO_STATE_DIR"]
    here.environ["PYTHONPATH"] = f"{here.path}/stub:{here.environ.get('PYTHONPATH', '')}"

    done = here.threepio("run", "--", "sh", "-c", "echo ran; exit 7")

    assert (done.returncode, done.stdout) == (7, "ran\n")
    assert "threepio: this run is not recorded: no place to keep results in is known" in done.stderr


def test_a_command_gets_the_descriptors_that_we_got(here: Place) -> None:
    with (here.path / "third").open("w") as third:
        number = third.fileno()
        process = start(here, sys.executable, "-c", f"import os; os.write({number}, b'told')", pass_fds=[number])
        process.communicate(timeout=COMMAND_TIMEOUT_S)

    assert process.returncode == 0
    assert (here.path / "third").read_text() == "told"


def test_a_command_without_a_run_leaves_nothing_to_the_next_one_of_its_id(here: Place) -> None:
    here.threepio("run", "--", "echo", "no run", THREEPIO_RUN_ID="again")

    done = here.threepio("run", "--", *runner(here, 0).split(), THREEPIO_RUN_ID="again")

    assert "run again: passed" in done.stdout
    assert here.state_dir.output("again").read_text() == ""


def test_a_command_that_is_not_there_is_127(here: Place) -> None:
    done = here.threepio("run", "--", "no-such-command", "-x")
    assert done.returncode == 127
    assert "cannot run no-such-command: No such file or directory" in done.stderr


def test_a_command_that_a_signal_ended_is_128_and_the_signal(here: Place) -> None:
    assert here.threepio("run", "--", "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_a_killed_suite_is_shown_as_crashed(here: Place) -> None:
    here.suite("import os, signal\ndef test_one(): pass\ndef test_dies(): os.kill(os.getpid(), signal.SIGKILL)")

    done = here.threepio("run", "--", *PYTEST.split(), THREEPIO_RUN_ID="killed")

    assert done.returncode == 128 + signal.SIGKILL
    assert "run killed: crashed - the process was killed by SIGKILL" in done.stdout
    assert "in the call of test_it.py::test_dies;" in done.stdout


def noted(place: Place, send: Callable[[int], None], times: int = 1, first: str = "") -> str:
    """Return the signals that a command notes while some are sent, one after the other, to the pid of `threepio run`.

    Args:
        place: where it runs.
        send: sends one.
        times: how many.
        first: what the command does before anything else.
    """
    (place.path / "command.py").write_text(first + NOTES_SIGNALS)
    found = place.path / "signals"
    process = start(place, sys.executable, "command.py")
    try:
        wait_until((place.path / "reached").exists)
        for number in range(1, times + 1):
            send(process.pid)
            wait_until(lambda: found.exists() and found.read_text().count("\n") >= number)  # noqa: B023
        (place.path / "go on").touch()
        process.communicate(timeout=COMMAND_TIMEOUT_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 3
    return found.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_reaches_the_command_once(here: Place, number: signal.Signals) -> None:
    assert noted(here, lambda pid: os.kill(pid, number)) == f"{number.name}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_to_the_whole_group_reaches_the_command_once_too(here: Place, number: signal.Signals) -> None:
    assert noted(here, lambda pid: os.killpg(pid, number), times=4) == 4 * f"{number.name}\n"


def test_a_command_in_a_group_of_its_own_gets_what_was_sent_to_ours(here: Place) -> None:
    own_group = "import os\nos.setpgid(0, 0)\n"

    assert noted(here, lambda pid: os.killpg(pid, signal.SIGTERM), first=own_group) == "SIGTERM\n"


def test_a_suite_that_is_asked_to_end_is_interrupted(here: Place) -> None:
    here.suite(
        "import time\ndef test_one(): pass\ndef test_waits():\n    open('reached', 'w').close()\n    time.sleep(60)"
    )
    here.environ["THREEPIO_RUN_ID"] = "asked"
    process = start(here, *PYTEST.split())
    try:
        wait_until((here.path / "reached").exists)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == 128 + signal.SIGTERM
    assert "run asked: interrupted - ended by SIGTERM" in output
    assert "in the call of test_it.py::test_waits;" in output


def test_a_caller_that_ignores_its_children_does_not_make_it_hang(here: Place) -> None:
    process = start(here, "sh", "-c", "exit 5", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    try:
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 5


def test_a_daemon_is_started_where_none_runs(place: Place) -> None:
    done = place.threepio("run", "--", *runner(place, 0).split(), THREEPIO_RUN_ID="first")

    assert (done.returncode, done.stderr) == (0, "")
    assert "asked the daemon" in done.stdout
    assert place.threepiod("status").returncode == 0
    assert place.verify("first")["whole"]


def test_where_no_daemon_can_be_started_the_suite_runs_all_the_same(place: Place) -> None:
    place.settings.socket.mkdir()

    done = place.threepio("run", "--", *runner(place, 1).split(), THREEPIO_RUN_ID="alone")

    assert done.returncode == 1
    assert "going on without a daemon" in done.stderr
    assert "is a directory, not a socket" in done.stderr
    assert "asked the journal" in done.stdout


def test_a_daemon_that_dies_meanwhile_changes_no_exit_code(place: Place) -> None:
    place.suite(
        "import os, time\ndef test_waits():\n    open('reached', 'w').close()\n"
        "    while not os.path.exists('go on'): time.sleep(0.01)"
    )
    place.start_daemon()
    place.environ["THREEPIO_RUN_ID"] = "alone"
    process = start(place, *PYTEST.split())
    wait_until((place.path / "reached").exists)
    place.kill_daemon()
    (place.path / "go on").touch()
    output, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)

    assert process.returncode == 0, errors
    assert "run alone: passed" in output
