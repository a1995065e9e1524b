"""Which commands go on, by the files that they print to."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.outputs import locked
from tests.scripted import made_state_dir, run_lines, write_journal
from threepio_client.outputs import has_ended, later_without_run, lock, starting, writer_of
from threepio_client.paths import StateDir


@pytest.fixture
def state_dir(tmp_path: Path) -> StateDir:
    made = made_state_dir(tmp_path / "state")
    made.output("x").parent.mkdir()
    return made


def test_a_command_goes_on_as_long_as_its_file_is_locked(state_dir: StateDir) -> None:
    path = state_dir.output("run")
    assert (writer_of(path), has_ended(path)) == (None, False)
    path.touch()
    with locked(path) as pid:
        assert (writer_of(path), has_ended(path)) == (pid, False)
        with path.open("a") as other, pytest.raises(BlockingIOError):
            lock(other.fileno())
    assert (writer_of(path), has_ended(path)) == (None, True)


def test_what_a_command_leaves_behind_does_not_write(state_dir: StateDir) -> None:
    path = state_dir.output("run")
    path.touch()
    with locked(path):
        child = os.open(path, os.O_RDWR)  # as a child has it that goes on
    try:
        assert has_ended(path)
    finally:
        os.close(child)


def test_of_commands_without_a_run_the_one_that_began_last_is_starting(state_dir: StateDir) -> None:
    before = time.time() - 1
    for name in ("first", "second", "over", "has-a-run"):
        state_dir.output(name).touch()
    write_journal(state_dir, "has-a-run", run_lines("has-a-run", 1))
    with locked(state_dir.output("first")):
        time.sleep(0.02)  # the kernel counts starts in hundredths of a second
        with locked(state_dir.output("second")), locked(state_dir.output("has-a-run")):
            assert starting(state_dir, before, "") == "second"
            assert starting(state_dir, time.time() + 1, "") == ""
        assert starting(state_dir, before, "") == "first"
    assert starting(state_dir, before, "") == ""


def test_what_later_commands_printed_that_began_no_run_is_found(state_dir: StateDir) -> None:
    for name, at in (("older", 10.0), ("newer", 30.0), ("newest", 40.0), ("has-a-run", 50.0), ("goes-on", 60.0)):
        state_dir.output(name).touch()
        os.utime(state_dir.output(name), (at, at))
    write_journal(state_dir, "has-a-run", run_lines("has-a-run", 1))
    state_dir.output("directory").mkdir()
    state_dir.output("link").symlink_to("nowhere")

    with locked(state_dir.output("goes-on")):
        assert later_without_run(state_dir, 20.0) == [state_dir.output(n) for n in ("goes-on", "newest", "newer")]
        assert later_without_run(state_dir, 40.0) == [state_dir.output("goes-on")]
    assert later_without_run(StateDir(state_dir.path / "nowhere"), 0.0) == []
