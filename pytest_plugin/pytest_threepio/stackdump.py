"""Stacks on request, where the user wants it (THREEPIO_STACKS=1): SIGNAL has this process write its stacks into a file.

faulthandler writes the threads' stacks within the signal handler itself; then it calls the handler that was there before,
ours, which the interpreter runs as soon as the main thread is out of C, and which adds the tasks of a running event loop.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from threepio_client.stacks import END, SIGNAL, first_line

FD_FROM: Final = 200
"""The descriptor gets a high number: a suite that closes low ones and opens files of its own does not get our stacks."""

# Bound once: a test may replace what `os` holds while we run.
_close: Final = os.close
_fstat: Final = os.fstat
_write: Final = os.write
_getpid: Final = os.getpid


class StackDump:
    """Keeps the file and the handlers until it is closed."""

    def __init__(self, path: Path) -> None:
        """Make the file and set the handlers.

        Raises:
            OSError: the file cannot be made.
        """
        self._path = path
        self._pid = _getpid()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FD_FROM)
        finally:
            os.close(fd)
        self._file_id = _identity_of(self._fd)
        _write(self._fd, first_line(self._fd))
        signal.signal(SIGNAL, self._add_tasks)
        faulthandler.register(SIGNAL, file=self._fd, all_threads=True, chain=True)

    def close(self) -> None:
        """Take handlers and file back."""
        if _getpid() != self._pid:
            return
        faulthandler.unregister(SIGNAL)
        signal.signal(SIGNAL, signal.SIG_IGN)  # one that is on its way must not kill
        if _identity_of(self._fd) == self._file_id:  # else the suite closed it, and may have a file of its own there
            _close(self._fd)
        self._path.unlink(missing_ok=True)

    def _add_tasks(self, _number: int, _frame: FrameType | None) -> None:
        lines = []
        try:
            for name, coroutine in (*_asyncio_tasks(), *_trio_tasks()):
                lines += [f"Task {name} (most recent call first):", *reversed(list(_frames(coroutine)))]
        except Exception as error:  # noqa: BLE001 - raised here, it would come out of whatever the test does just now
            lines.append(f"threepio: the tasks cannot be told: {error!r}")
        if _identity_of(self._fd) == self._file_id:
            with suppress(OSError):  # a full disk: whoever asked sees that the answer has no end
                _write(self._fd, "\n".join([*lines, END, ""]).encode("utf-8", "backslashreplace"))


def _identity_of(descriptor: int) -> tuple[int, int] | None:
    try:
        found = _fstat(descriptor)
    except OSError:
        return None  # closed
    return found.st_dev, found.st_ino


def _asyncio_tasks() -> Iterator[tuple[str, Any]]:
    asyncio = sys.modules.get("asyncio")
    loop = asyncio.events._get_running_loop() if asyncio is not None else None
    if asyncio is not None and loop is not None:
        for task in asyncio.all_tasks(loop):
            yield task.get_name(), task.get_coro()


def _trio_tasks() -> Iterator[tuple[str, Any]]:
    trio = sys.modules.get("trio")
    if trio is None:
        return
    try:
        waiting = [trio.lowlevel.current_root_task()]
    except RuntimeError:
        return  # no loop runs in this thread
    while waiting:
        task = waiting.pop()
        if task is not None:
            yield task.name, task.coro
            waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _frames(coroutine: Any) -> Iterator[str]:
    """Yield where a suspended coroutine and what it awaits are, the outermost first, in faulthandler's form."""
    while coroutine is not None:
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(coroutine, f"{prefix}_frame", None)
            if frame is not None:
                yield f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}'
                break
        awaited = (getattr(coroutine, name, None) for name in ("cr_await", "gi_yieldfrom", "ag_await"))
        coroutine = next((found for found in awaited if found is not None), None)
