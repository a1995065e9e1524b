"""The service manager that started the daemon, if one did: its socket and what it is told (sd_listen_fds, sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_FIRST_FD: Final = 3
FROM_A_MANAGER: Final = ("LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_")
"""Beginnings of what a service manager tells the daemon that it starts, and nobody else."""

log = logging.getLogger("threepiod")


class Service:
    """What the service manager gave us and wants to know. Without one, there is no socket and nobody is told anything.

    Attributes:
        listener: the socket on which the manager listens for us, or None.
        feed_every_s: how often a watchdog wants to be fed, in seconds; 0.0 if there is none.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        """Take what is meant for this process out of the environment, so that no child takes it for its own.

        Args:
            environ: the environment; default `os.environ`.
        """
        environ = os.environ if environ is None else environ
        own = str(os.getpid())
        self.listener: socket.socket | None = None
        if environ.get("LISTEN_PID") == own and environ.get("LISTEN_FDS") == "1":
            self.listener = socket.socket(fileno=_FIRST_FD)
            self.listener.set_inheritable(False)
        self._address = environ.get("NOTIFY_SOCKET", "")
        is_watched = self._address and environ.get("WATCHDOG_PID", own) == own
        self.feed_every_s = _seconds(environ.get("WATCHDOG_USEC", "")) / 2 if is_watched else 0.0
        self._is_unheard = False
        for name in [name for name in environ if name.startswith(FROM_A_MANAGER)]:
            del environ[name]

    def ready(self) -> None:
        """Say that the daemon serves."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """Say that it begins to stop."""
        self._tell("STOPPING=1")

    def feed(self) -> None:
        """Say that ingest goes on."""
        self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(state.encode(), address)
        except OSError as error:
            if not self._is_unheard:
                log.warning("cannot tell the service manager %s: %s", state, error.strerror or error)
            self._is_unheard = True
        else:
            self._is_unheard = False


def _seconds(microseconds: str) -> float:
    return int(microseconds) / 1e6 if microseconds.isascii() and microseconds.isdigit() else 0.0
