"""The daemon's own process, `python -m threepiod.lifecycle`: what is done before it serves and after, and its log.

Neither typer nor rich is imported in it, so that it stays small. Not here: serving (`daemon.py`), and how the process is
started and stopped by others (`control.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from threepio_client import settings as settings_module
from threepio_client.errors import NoPlace, ThreepioError
from threepio_client.files import open_own
from threepio_client.paths import make_private_dir
from threepio_client.settings import Settings, check_socket_path
from threepiod.admission import raise_descriptor_limit
from threepiod.control import MIGRATING, READY
from threepiod.daemon import Daemon
from threepiod.listener import is_still, listen, take_lock, unlink_own
from threepiod.rebuild import put_aside
from threepiod.service import Service
from threepiod.store import DamagedStore, Store

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
    state_dir = settings.places
    raise_descriptor_limit()
    _give_memory_back()
    gc.set_threshold(NEW_OBJECTS)
    limits = settings_module.load_daemons()
    service = Service()
    if limits.idle_exit_s is None and service.listener is not None:
        limits = limits._replace(idle_exit_s=ACTIVATED_IDLE_EXIT_S)
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
    try:
        return Store(path, migrating), ""
    except DamagedStore as error:
        kept = put_aside(path)
        return Store(path), f"{error}. It is kept as {kept}, and the journals fill a new one"


def _give_memory_back() -> None:
    """Have large blocks given back to the system when they are freed: mallopt(3), where there is one.

    glibc keeps them instead as soon as it has seen one, in an arena for each thread. Eight adapters with lines of 512 KiB:
    57 instead of 69 MiB, and no growth.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, LARGE_BLOCK), (_M_TRIM_THRESHOLD, LARGE_BLOCK), (_M_ARENA_MAX, 2)):
            mallopt(option, value)


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
        tell(READY)
        os.close(starter)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    return ready, partial(tell, MIGRATING)


if __name__ == "__main__":
    main()
