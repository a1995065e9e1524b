"""Starting, asking and stopping a daemon from outside, as the commands do. Not here: its own process (`lifecycle.py`)."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

from threepio_client.errors import NoDaemon, NoPlace, SettingsError, ThreepioError, WaitedTooLong
from threepio_client.query import QueryClient
from threepio_client.settings import Settings
from threepiod.listener import AlreadyRunning
from threepiod.service import FROM_A_MANAGER

START_TIMEOUT_S: Final = 30.0
MIGRATION_TIMEOUT_S: Final = 600.0
"""How long to wait for a daemon that brings a large store to the form of its version: as long as systemd does."""
_END_TIMEOUT_S: Final = 1.0
"""How long a daemon that will not be ready may take to say why and to end."""
OTHER_TIMEOUT_S: Final = 10.0
"""How long a daemon that was started by somebody else at the same time may take until it is ready."""
STOP_TIMEOUT_S: Final = 60.0
"""More than the daemon itself waits until everything is stored."""
MIGRATING: Final = b"migrating\n"
READY: Final = b"ready\n"
"""What a daemon in the background says of itself to the process that started it."""
_COMMAND: Final = (sys.executable, "-P", "-m", "threepiod.lifecycle")


def start_background(settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Start a daemon in the background unless one runs; return its status once it is ready.

    Args:
        settings: where state and socket are.
        say: is told what takes long.

    Raises:
        WaitedTooLong: it was not ready in time, and is ended; one that migrates its store goes on with that.
        ThreepioError: it did not start; the text is the daemon's own.
    """
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            [*_COMMAND, str(write_end)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[write_end],
            start_new_session=True,
            cwd="/",
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(FROM_A_MANAGER)},
                "THREEPIO_SOCKET": str(settings.socket),
                "THREEPIO_STATE_DIR": str(settings.state_dir),
            },
        )
    finally:
        os.close(write_end)
    try:
        last = _last_word(read_end, settings, say)
    finally:
        os.close(read_end)
    assert process.stderr is not None
    if last == READY:
        process.stderr.close()
        process.returncode = 0  # it lives on by itself: nobody waits for it
        return daemon_status(settings)
    if process.poll() is None:
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.stderr.close()
            if last == MIGRATING:
                process.returncode = 0  # as above
                raise WaitedTooLong(
                    f"threepiod (pid {process.pid}) still brings the store to the form of this version, and goes on with "
                    f"that; {settings.places.daemon_log} says when it is ready"
                ) from None
            process.kill()
            process.wait()
            raise WaitedTooLong(f"threepiod was not ready within {START_TIMEOUT_S:g} s; see its log") from None
    text = process.stderr.read().decode(errors="replace").strip()
    process.stderr.close()
    if process.returncode == AlreadyRunning.exit_code:
        raise AlreadyRunning(text.removeprefix("threepiod: "))
    raise _error_of(process.returncode, text.removeprefix("threepiod: "))


def _last_word(read_end: int, settings: Settings, say: Callable[[str], None]) -> bytes:
    """Return the last that a daemon that starts has said of itself: nothing, `MIGRATING` or `READY`."""
    last, deadline = b"", time.monotonic() + START_TIMEOUT_S
    while select.select([read_end], [], [], max(deadline - time.monotonic(), 0.0))[0]:
        said = os.read(read_end, 64)
        if not said:  # it has ended
            break
        if said.endswith(READY):
            return READY
        last, deadline = said, time.monotonic() + MIGRATION_TIMEOUT_S
        size = settings.places.store.stat().st_size / 2**20
        say(f"threepiod: the store ({size:.0f} MiB) is brought to the form of this version; a large one takes minutes")
    return last


def daemon_status(settings: Settings, timeout_s: float = 5.0) -> dict[str, Any]:
    """Return the running daemon's own status.

    Raises:
        NoDaemon: there is none, or it does not answer.
    """
    with QueryClient.connect(settings.socket, timeout_s) as client:
        status: dict[str, Any] = client.ask("daemon")
        return status


def other_status(settings: Settings, timeout_s: float = OTHER_TIMEOUT_S) -> dict[str, Any]:
    """Return the status of the daemon that holds our locks, once it is ready.

    Raises:
        NoDaemon: it is not ready in time, or listens elsewhere.
        SettingsError: it keeps another state directory.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            status = daemon_status(settings, max(deadline - time.monotonic(), 0.1))
            break
        except NoDaemon:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    check_keeps(status, settings)
    return status


def check_keeps(status: dict[str, Any], settings: Settings) -> None:
    """Raise SettingsError if the daemon that said this keeps another state directory than ours."""
    if status["state_dir"] != str(settings.state_dir):
        raise SettingsError(
            f"the threepiod at {settings.socket} (pid {status['pid']}) keeps another state directory, "
            f"{status['state_dir']}: set THREEPIO_SOCKET to another path"
        )


def stop(settings: Settings) -> int:
    """Ask the daemon to stop and wait until it is gone; return the pid that it had.

    Raises:
        NoDaemon: there is none.
        WaitedTooLong: it is still there.
    """
    pid = int(daemon_status(settings)["pid"])
    pidfd = os.pidfd_open(pid)
    try:
        # It may be gone before its answer is sent: the pidfd tells.
        with QueryClient.connect(settings.socket) as client, contextlib.suppress(NoDaemon):
            client.ask("stop")
        if not select.select([pidfd], [], [], STOP_TIMEOUT_S)[0]:
            raise WaitedTooLong(f"threepiod (pid {pid}) did not stop within {STOP_TIMEOUT_S:g} s")
    finally:
        os.close(pidfd)
    return pid


def become_foreground() -> NoReturn:
    """Replace this process by the daemon, which logs to this terminal as well. The pid stays, as systemd expects."""
    os.execv(sys.executable, _COMMAND)


def _error_of(code: int, text: str) -> ThreepioError:
    kind = NoPlace if code == NoPlace.exit_code else NoDaemon
    return kind(text or f"threepiod ended with exit code {code}")
