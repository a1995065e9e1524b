"""Starting, finding and stopping a daemon. `python -m threepiod.lifecycle` is the daemon process itself: it imports
neither typer nor rich, so that it stays small.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import logging.handlers
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from threepio_client import settings as settings_module
from threepio_client.errors import NoDaemon, NoPlace, SettingsError, ThreepioError, WaitedTooLong
from threepio_client.files import open_own
from threepio_client.paths import make_private_dir
from threepio_client.query import QueryClient
from threepio_client.settings import Settings, check_socket_path
from threepiod.listener import AlreadyRunning, is_still, listen, take_lock, unlink_own
from threepiod.service import FROM_A_MANAGER, Service

if TYPE_CHECKING:
    from threepiod.store import Store

START_TIMEOUT_S: Final = 30.0
MIGRATION_TIMEOUT_S: Final = 600.0
"""How long to wait for a daemon that brings a large store to the form of its version: as long as systemd does."""
_END_TIMEOUT_S: Final = 1.0
"""How long a daemon that will not be ready may take to say why and to end."""
OTHER_TIMEOUT_S: Final = 10.0
"""How long a daemon that was started by somebody else at the same time may take until it is ready."""
STOP_TIMEOUT_S: Final = 60.0
"""More than the daemon itself waits until everything is stored."""
ACTIVATED_IDLE_EXIT_S: Final = 3600.0
"""What an idle daemon holds, 40 MiB, is given back where the next connection starts it again."""
LOG_BYTES: Final = 2 * 1024 * 1024
LOG_FILES: Final = 3
NEW_OBJECTS: Final = 50_000
"""Objects that are made and not freed before garbage is looked for: more than a run has rows that wait (`reports.py`)."""
LARGE_BLOCK: Final = 128 * 1024
"""Bytes; the allocator's own first value."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_MIGRATING: Final = b"migrating\n"
_READY: Final = b"ready\n"

log = logging.getLogger("threepiod")


def run_daemon(
    settings: Settings, ready: Callable[[], None], migrating: Callable[[], None], *, to_stderr: bool
) -> None:
    """Be the daemon until a stop is asked for.

    Args:
        settings: where state and socket are.
        ready: called once the daemon is locked, migrated and listening.
        migrating: called before the store is brought to the form of this version, if it has another.
        to_stderr: log to standard error as well as to the log file.

    Raises:
        AlreadyRunning: there is a daemon for this state directory or socket.
        ThreepioError: it cannot start; the text says why and what to do.
    """
    import trio

    from threepiod.admission import raise_descriptor_limit
    from threepiod.daemon import Daemon

    state_dir = settings.places
    raise_descriptor_limit()
    _give_memory_back()
    gc.set_threshold(NEW_OBJECTS)
    limits = settings_module.load_daemons()
    service = Service()
    if limits.idle_exit_s is None:
        limits = limits._replace(idle_exit_s=math.inf if service.listener is None else ACTIVATED_IDLE_EXIT_S)
    os.umask(0o077)
    for directory in (state_dir.path, state_dir.journals, state_dir.logs):
        make_private_dir(directory)
    locks = [take_lock(state_dir.lock)]
    listener = service.listener
    if listener is None:
        check_socket_path(settings.socket)
        make_private_dir(settings.socket.parent, "THREEPIO_SOCKET")
        locks.append(take_lock(settings.socket.with_name(settings.socket.name + ".lock")))
        listener = listen(settings.socket)
        own_socket: os.stat_result | None = os.lstat(settings.socket)
    else:
        own_socket = None
        settings = settings._replace(socket=Path(listener.getsockname()))
    _log_to(state_dir.daemon_log, to_stderr=to_stderr)
    for problem in settings_module.explain()[1]:
        log.warning("passed over: %s", problem.text)

    def begin_migration() -> None:
        log.info("the store %s is being brought to the form of this version", state_dir.store)
        migrating()

    store, trouble = open_store(state_dir.store, begin_migration)
    if store.kept is not None:
        log.info("the store was brought to the form of this version; as it was it is kept as %s", store.kept)

    try:
        own = {path: os.lstat(path) for path in (state_dir.lock, state_dir.store)}

        def has_place() -> bool:
            return all(is_still(path, found) for path, found in own.items())

        trio.run(Daemon(settings, store, trouble, limits, service, has_place).serve, listener, ready)
    finally:
        if own_socket is not None:
            unlink_own(settings.socket, own_socket)
        listener.close()
        store.close()
        for lock in locks:
            os.close(lock)
        log.info("stopped")


def open_store(path: Path, migrating: Callable[[], None]) -> tuple[Store, str]:
    """Return the store, and what was wrong with it: one that is damaged is put aside, and the journals fill a new one.

    Args:
        path: its file.
        migrating: see `Store`.

    Raises:
        StoreError: it cannot be opened, or was made by a newer version.
    """
    from threepiod.rebuild import put_aside
    from threepiod.store import DamagedStore, Store

    try:
        return Store(path, migrating), ""
    except DamagedStore as error:
        kept = put_aside(path)
        return Store(path), f"{error}. It is kept as {kept}, and the journals fill a new one"


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
            [sys.executable, "-P", "-m", "threepiod.lifecycle", str(write_end)],
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
    if last == _READY:
        process.stderr.close()
        process.returncode = 0  # it lives on by itself: nobody waits for it
        return daemon_status(settings)
    if process.poll() is None:
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.stderr.close()
            if last == _MIGRATING:
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
    """Return the last that a daemon that starts has said of itself: nothing, `_MIGRATING` or `_READY`."""
    last, deadline = b"", time.monotonic() + START_TIMEOUT_S
    while select.select([read_end], [], [], max(deadline - time.monotonic(), 0.0))[0]:
        said = os.read(read_end, 64)
        if not said:  # it has ended
            break
        if said.endswith(_READY):
            return _READY
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


def _give_memory_back() -> None:
    """Have large blocks given back to the system when they are freed: mallopt(3), where there is one.

    glibc keeps them instead as soon as it has seen one, in an arena for each thread. Eight adapters with lines of 512 KiB:
    57 instead of 69 MiB, and no growth.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, LARGE_BLOCK), (_M_TRIM_THRESHOLD, LARGE_BLOCK), (_M_ARENA_MAX, 2)):
            mallopt(option, value)


def _error_of(code: int, text: str) -> ThreepioError:
    kind = NoPlace if code == NoPlace.exit_code else NoDaemon
    return kind(text or f"threepiod ended with exit code {code}")


class _Log(logging.handlers.RotatingFileHandler):
    """A log that no other user can have planted."""

    def _open(self) -> Any:
        return open(
            self.baseFilename, self.mode, encoding=self.encoding, opener=lambda path, flags: open_own(Path(path), flags)
        )


def _log_to(path: Path, *, to_stderr: bool) -> None:
    logger = logging.getLogger("threepiod")
    logger.setLevel(logging.INFO)
    try:
        handlers: list[logging.Handler] = [_Log(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8")]
    except OSError as error:
        raise NoPlace(f"cannot write the log {path}: {error.strerror}. Move it away, or make room") from error
    if to_stderr:
        handlers.append(logging.StreamHandler())
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    form.converter = time.gmtime
    for handler in handlers:
        handler.setFormatter(form)
        logger.addHandler(handler)


def become_foreground() -> NoReturn:
    """Replace this process by the daemon, which logs to this terminal as well. The pid stays, as systemd expects."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "threepiod.lifecycle"])


def main() -> None:
    """Be the daemon: in the background where argv[1] is the descriptor that waits for "ready", else in the foreground."""
    starter = int(sys.argv[1]) if len(sys.argv) > 1 else None
    ready, migrating = (lambda: None, lambda: None) if starter is None else _background(starter)
    try:
        run_daemon(settings_module.load(), ready, migrating, to_stderr=starter is None)
    except ThreepioError as error:
        print(f"threepiod: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _background(starter: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return what tells the starter that the daemon is ready, and that it migrates; the first lets go of the starter."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def tell(word: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # whoever waited for it has ended
            os.write(starter, word)

    def ready() -> None:
        tell(_READY)
        os.close(starter)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    return ready, partial(tell, _MIGRATING)


if __name__ == "__main__":
    main()
