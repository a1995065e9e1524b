"""The daemon under a service manager: its socket is taken over, its states are told, its watchdog is fed by ingest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.place import Place, wait_until
from threepiod.control import daemon_status
from threepiod.service import Service

AS_SYSTEMD_DOES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), WATCHDOG_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
A_DAEMON = ("-m", "threepiod", "start", "--foreground")
ONE_WHOSE = """
import time, trio
from threepiod import lifecycle
from threepiod.keeper import Keeper
from threepiod.committer import Committer

async def never(self, batch): await trio.sleep_forever()
def slowly(self, number, sync=Keeper._sync):
    time.sleep(2)
    return sync(self, number)

{change}
lifecycle.main()
"""
COMMITS_NEVER_END = ONE_WHOSE.format(change="Committer.commit = never")
SYNCS_ARE_SLOW = ONE_WHOSE.format(change="Keeper._sync = slowly")


class Manager:
    """A service manager: what it was told, and the daemon that it started."""

    def __init__(self, place: Place, told: socket.socket, process: subprocess.Popen[str]) -> None:
        self.place = place
        self.process = process
        self._told = told

    def hear(self) -> str:
        """Return the next thing that the daemon says; a test waits for it 20 seconds at most."""
        return self._told.recv(100).decode()

    def hear_until(self, wanted: str) -> list[str]:
        said: list[str] = []
        while not said or said[-1] != wanted:
            said.append(self.hear())
        return said

    def count_fed(self, seconds: float) -> int:
        """Return how often the watchdog is fed in the next so many seconds."""
        self._told.setblocking(False)
        try:
            while True:
                self._told.recv(100)
        except BlockingIOError:
            pass
        count, deadline = 0, time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._told.settimeout(left)
            try:
                count += self._told.recv(100) == b"WATCHDOG=1"
            except TimeoutError:
                break
        self._told.settimeout(20)
        return count


@contextmanager
def managed(place: Place, *command: str, **environ: str) -> Iterator[Manager]:
    """Listen for a daemon, start it as systemd does, and wait until it is ready."""
    path = place.path / "told"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told,
    ):
        listening.bind(str(place.settings.socket))
        listening.listen(8)
        told.bind(str(path))
        told.settimeout(20)
        process = subprocess.Popen(
            [sys.executable, "-c", AS_SYSTEMD_DOES, str(listening.fileno()), *(command or A_DAEMON)],
            env={**place.environ, "NOTIFY_SOCKET": str(path), **environ},
            cwd=place.path,
            pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        manager = Manager(place, told, process)
        try:
            assert manager.hear() == "READY=1"
            yield manager
        finally:
            process.kill()
            process.communicate()


def test_a_socket_of_systemd_is_taken_over_and_its_states_are_told(place: Place) -> None:
    with managed(place) as manager:
        status = place.threepiod("status")
        assert f"pid {manager.process.pid}," in status.stdout
        assert place.threepiod("start").stdout.startswith(f"threepiod runs already: pid {manager.process.pid},")
        assert place.threepiod("stop").returncode == 0
        assert manager.hear() == "STOPPING=1"
        _, log = manager.process.communicate(timeout=20)
        assert manager.process.returncode == 0, log
        assert place.settings.socket.is_socket()  # it is systemd's, not ours to remove


def test_an_idle_one_ends_and_one_that_is_asked_stays(place: Place) -> None:
    with managed(place, THREEPIO_IDLE_EXIT="3s") as manager:
        began = time.monotonic()
        while time.monotonic() - began < 4:
            assert daemon_status(place.settings)["pid"] == manager.process.pid
            time.sleep(0.05)
        assert manager.process.poll() is None

        assert manager.hear() == "STOPPING=1"

        assert manager.process.wait(20) == 0
        assert "nothing to do for" in place.state_dir.daemon_log.read_text()


def test_what_is_for_the_daemon_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1", "HOME": "/"}

    service = Service(environ)  # meant for another process

    assert (service.listener, service.feed_every_s, environ) == (None, 0.0, {"HOME": "/"})
    service.ready()  # to nobody


@pytest.mark.parametrize(("usec", "seconds"), [("4000000", 2.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0)])
def test_how_often_a_watchdog_is_fed(usec: str, seconds: float) -> None:
    assert Service({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": usec}).feed_every_s == seconds


def test_a_manager_that_is_gone_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    service = Service({"NOTIFY_SOCKET": "/nowhere/told"})

    for _ in range(3):
        service.feed()

    assert [record.getMessage() for record in caplog.records] == [
        "cannot tell the service manager WATCHDOG=1: No such file or directory"
    ]


WATCHED = {"WATCHDOG_USEC": "1000000"}


def a_run(place: Place) -> None:
    """Have the daemon take a run that is over, from its journal."""
    place.suite("def test_it(): pass")
    assert place.pytest("-q", THREEPIO_RUN_ID="one").returncode == 0


def test_the_watchdog_is_fed_while_there_is_nothing_to_do_and_while_a_run_comes(place: Place) -> None:
    with managed(place, **WATCHED) as manager:
        assert manager.count_fed(1.2) >= 1
        a_run(place)
        assert manager.count_fed(1.2) >= 1


def test_it_is_not_fed_by_one_whose_ingest_hangs(place: Place) -> None:
    with managed(place, "-c", COMMITS_NEVER_END, **WATCHED) as manager:
        a_run(place)
        wait_until(lambda: manager.count_fed(1.2) == 0)
        assert place.threepiod("status").returncode == 0  # all else works


def test_it_is_fed_by_one_whose_disk_is_slow(place: Place) -> None:
    with managed(place, "-c", SYNCS_ARE_SLOW, **WATCHED) as manager:
        a_run(place)
        assert manager.count_fed(1.2) >= 1
        wait_until(lambda: place.verify("one")["missing"] == 0)


def test_it_is_not_fed_by_one_that_is_stopped(place: Place) -> None:
    with managed(place, **WATCHED) as manager:
        os.kill(manager.process.pid, signal.SIGSTOP)
        wait_until(lambda: manager.count_fed(1.2) == 0)
        os.kill(manager.process.pid, signal.SIGCONT)
        assert manager.hear_until("WATCHDOG=1")


def test_required_from_a_daemon_that_takes_its_time_to_start(place: Place) -> None:
    """systemd listens before the daemon is there: THREEPIO=require waits for it, and auto goes on in the journal."""
    place.suite("def test_it(): pass")
    slow = f"import time; time.sleep(1.5)\n{ONE_WHOSE.format(change='')}"
    for mode, told in (("require", ""), ("auto", "spilled")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(str(place.settings.socket))
            listening.listen(8)
            daemon = subprocess.Popen(
                [sys.executable, "-c", AS_SYSTEMD_DOES, str(listening.fileno()), "-c", slow],
                env=place.environ,
                cwd=place.path,
                pass_fds=[listening.fileno()],
                stderr=subprocess.DEVNULL,
            )
            try:
                done = place.pytest("-q", THREEPIO=mode, THREEPIO_RUN_ID=mode)
                assert (done.returncode, told in done.stdout) == (0, True), done.stdout
                wait_until(lambda mode=mode: place.verify(mode)["stored_events"] > 0)  # type: ignore[misc]
            finally:
                daemon.terminate()
                daemon.wait()
        place.settings.socket.unlink()
