"""Row 18: however many daemons are started, one runs; a live socket is never stolen, a stale one never in the way."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.faults.peers import PATIENCE_S, raw_query
from tests.faults.row import Result, Scale
from tests.place import Place, is_running, wait_until
from threepiod.listener import AlreadyRunning

FAULT = "50 daemons started at once; stale socket; runtime directory removed"
PASSES_WHEN = "exactly one; a live socket is never stolen"

AT_ONCE: Final = {Scale.SHORT: 6, Scale.LONG: 50}
ROUNDS: Final = {Scale.SHORT: 1, Scale.LONG: 10}


def run(scale: Scale, seed: int, place: Place) -> Result:
    # The socket has a directory of its own, as in a user's runtime directory.
    place.environ["THREEPIO_SOCKET"] = str(place.path / "run" / "socket")
    failures: list[str] = []
    for number in range(ROUNDS[scale]):
        # By turns: nothing there, a socket that a killed daemon left, no runtime directory.
        failures += _start_many(place, AT_ONCE[scale])
        failures += _remove_runtime_directory(place)
        if number % 2:
            place.kill_daemon()
        else:
            _stop(place)
            _leave_stale_socket(place.settings.socket)
    failures += _start_many(place, AT_ONCE[scale])
    _stop(place)
    failures += _take_live_socket(place)
    figures = (
        f"{ROUNDS[scale] + 1} times {AT_ONCE[scale]} daemons at once, over stale sockets too: one ran each time; "
        f"{ROUNDS[scale]} times without its runtime directory it ran on and no second one came; "
        "a socket of another program was left to it"
    )
    return Result(figures=figures, failures=tuple(f"seed {seed}: {text}" for text in failures))


def _begin(place: Place) -> subprocess.Popen[str]:
    """Start a daemon in the foreground."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "threepiod.lifecycle"],
        env=place.environ,
        cwd=place.path,
        stderr=subprocess.PIPE,
        text=True,
    )


def _start_many(place: Place, count: int) -> list[str]:
    """Start daemons at once; one of them lives on, and it is the one that answers."""
    started = [_begin(place) for _ in range(count)]
    failures = []
    deadline = time.monotonic() + PATIENCE_S
    while sum(daemon.poll() is None for daemon in started) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    alive = [daemon for daemon in started if daemon.poll() is None]
    if len(alive) != 1:
        failures.append(f"{len(alive)} of {count} daemons run")
    for daemon in started:
        if daemon not in alive:
            _, text = daemon.communicate()
            if daemon.returncode != AlreadyRunning.exit_code or "holds" not in text:
                failures.append(f"a daemon that was one too many ended with {daemon.returncode}: {text.strip()}")
    for daemon in alive:
        _LIVING[daemon.pid] = daemon
    if alive:
        wait_until(place.settings.socket.exists)
        answered = _pid_that_answers(place)
        if answered not in {daemon.pid for daemon in alive}:
            failures.append(f"pid {answered} answers, which was not started here or should be gone")
    return failures


_LIVING: Final[dict[int, subprocess.Popen[str]]] = {}


def _pid_that_answers(place: Place) -> int:
    client = raw_query(place)
    try:
        return int(client.ask("daemon")["result"]["pid"])
    finally:
        client.close()


def _stop(place: Place) -> None:
    """End the daemon in good order, whether it can be reached or not."""
    pid = place.daemon_pid()
    os.kill(pid, 15)
    wait_until(lambda: not is_running(pid))


def _remove_runtime_directory(place: Place) -> list[str]:
    """Take away socket and lock file under the running daemon, then start another one of the same state directory."""
    pid = place.daemon_pid()
    shutil.rmtree(place.settings.socket.parent)
    second = _begin(place)
    _, text = second.communicate(timeout=PATIENCE_S)
    failures = []
    if second.returncode != AlreadyRunning.exit_code or f"pid {pid}" not in text:
        failures.append(
            f"a second daemon, without the runtime directory, ended with {second.returncode}: {text.strip()}"
        )
    if not is_running(pid):
        failures.append("the daemon ended when its runtime directory was removed")
    return failures


def _leave_stale_socket(path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def _take_live_socket(place: Place) -> list[str]:
    """Have another program listen at the path, one that does not even accept."""
    path = place.settings.socket
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(1)
        inode = path.stat().st_ino
        daemon = _begin(place)
        _, text = daemon.communicate(timeout=PATIENCE_S)
        if daemon.returncode == 0 or "another program listens" not in text or path.stat().st_ino != inode:
            return [f"a live socket was not left alone: exit code {daemon.returncode}, {text.strip()}"]
    return []
