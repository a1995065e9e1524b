"""Admission: how many clients may be connected at once, and how much may wait for those that do not read.

Owned here: the bounds and who is over them. Not here: sockets and messages (`connection.py`).
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import trio

from threepio_client import clock
from threepio_client.errors import RemoteProtocolError
from threepio_client.protocol import WINDOW, Role

HELLO_TIMEOUT_S: Final = 10.0
STRANGERS: Final = 128
"""Connections that have not said HELLO: with an unfinished one (wire.HELLO_LIMIT) each takes 80 KiB, in all 10 MiB.
The one that waits longest is let go for a new one: who means it says HELLO at once."""
ADAPTERS: Final = 64
"""Runs connected at once. Each may hold an unfinished frame of 1 MiB; most hold some 40 KiB. Further ones are
refused, and their events come from the journals: nothing is lost by that."""
FEW_ADAPTERS: Final = 2
"""Runs connected up to which each may have a whole window un-acked."""
QUERIES: Final = 64
"""Clients with questions at once. Each may hold an answer of one piece (protocol.REPLY_PIECE), in all 16 MiB."""
LONG_ANSWERS: Final = 8 * 1024 * 1024
"""Bytes of longer answers that may wait for their readers, over all connections; a lone one may have any size."""
SHARE: Final = 8
"""A bound is at most this part of the descriptors that the process may open: a run needs two more for its process and its
journal, a query four for the store."""


class Limits(NamedTuple):
    """How many connections of each kind there may be at once."""

    strangers: int = STRANGERS
    adapters: int = ADAPTERS
    queries: int = QUERIES


def limits() -> Limits:
    """Return the bounds, as far as the descriptors of this process reach."""
    most = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE, 1)
    return Limits(min(STRANGERS, most), min(ADAPTERS, most), min(QUERIES, most))


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may have at all: the usual soft limit is far below the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS says "unlimited" and means less: the soft limit does as well
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Admission:
    """Counts who is connected."""

    def __init__(self) -> None:
        self._limits = limits()
        self._strangers: dict[trio.CancelScope, None] = {}  # the one that came first is first
        self._guests: Counter[Role] = Counter()
        self._long = 0
        self._busy_at = clock.monotonic()

    @property
    def busy_at(self) -> float:
        """When somebody was connected the last time, by `clock.monotonic`: now, if somebody is."""
        return clock.monotonic() if self._strangers or any(self._guests.values()) else self._busy_at

    @contextmanager
    def stranger(self) -> Iterator[trio.CancelScope]:
        """Give a connection the scope in which to say HELLO, cancelled when its time is over or others need its place.

        The scope is entered by the caller: what ends within a generator's context manager stays until garbage collection.
        """
        scope = trio.CancelScope(deadline=trio.current_time() + HELLO_TIMEOUT_S)
        if len(self._strangers) >= self._limits.strangers:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.cancel()
        self._strangers[scope] = None
        try:
            yield scope
        finally:
            self._strangers.pop(scope, None)
            self._busy_at = clock.monotonic()

    @contextmanager
    def guest(self, role: Role) -> Iterator[None]:
        """Count a connection that said HELLO.

        Raises:
            RemoteProtocolError: there are as many as there may be.
        """
        most = self._limits.queries if role is Role.QUERY else self._limits.adapters
        if self._guests[role] >= most:
            what = "commands are asking" if role is Role.QUERY else "runs are connected"
            raise RemoteProtocolError(
                "busy", f"{most} {what} already, which is as many as may: try again when one has ended"
            )
        self._guests[role] += 1
        try:
            yield
        finally:
            self._guests[role] -= 1
            self._busy_at = clock.monotonic()

    @property
    def window(self) -> int:
        """Bytes that an adapter may have un-acked: a quarter where many share the daemon's memory."""
        return WINDOW if self._guests[Role.ADAPTER] <= FEW_ADAPTERS else WINDOW // 4

    @contextmanager
    def long_answer(self, size: int) -> Iterator[bool]:
        """Count the bytes of a long answer until it is sent; the value is whether there is room for it."""
        has_room = not self._long or self._long + size <= LONG_ANSWERS
        self._long += size * has_room
        try:
            yield has_room
        finally:
            self._long -= size * has_room
