"""`threepio rerun` and `threepio never-ran`: the right tests, the command of the run, clear words where there are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Call
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import case, event, run_lines, write_journal
from tests.two_runs import write_run
from threepio_client.events import EventType

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
SUITE = """
import os
def test_fails(): assert not os.environ.get("RED")
def test_kills():
    if os.environ.get("RED"): os._exit(0)
def test_last(): pass
"""
WAITS = """
import os, time
def test_waits():
    open("reached", "w").close()
    while not os.path.exists("go on"): time.sleep(0.01)
"""


def test_what_a_collection_that_was_cut_short_did_not_come_to_is_run_again(place: Place) -> None:
    place.suite("import not_there", "test_a.py")
    place.suite("def test_b(): pass", "test_b.py")
    place.pytest("-q", "-x", THREEPIO_RUN_ID="cut")
    status, listed = place.status("cut"), place.threepio("never-ran", "cut")
    place.suite("def test_a(): pass", "test_a.py")

    done = place.threepio("rerun", "cut", THREEPIO_RUN_ID="again")

    assert (status["state"], status["verdict"]["kind"], status["collected"]) == ("interrupted", "maxfail", None)
    assert listed.returncode == 1
    assert "its collection was not over" in listed.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 tests finished" in done.stdout


def test_a_run_that_died_is_finished_by_a_rerun(place: Place) -> None:
    place.start_daemon()
    place.suite(SUITE)
    died = place.threepio("run", "--", *PYTEST, RED="1", THREEPIO_RUN_ID="red")
    listed = place.threepio("never-ran", "red")

    done = place.threepio("rerun", "red", "--", "-v", THREEPIO_RUN_ID="green")

    assert died.returncode == 70
    assert "threepio rerun red" in died.stdout
    assert listed.returncode == 1
    assert listed.stdout.splitlines() == [
        "run red: 2 tests never ran",
        "  test_it.py::test_kills (was running when it ended)",
        "  test_it.py::test_last",
    ]
    assert done.returncode == 0, done.stderr
    assert f"in {place.path}: {' '.join(PYTEST)} --threepio-rerun=red -v" in done.stdout
    assert "3 of 3 tests finished" in done.stdout
    status = place.status("green")
    assert (status["state"], status["rerun_of"], status["counts"]["passed"]) == ("passed", "red", 3)
    order = [e["payload"]["nodeid"] for e in place.journal_events("green") if e["eventType"] == "testCase"]
    assert order == [f"test_it.py::test_{name}" for name in ("fails", "last", "kills")]
    nothing = place.threepio("never-ran", "green")
    assert (nothing.returncode, nothing.stdout) == (0, "run green: every collected test has run\n")


@pytest.mark.parametrize("has_outcome", [True, False], ids=["outcome", "no outcome"])
def test_what_a_worker_died_in_has_run_if_it_has_an_outcome(place: Place, call: Call, has_outcome: bool) -> None:
    names = ["t.py::test_kills", "t.py::test_fine"]
    lines = [
        *run_lines("died", 0, exit_code=None)[:1],
        event(2, EventType.TESTS_COLLECTED, {"nodeids": names}),
        event(3, EventType.COLLECTION_FINISH, {"collected": 2, "deselected": 0}),
        case(4, names[1]),
        event(5, EventType.WORKER_GONE, {"worker": "gw0", "signal": 9, "nodeid": names[0], "phase": "call"}),
        *([case(6, names[0], "FAIL")] if has_outcome else []),
    ]
    write_journal(place.state_dir, "died", lines)

    listed, answer = call(place, "never-ran"), json.loads(call(place, "never-ran", "--json").stdout)

    assert answer["suspects"] == [names[0]]
    assert json.loads(call(place, "status", "--json").stdout)["never_ran"] == (not has_outcome)
    assert (listed.exit_code, listed.stdout) == (
        (0, "run died: every collected test has run\n")
        if has_outcome
        else (1, f"run died: 1 test never ran\n  {names[0]} (was running when it ended)\n")
    )


@pytest.mark.parametrize(
    ("how", "workers"),
    [
        ("raise KeyboardInterrupt", ()),
        ("pytest.exit('enough')", ()),
        ("os.kill(os.getppid(), signal.SIGINT), time.sleep(60)", ("-n", "1")),
    ],
    ids=["Ctrl-C", "exit", "Ctrl-C with workers"],
)
def test_what_was_running_when_the_user_stopped_it_is_known_and_comes_last(
    place: Place, how: str, workers: tuple[str, ...]
) -> None:
    place.suite(
        "import os, pytest, signal, time\ndef test_fine(): pass\n"
        f"def test_hangs():\n    if not os.path.exists('again'): {how}\n    assert os.path.exists('after')\n"
        "def test_after():\n    if os.path.exists('again'): open('after', 'w').close()\n"
    )
    place.pytest("-q", *workers, THREEPIO_RUN_ID="stopped")
    status = place.status("stopped")

    assert (status["state"], [slot["nodeid"] for slot in status["in_flight"]]) == (
        "interrupted",
        ["test_it.py::test_hangs"],
    )
    assert "in the call of test_it.py::test_hangs; 2 of 3 tests have no outcome" in status["verdict"]["text"]
    assert place.threepio("never-ran").stdout.splitlines()[1:] == [
        "  test_it.py::test_hangs (was running when it ended)",
        "  test_it.py::test_after",
    ]
    assert "in flight in call when the run was stopped" in place.threepio("show", "test_hangs").stdout
    (place.path / "again").touch()
    assert "2 passed" in place.threepio("rerun", "--", "-p", "no:randomly").stdout


def test_a_rerun_of_a_rerun_does_not_go_back_to_the_first(place: Place) -> None:
    place.start_daemon()
    place.suite("def test_a(): assert 0\ndef test_b(): assert 0")
    place.threepio("run", "--", *PYTEST, THREEPIO_RUN_ID="one")
    place.suite("def test_a(): pass\ndef test_b(): assert 0")
    place.threepio("rerun", THREEPIO_RUN_ID="two")

    done = place.threepio("rerun", THREEPIO_RUN_ID="three")

    assert "--threepio-rerun=one" not in done.stdout
    assert "--threepio-rerun=two" in done.stdout
    assert place.status("two")["collected"] == 2
    assert place.status("three")["collected"] == 1


def test_nothing_to_run_again(place: Place) -> None:
    place.suite("def test_fine(): pass")
    place.pytest("-q", THREEPIO_RUN_ID="green")

    done = place.threepio("rerun")

    assert (done.returncode, done.stdout) == (
        0,
        "nothing to run again: nothing failed in run green, and everything ran\n",
    )


def test_where_nothing_was_to_run_nothing_is_said_to_have_run(place: Place) -> None:
    place.suite("def test_fine(): pass")
    place.pytest("-q", "-k", "nothing_like_that", THREEPIO_RUN_ID="none")

    done = place.threepio("rerun")

    assert (done.returncode, done.stdout) == (
        1,
        "nothing to run again: nothing failed in run none, and nothing was to run\n"
        "but it did not pass: failed - no tests were run\n",
    )


def test_nothing_to_run_again_is_good_only_where_the_run_passed(place: Place) -> None:
    place.suite("def test_fine(): pass")
    place.suite("def pytest_sessionfinish(session): session.exitstatus = 3", "conftest.py")
    place.pytest("-q", THREEPIO_RUN_ID="broken")
    (place.path / "conftest.py").unlink()
    place.pytest("-q", THREEPIO_RUN_ID="fine")

    broken, fine = place.threepio("rerun", "broken"), place.threepio("rerun", "fine")

    assert (fine.returncode, fine.stdout) == (
        0,
        "nothing to run again: nothing failed in run fine, and everything ran\n",
    )
    assert broken.returncode == 1
    assert "\nbut it did not pass: failed - " in broken.stdout


def test_an_argument_that_is_no_text_is_given_again_as_it_was(place: Place) -> None:
    directory = Path(os.fsdecode(os.fsencode(place.path) + b"/d\xe9"))
    directory.mkdir()
    (directory / "test_it.py").write_text("def test_bad(): assert 0")
    place.pytest("-q", "--tb=no", "--no-summary", str(directory), THREEPIO_RUN_ID="bytes")

    done = place.threepio("rerun", "bytes")

    assert done.returncode == 1
    assert "1 of 1 tests finished" in done.stdout
    assert "1 failed" in done.stdout


def test_an_argument_that_only_looks_like_it_stays_as_it_is(place: Place) -> None:
    place.suite("import pytest\n@pytest.mark.parametrize('name', ['\\udce9'])\ndef test_bad(name): assert 0")
    place.pytest("-q", r"test_it.py::test_bad[\udce9]", THREEPIO_RUN_ID="looks")

    done = place.threepio("rerun", "looks")

    assert done.returncode == 1
    assert "1 failed" in done.stdout


def test_of_a_run_that_only_collects_no_test_never_ran(place: Place) -> None:
    place.suite("def test_a(): pass\ndef test_b(): pass")
    place.pytest("-q", "--co", THREEPIO_RUN_ID="list")

    status, listed, again = (place.threepio(command, "list") for command in ("status", "never-ran", "rerun"))

    assert "2 tests collected, none was to run" in status.stdout
    assert "never" not in status.stdout
    assert place.status("list")["never_ran"] == 0
    assert (listed.returncode, listed.stdout) == (0, "run list: it only collected, nothing was to run\n")
    assert json.loads(place.threepio("never-ran", "list", "--json").stdout)["never_ran"] == []
    assert (again.returncode, again.stdout) == (
        0,
        "nothing to run again: nothing failed in run list, and nothing was to run\n",
    )


def test_a_run_that_is_not_over_is_not_run_again(place: Place) -> None:
    place.suite(WAITS)
    process = place.start_pytest("-q", THREEPIO_RUN_ID="live")
    wait_until((place.path / "reached").exists)
    try:
        done = place.threepio("rerun", "live")
        listed = place.threepio("never-ran", "live")
    finally:
        (place.path / "go on").touch()
        process.communicate(timeout=COMMAND_TIMEOUT_S)

    assert (done.returncode, done.stdout) == (1, "")
    assert "run live is not over yet" in done.stderr
    assert "run live: 1 test without an outcome yet" in listed.stdout


def test_a_run_of_another_adapter_says_how_to_do_it_by_hand(place: Place) -> None:
    lines = run_lines("foreign", 2, exit_code=None)
    write_journal(place.state_dir, "foreign", lines[:-1])

    done = place.threepio("rerun", "foreign")

    assert done.returncode == 1
    assert "pytest --threepio-rerun=foreign" in done.stderr


def test_of_a_run_that_collected_nothing_no_test_is_said_to_have_run(place: Place) -> None:
    place.suite("")
    place.pytest("-q", THREEPIO_RUN_ID="empty")

    done = place.threepio("never-ran", "empty")

    assert (done.returncode, done.stdout) == (0, "run empty: it collected no test\n")


def started(place: Place, directory: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        env={**place.environ, **environ},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def test_a_run_of_another_directory_is_run_again_only_by_its_name(place: Place, tmp_path: Path) -> None:
    place.suite("def test_it(): assert 0")
    place.pytest("-q", THREEPIO_RUN_ID="theirs")

    by_chance, by_name = (started(place, tmp_path, "threepio_client.cli", "rerun", *name) for name in ((), ("theirs",)))

    assert (by_chance.returncode, by_chance.stdout) == (4, "")
    assert by_chance.stderr.endswith(
        "threepio: no run of this directory is known; to run again that one: threepio rerun theirs\n"
    )
    assert by_name.returncode == 1
    assert "1 failed" in by_name.stdout


def test_a_directory_that_is_gone_is_named(place: Place) -> None:
    (place.path / "old").mkdir()
    (place.path / "old/test_it.py").write_text("def test_it(): assert 0")
    started(place, place.path / "old", "pytest", "-q", THREEPIO_RUN_ID="moved")
    (place.path / "old").rename(place.path / "new")

    done = place.threepio("rerun", "moved")

    assert done.returncode == 127
    assert f" in {place.path / 'old'}: there is no such directory (any more)\n" in done.stderr


@pytest.mark.parametrize("command", ["rerun", "never-ran", "stacks"])
def test_a_run_that_is_not_known(place: Place, command: str) -> None:
    done = place.threepio(command, "nothing")

    assert done.returncode == 4
    assert "there are no runs yet" in done.stderr


def test_a_long_list_is_cut_and_says_how_to_see_the_rest(place: Place) -> None:
    place.suite("import os, pytest\n@pytest.mark.parametrize('n', range(30))\ndef test_n(n): os._exit(1)")
    place.pytest("-q", THREEPIO_RUN_ID="many")

    short, every = (place.threepio("never-ran", "many", *more).stdout for more in ((), ("--all",)))
    answer = json.loads(place.threepio("never-ran", "many", "--json").stdout)

    assert "  and 10 more: threepio never-ran many --all" in short
    assert len(every.splitlines()) == 31
    assert (len(answer["suspects"]), len(answer["never_ran"])) == (1, 29)


FAILS_FIRST = """
import os, time
def test_fails(): assert os.path.exists("mended")
def test_waits():
    if "THREEPIO_AGAIN" in os.environ: return
    open("reached", "w").close()
    while not os.path.exists("go on"): time.sleep(0.01)
def test_never_reached(): pass
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_what_failed_so_far_is_run_again_while_the_run_goes_on(place: Place, workers: tuple[str, ...]) -> None:
    place.start_daemon()
    place.suite(FAILS_FIRST)
    with place.start_pytest("-q", THREEPIO_RUN_ID="long"):
        wait_until((place.path / "reached").exists)
        wait_until(lambda: place.status("long")["counts"]["failed"] == 1)
        refused = place.threepio("rerun", "long")
        (place.path / "mended").touch()

        done = place.threepio("rerun", "long", "--failed", "--", *workers, THREEPIO_RUN_ID="again", THREEPIO_AGAIN="1")
        compared = place.threepio("diff", "long", "again")
        (place.path / "go on").touch()

    assert refused.returncode == 1
    assert "what failed so far: threepio rerun long --failed" in refused.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 tests finished" in done.stdout
    assert (compared.returncode, compared.stdout) == (
        0,
        "run again against run long: 1 fixed\nfixed:\n  test_it.py::test_fails\n",
    )
    nothing = place.threepio("rerun", "again", "--failed")
    assert (nothing.returncode, nothing.stdout) == (0, "nothing to run again: nothing failed in run again\n")


def test_what_would_choose_other_tests_now_is_left_out(place: Place) -> None:
    place.suite("import os\ndef test_one(): assert os.environ.get('MENDED')\ndef test_two(): assert 0")
    place.environ["PYTEST_ADDOPTS"] += " -p cacheprovider"
    for more in ([], ["--lf", "--lfnf", "all"]):
        place.command("pytest", "-q", *more, THREEPIO_RUN_ID="lf" if more else "all")
    place.command("pytest", "-q", "test_it.py::test_one", MENDED="1")  # not among the last that failed any more

    done = place.threepio("rerun", "lf")

    assert "2 of 2 tests finished" in done.stdout
    assert " --lf " not in done.stdout
    assert " --lfnf all " in done.stdout


def test_a_command_that_was_too_long_to_be_kept_is_not_run_again(place: Place, call: Call) -> None:
    argv = [f"--deselect=test_it.py::test_{'x' * 200}_{n}" for n in range(5_000)]
    write_run(place, "long", 1, [("t.py::test_it", "FAIL", {})], argv=argv)

    done = call(place, "rerun", "long")

    assert done.exit_code == 1
    assert "the command of run long was too long to be kept whole" in done.stderr
    assert json.loads(call(place, "status", "long", "--json").stdout)["rootdir"] == "/somewhere"


def test_a_test_that_is_not_there_any_more_is_said_and_not_green(place: Place) -> None:
    place.suite("def test_one(): assert 0\ndef test_two(): assert 0")
    place.threepio("run", "--", *PYTEST, THREEPIO_RUN_ID="before")
    place.suite("def test_one(): pass\ndef test_uno(): assert 0")

    again = place.threepio("rerun", "before")
    narrowed = place.threepio("rerun", "before", "--", "-k", "one")

    assert "1 of 1 tests finished" in again.stdout
    assert again.stdout.splitlines()[-2:] == [
        "1 test of those to be run again is not there any more, or left out by a plugin:",
        "  test_it.py::test_two",
    ]
    assert (again.returncode, narrowed.returncode) == (1, 0)
    assert "any more" not in narrowed.stdout


def test_what_failed_and_is_skipped_when_it_is_run_again_is_not_green(place: Place) -> None:
    place.suite(
        "import pytest\n"
        "def test_first(pytestconfig): pytestconfig.first = True\n"
        "def test_second(pytestconfig):\n"
        "    if not hasattr(pytestconfig, 'first'): pytest.skip('needs test_first')\n"
        "    assert 0\n"
    )
    place.pytest("-q")

    done = place.threepio("rerun")

    said = "1 test of those to be run again is skipped this time:\n  test_it.py::test_second\n"
    assert done.stdout.endswith(said)
    assert done.returncode == 1
    compared = place.threepio("diff").stdout.splitlines()
    assert compared[-2:] == ["skipped or xfailed, and not before:", "  test_it.py::test_second"]


def test_what_a_worker_died_in_and_is_skipped_now_is_not_green(place: Place) -> None:
    place.suite(
        "import os, pytest\n"
        "def test_dies():\n    if os.path.exists('again'): pytest.skip('no')\n    os._exit(3)\n"
        "def test_fine(): pass\n"
    )
    place.pytest("-q", "-n", "1")
    (place.path / "again").touch()

    done = place.threepio("rerun")

    assert done.stdout.endswith("1 test of those to be run again is skipped this time:\n  test_it.py::test_dies\n")
    assert done.returncode == 1


def test_what_an_editor_and_a_debugger_need_is_left_out(place: Place) -> None:
    place.suite("def test_bad(): assert 0")
    place.suite("import pytest, sys\nsys.path.insert(0, 'editor')\npytest.main(sys.argv[1:])", "editor.py")
    place.suite("", "editor/vscode_pytest.py")
    place._run([*place.python, "editor.py", "-q", "-p", "vscode_pytest", "test_it.py"], {"THREEPIO_RUN_ID": "edited"})

    done = place.threepio("rerun", "edited")

    assert (done.returncode, "1 of 1 tests finished" in done.stdout) == (1, True)
    assert "-q test_it.py --threepio-rerun=edited" in done.stdout


@pytest.mark.parametrize("option", ["--pdb", "--trace"])
def test_a_debugger_asks_where_the_command_was_given(place: Place, option: str) -> None:
    place.suite("def test_bad():\n    x = 42\n    assert not x")
    command = [*place.python, "-m", "threepio_client.cli", "run", "--", *place.python, "-m", "pytest", "-q", option]
    done = subprocess.run(
        command, env=place.environ | {"THREEPIO_RUN_ID": "debugged"}, cwd=place.path, capture_output=True, text=True,
        input="import os\np 'answer', os.getpid() > 0\nc\n" * 2, timeout=COMMAND_TIMEOUT_S, check=False,
    )  # fmt: skip

    assert "('answer', True)" in done.stdout
    assert "run debugged: failed - tests failed" in done.stdout
    assert "threepio: the command's output comes here, not into a file: its debugger asks you" in done.stderr
    assert "full output" not in done.stdout
    assert not place.state_dir.output("debugged").exists()
    assert done.returncode == 1
