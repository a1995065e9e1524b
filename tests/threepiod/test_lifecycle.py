"""The daemon's own process: its log, its files, and what becomes of it when these are damaged or gone."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.place import Place, is_running, wait_until
from tests.scripted import run_lines, write_journal


def test_after_a_sigkill_it_starts_again(served: Place) -> None:
    served.kill_daemon()
    assert served.settings.socket.is_socket()  # stale

    done = served.threepiod("start")

    assert done.returncode == 0, done.stderr
    assert served.threepiod("status").returncode == 0


def test_in_the_foreground_it_logs_to_the_terminal_and_ends_by_a_signal(place: Place) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "threepiod", "start", "--foreground"],
        env=place.environ,
        cwd=place.path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert daemon.stderr is not None
    try:
        first = daemon.stderr.readline()
        assert "ready: pid" in first
        assert f"pid {daemon.pid}" in first
        second = place.threepiod("start", "--foreground")
        assert (second.returncode, second.stdout) == (0, "")
        assert f"another threepiod (pid {daemon.pid}) holds" in second.stderr
        daemon.send_signal(signal.SIGINT)
        _, rest = daemon.communicate(timeout=20)
    finally:
        daemon.kill()
        daemon.wait()

    assert daemon.returncode == 0
    assert "asked to stop by SIGINT" in rest
    assert "Traceback" not in rest
    assert not place.settings.socket.exists()


def test_its_log_has_the_start_and_the_end_with_time_and_level(served: Place) -> None:
    pid = served.daemon_pid()
    served.stop_daemon()

    lines = served.state_dir.daemon_log.read_text().splitlines()

    form = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR) threepiod(\.\w+)?: ")
    assert all(form.match(line) for line in lines), lines
    assert f"ready: pid {pid}, socket {served.settings.socket}" in lines[0]
    assert lines[-1].endswith(": stopped")
    assert served.state_dir.daemon_log.stat().st_mode & 0o077 == 0


def test_it_lets_go_of_the_terminal_it_was_started_from(shared: Place) -> None:
    pid = shared.daemon_pid()
    for number in (0, 1, 2):
        assert os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) == pid


@pytest.mark.parametrize("damage", ["no store", "cut", "header"])
def test_a_damaged_store_is_kept_and_the_journals_fill_a_new_one(place: Place, damage: str) -> None:
    place.start_daemon()
    write_journal(place.state_dir, "run", run_lines("run", 2000))
    wait_until(lambda: place.threepio("verify", "run").returncode == 0)
    place.stop_daemon()
    store = place.state_dir.store
    store.with_name(f"{store.name}-wal").write_bytes(b"not a log")
    data = store.read_bytes()
    damaged = {"no store": b"garbage" * 1000, "cut": data[:5000], "header": data[:100] + bytes(4000) + data[4100:]}
    store.write_bytes(damaged[damage])

    place.start_daemon()

    error = json.loads(place.threepiod("status", "--json").stdout)["last_error"]["text"]
    (kept,) = place.state_dir.path.glob("store-*.sqlite3")
    assert str(kept) in error
    assert kept.read_bytes() == damaged[damage]
    wait_until(lambda: place.threepio("verify", "run").returncode == 0)


def test_a_store_of_a_newer_version_is_said_and_kept(place: Place) -> None:
    place.start_daemon()
    place.stop_daemon()
    with closing(sqlite3.connect(place.state_dir.store)) as db:
        db.execute("INSERT INTO migrations VALUES ('9999-of-tomorrow', 'later')")
        db.commit()
    before = place.state_dir.store.read_bytes()

    done = place.threepiod("start")

    assert done.returncode == 5
    assert str(place.state_dir.store) in done.stderr
    assert "newer threepiod" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert place.state_dir.store.read_bytes() == before
    assert place.threepio("runs").returncode == 0


def test_it_takes_as_many_descriptors_as_it_may_have(place: Place) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        pid = place.start_daemon()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_everything_that_a_daemon_makes_is_private(place: Place) -> None:
    old = os.umask(0)
    try:
        place.start_daemon()
        place.suite("def test_it(): pass")
        place.pytest("-q", THREEPIO_RUN_ID="run")
        wait_until(lambda: place.verify("run")["missing"] == 0)
        place.stop_daemon()
    finally:
        os.umask(old)

    made = [place.state_dir.path, *place.state_dir.path.rglob("*")]
    names = {path.name for path in made}
    assert {"store.sqlite3", "threepiod.log", "daemon.lock", "run.jsonl"} <= names
    assert [str(path) for path in made if path.stat().st_mode & 0o077] == []


def test_a_store_that_is_removed_ends_it_and_the_next_one_fills_another_from_the_journals(served: Place) -> None:
    pid = served.daemon_pid()
    served.suite("def test_it(): pass")
    served.pytest("-q", THREEPIO_RUN_ID="before")

    for path in served.state_dir.path.glob("store.sqlite3*"):
        path.unlink()
    wait_until(lambda: not is_running(pid))
    served.start_daemon()

    wait_until(lambda: served.verify("before")["whole"])


@pytest.mark.parametrize("is_there_again", [False, True], ids=["removed", "replaced"])
def test_a_state_directory_that_is_removed_ends_it_and_the_next_one_works(served: Place, is_there_again: bool) -> None:
    pid = served.daemon_pid()
    log = open(served.state_dir.daemon_log)  # noqa: SIM115 - it is gone with its directory
    removed = served.path / "removed"
    served.state_dir.path.rename(removed)  # at once: it may be making a file
    shutil.rmtree(removed, ignore_errors=True)
    if is_there_again:
        served.pytest("-q", THREEPIO_RUN_ID="before")
    wait_until(lambda: not is_running(pid))

    with log:
        assert f"the state directory {served.state_dir.path} was removed or replaced" in log.read()
    served.start_daemon()
    served.suite("def test_it(): pass")
    assert served.pytest("-q", THREEPIO_RUN_ID="after").returncode == 0
    assert served.verify("after")["whole"]
