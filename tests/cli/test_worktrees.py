"""What is asked in one worktree is answered of that one, whatever ran later in another."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from unittest.mock import ANY

import pytest

from tests.commands import Call
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import STARTED, run_lines, write_journal
from tests.two_runs import restamped
from threepio_client.events import EventType
from threepio_client.line import decode, encode

ASKING = [
    ("status",),
    ("status", "--json"),
    ("wait",),
    ("failures",),
    ("show", "test_1"),
    ("slow",),
    ("never-ran",),
    ("verify",),
    ("events",),
    ("flaky",),
]


def write_run(place: Place, run_id: str, rootdir: Path, later: float) -> None:
    """Write the journal of a run of that rootdir, begun so many seconds after STARTED."""
    first, *others = run_lines(run_id, 2)
    payload = {**decode(first[:-1]).payload, "rootdir": str(rootdir), "cwd": str(rootdir)}
    lines = [encode(1, EventType.RUN_START, payload, STARTED), *others]
    write_journal(place.state_dir, run_id, [restamped(line, later) for line in lines])


@pytest.fixture
def trees(place: Place) -> tuple[Path, Path]:
    """A checkout with a newer run of a worktree within it, and both of their directories."""
    mine, theirs = place.path / "mine", place.path / "mine/.trees/theirs"
    theirs.mkdir(parents=True)
    (mine / ".git").mkdir()
    (theirs / ".git").write_text("gitdir: elsewhere\n")
    write_run(place, "mine", mine, 0)
    write_run(place, "theirs", theirs, 60)
    return mine, theirs


@pytest.mark.parametrize("with_daemon", [True, False], ids=["daemon", "journal only"])
def test_the_latest_run_is_the_one_of_the_worktree_that_is_asked_in(
    place: Place, call: Call, trees: tuple[Path, Path], with_daemon: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = trees
    if with_daemon:
        place.start_daemon()
        wait_until(lambda: call(place, "status", "theirs").exit_code == 0)
    newer = f"threepio: run theirs is newer, of another directory: {theirs}"

    monkeypatch.chdir(mine)
    for command in ASKING:
        found = call(place, *command)
        assert newer in found.stderr.splitlines(), command
        assert "theirs" not in found.stdout, command
        assert "mine" in found.stdout or command[0] in {"slow", "events", "flaky"}, command
    monkeypatch.chdir(theirs)
    for command in ASKING:
        found = call(place, *command)
        assert "mine" not in found.stdout.replace(str(theirs), ""), command
        assert "newer" not in found.stderr, command
    monkeypatch.chdir("/")
    assert call(place, "status").stdout.startswith("run theirs: passed")


def test_asked_in_a_directory_that_was_removed_it_is_said_where_the_latest_run_was(
    place: Place, call: Call, trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = place.path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert f"of another directory: {trees[1]}" in call(place, "status").stdout
    assert f"run theirs is of another directory: {trees[1]}" in call(place, "failures").stderr


def test_what_a_command_begins_elsewhere_is_of_the_checkout_that_it_was_begun_in(place: Place, call: Call) -> None:
    here, build = place.path / "here", place.path / "build"
    (here / ".git").mkdir(parents=True)
    place.suite("def test_fine(): pass", "here/test_it.py")
    place.suite("def test_bad(): assert False", "build/test_it.py")
    pytest_, threepio = (f"{shlex.join(place.python)} -m {name}" for name in ("pytest -q", "threepio_client.cli"))
    place.shell(f"cd {here} && {pytest_}")

    place.shell(f"cd {here} && THREEPIO_RUN_ID=built {threepio} run -- sh -c 'cd {build} && {pytest_}'")

    found = place.shell(f"cd {here} && {threepio} status")
    assert found.stdout.splitlines()[:2] == ["run built: failed - tests failed", ANY]
    assert f"of another directory: {build}" in found.stdout.splitlines()[1]


def test_a_command_that_begins_a_run_in_another_worktree_is_not_waited_for(
    place: Place, trees: tuple[Path, Path]
) -> None:
    mine, theirs = trees
    line = "touch reached; until test -e go; do sleep 0.01; done; "
    command = subprocess.Popen(
        [*place.python, "-m", "threepio_client.cli", "run", "--", "sh", "-c", line],
        env={**place.environ, "THREEPIO_RUN_ID": "new"},
        cwd=theirs,
        stdout=subprocess.PIPE,
    )
    wait_until((theirs / "reached").exists)
    wait = f"{shlex.join(place.python)} -m threepio_client.cli wait --max 0s"

    here, there = (place.shell(f"cd {directory} && {wait}") for directory in (mine, theirs))
    (theirs / "go").touch()
    command.communicate(timeout=COMMAND_TIMEOUT_S)

    assert here.stdout.startswith("run mine: passed")
    assert "threepio: a later command has not begun its run yet: threepio wait new" in here.stderr.splitlines()
    assert "waiting for the run new" in there.stderr or "the command of run new goes on" in there.stderr
