"""A daemon that is started by the suite that needs it: THREEPIO_AUTOSTART."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.place import Place, is_running

SUITE = """
import os, subprocess, threading
def test_it():
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    assert len(found.split()) == 1  # ps itself
    assert threading.enumerate() == [threading.main_thread()]
"""


def test_a_suite_that_finds_no_daemon_starts_one_that_is_not_its_child(place: Place) -> None:
    place.suite(SUITE)

    options = ("-q", "-p", "no:rerunfailures")  # it has a thread of its own
    first = place.pytest(*options, THREEPIO_AUTOSTART="1", COV_CORE_SOURCE="src")
    pid = place.daemon_pid()
    second = place.pytest(*options, THREEPIO_AUTOSTART="1")

    assert (first.returncode, second.returncode) == (0, 0), first.stdout
    assert "journal only" not in first.stdout
    assert is_running(pid)
    assert place.daemon_pid() == pid
    assert place.status()["source"] == "daemon"
    assert b"COV_CORE_SOURCE" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_without_it_none_is_started(place: Place) -> None:
    place.suite("def test_it(): pass")

    assert place.pytest("-q").returncode == 0

    assert not place.state_dir.lock.exists()


def test_with_require_it_is_started_too(place: Place) -> None:
    place.suite("def test_it(): pass")

    done = place.pytest("-q", THREEPIO_AUTOSTART="1", THREEPIO="require")

    assert done.returncode == 0, done.stdout
    assert place.status()["source"] == "daemon"


def test_xdist_workers_start_none_of_their_own(place: Place) -> None:
    place.suite("def test_it(): pass\ndef test_other(): pass")

    done = place.pytest("-q", "-n", "2", THREEPIO_AUTOSTART="1")

    assert done.returncode == 0, done.stdout
    assert place.threepiod("status").returncode == 0
    assert "already" not in place.state_dir.daemon_log.read_text()


@pytest.mark.parametrize("how", ["it cannot", "there is none"])
def test_one_that_cannot_be_started_is_said_and_the_tests_go_on(place: Place, how: str) -> None:
    place.suite("def test_it(): pass")
    bin_dir = place.path / "bin"
    bin_dir.mkdir()
    if how == "it cannot":
        (bin_dir / "threepiod").write_text("#!/bin/sh\necho 'threepiod: the disk is gone' >&2\nexit 5\n")
        (bin_dir / "threepiod").chmod(stat.S_IRWXU)
    # As in an environment that has the plugin alone.
    place.suite(
        "import importlib.util as u\nf = u.find_spec\nu.find_spec = lambda n, *a: None if n == 'trio' else f(n, *a)",
        "hide.py",
    )

    done = place.pytest("-q", "-p", "hide", THREEPIO_AUTOSTART="1", PATH=f"{bin_dir}:/bin", PYTHONPATH=str(place.path))

    why = "the disk is gone" if how == "it cannot" else "there is no command threepiod: pip install 'threepiod[daemon]'"
    assert done.returncode == 0, done.stdout
    assert f"threepio: no daemon could be started, as THREEPIO_AUTOSTART=1 asks: {why}" in done.stdout
    assert (place.status()["state"], place.status()["source"]) == ("passed", "journal")


def test_a_daemon_that_listens_is_used_and_none_started(served: Place) -> None:
    pid = served.daemon_pid()
    served.suite("def test_it(): pass")

    assert served.pytest("-q", THREEPIO_AUTOSTART="1", PATH=os.defpath).returncode == 0

    assert served.daemon_pid() == pid
