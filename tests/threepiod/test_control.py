"""Starting, asking and stopping a daemon from outside, with real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.place import Place, is_running, wait_until
from tests.scripted import living, run_lines, write_journal
from threepio_client import __version__
from threepio_client.archive import Archive
from threepio_client.errors import NoDaemon, WaitedTooLong
from threepiod import control


def test_start_says_it_is_ready_a_second_one_that_it_runs_and_stop_that_it_stopped(place: Place) -> None:
    first = place.threepiod("start")
    pid = place.daemon_pid()
    second = place.threepiod("start")
    status = place.threepiod("status", "--json")
    stop = place.threepiod("stop")

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == f"threepiod {__version__} is ready: pid {pid}, socket {place.settings.socket}\n"
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout == f"threepiod runs already: pid {pid}, socket {place.settings.socket}\n"
    told = json.loads(status.stdout)
    assert (told["pid"], told["state_dir"], told["version"]) == (pid, str(place.state_dir.path), __version__)
    assert (told["runs_active"], told["backlog"], told["last_error"]) == (0, 0, None)
    assert (stop.returncode, stop.stdout) == (0, f"threepiod stopped (pid {pid})\n")
    assert not is_running(pid)
    assert not place.settings.socket.exists()


@pytest.mark.parametrize("command", ["stop", "status"])
def test_without_a_daemon_the_exit_code_is_5_and_the_socket_is_named(place: Place, command: str) -> None:
    done = place.threepiod(command)
    assert done.returncode == 5
    assert done.stdout == ""
    assert "no daemon at" in done.stderr
    assert str(place.settings.socket) in done.stderr
    assert done.stderr.count("start one with: threepiod start") == 1


def test_restart_gives_another_process_and_starts_one_where_none_runs(place: Place) -> None:
    first = place.threepiod("restart")
    assert first.returncode == 0, first.stderr
    assert "nothing to stop" in first.stderr
    pid = place.daemon_pid()

    second = place.threepiod("restart")

    assert (second.returncode, second.stderr) == (0, "")
    assert "is ready" in second.stdout
    assert place.daemon_pid() != pid
    assert not is_running(pid)


def test_what_a_service_manager_told_its_caller_means_not_the_daemon(place: Place) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place.path / "notify"))
        manager.settimeout(0)

        started = place.threepiod("start", NOTIFY_SOCKET=str(place.path / "notify"), WATCHDOG_USEC="100000")
        place.stop_daemon()

        assert started.returncode == 0
        with pytest.raises(BlockingIOError):
            manager.recv(100)


def test_status_is_for_people_too(shared: Place) -> None:
    done = shared.threepiod("status")

    assert done.returncode == 0
    for text in (f"pid {shared.daemon_pid()}, up ", str(shared.state_dir.path), "0 active", "MiB", "last error none"):
        assert text in done.stdout


def an_older_store(place: Place) -> sqlite3.Connection:
    """Make a store that is to be migrated; return the connection whose lock its migration waits for."""
    place.start_daemon()
    place.stop_daemon()
    db = sqlite3.connect(place.state_dir.store, isolation_level=None)
    db.execute("DELETE FROM migrations WHERE name = '0003-runs-listed-from-an-index'")
    db.execute("BEGIN IMMEDIATE")
    return db


def test_a_migration_that_takes_long_is_said_and_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "START_TIMEOUT_S", 5.0)
    said: list[str] = []
    with closing(an_older_store(place)) as db:

        def say(text: str) -> None:
            said.append(text)
            monkeypatch.setattr(control, "START_TIMEOUT_S", 0.0)  # it is not this that is waited for any more
            db.execute("COMMIT")

        status = control.start_background(place.settings, say)

    assert said == ["threepiod: the store (0 MiB) is brought to the form of this version; a large one takes minutes"]
    assert status["pid"] == place.daemon_pid()


def test_a_daemon_that_migrates_is_not_killed_by_who_no_longer_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MIGRATION_TIMEOUT_S", 0.0)
    monkeypatch.setattr(control, "_END_TIMEOUT_S", 0.0)
    with closing(an_older_store(place)) as db:
        with pytest.raises(
            WaitedTooLong, match="still brings the store to the form of this version, and goes on"
        ) as told:
            control.start_background(place.settings, print)
        db.execute("COMMIT")

    status = control.other_status(place.settings, 20)
    assert f"(pid {status['pid']})" in str(told.value)
    assert place.threepiod("start").stdout.startswith("threepiod runs already")


def test_a_socket_of_a_daemon_of_another_state_directory_is_not_taken_for_ours(shared: Place) -> None:
    done = shared.threepiod("start", THREEPIO_STATE_DIR=str(shared.path / "other"))

    assert done.returncode == 2
    assert "keeps another state directory" in done.stderr
    assert str(shared.state_dir.path) in done.stderr
    assert "THREEPIO_SOCKET" in done.stderr


def test_a_daemon_that_was_started_with_another_socket_is_said(place: Place) -> None:
    place.start_daemon()
    os.utime(place.state_dir.lock, (0, 0))  # not started just now, so nobody waits until it is ready

    done = place.threepiod("start", THREEPIO_SOCKET=str(place.path / "other" / "t.sock"))

    assert done.returncode == 5
    assert done.stderr.startswith(f"threepiod: another threepiod (pid {place.daemon_pid()}) holds ")
    assert "another THREEPIO_SOCKET" in done.stderr
    assert "threepiod start" not in done.stderr


def test_a_daemon_that_does_not_answer_is_not_called_ready(shared: Place) -> None:
    pid = shared.daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(NoDaemon, match="does not answer"):
            control.other_status(shared.settings, 0.3)
        with pytest.raises(NoDaemon, match="does not answer within"):
            control.daemon_status(shared.settings, 0.3)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert control.other_status(shared.settings)["pid"] == pid


def test_who_comes_too_early_waits_until_the_other_one_is_ready(place: Place) -> None:
    with pytest.raises(NoDaemon):
        control.other_status(place.settings, 0.2)
    starter = subprocess.Popen(
        [sys.executable, "-m", "threepiod", "start"], env=place.environ, cwd=place.path, stdout=subprocess.DEVNULL
    )
    assert control.other_status(place.settings, 20)["pid"] == place.daemon_pid()
    assert starter.wait(20) == 0


WITH_A_SLOW_DISK = """
import time
from threepio_client.runjournal import RunJournal
from threepiod import lifecycle
really_sync = RunJournal.sync
def sync(journal, number):
    time.sleep(1.0)
    really_sync(journal, number)
RunJournal.sync = sync
lifecycle.main()
"""


def test_stop_returns_when_all_received_is_stored_and_the_process_is_gone(place: Place) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-c", WITH_A_SLOW_DISK], env=place.environ, cwd=place.path, stderr=subprocess.DEVNULL
    )
    try:
        assert control.other_status(place.settings, 20)["pid"] == daemon.pid
        write_journal(place.state_dir, "run", run_lines("run", 20, identity=living(), exit_code=None))
        wait_until(lambda: control.daemon_status(place.settings)["backlog"] == 22)

        assert control.stop(place.settings) == daemon.pid

        assert not is_running(daemon.pid)
        assert daemon.wait(5) == 0
    finally:
        daemon.kill()
        daemon.wait()
    assert len(Archive(place.state_dir).stored_lines("run")) == 22
