"""Sockets without a kernel: a small buffer each way, broken or frozen when told so. One end is the real `Link`'s,
the other the real `ClientConnection`'s."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

import pytest
import trio

from threepio_client import link


class Surroundings(Protocol):
    """What the sockets need of the world around them."""

    is_frozen: bool
    piece: int
    """Bytes that one receive of the daemon brings at most."""

    def connect(self) -> Wire:
        """Return a new connection to the daemon; ConnectionRefusedError if there is none."""

    def pass_time(self, seconds: float, until: Callable[[], bool]) -> None:
        """Let the daemon work, and the time pass."""


class Wire:
    """One connection: the bytes on their way, and who still has it open.

    Attributes:
        is_held: whether a forked child has the adapter's end open too.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.to_daemon = bytearray()
        self.to_adapter = bytearray()
        self.adapter_open = True
        self.daemon_open = True
        self.is_held = False
        self.news = trio.Event()

    def tell(self) -> None:
        """Wake the daemon's side."""
        self.news.set()
        self.news = trio.Event()

    def close_adapter(self) -> None:
        self.adapter_open = False
        self.tell()

    def close_daemon(self) -> None:
        self.daemon_open = False
        self.to_daemon.clear()
        self.tell()

    def cut(self) -> None:
        """Break the connection for both sides; what was on its way is lost."""
        self.adapter_open = False
        self.is_held = False
        self.close_daemon()


class _Stat(NamedTuple):
    st_dev: int
    st_ino: int


class AdapterSocket:
    """The adapter's end, with as much of `socket.socket` as `Link` uses."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._wire: Wire | None = None

    @property
    def wire(self) -> Wire:
        """The connection."""
        if self._wire is None:
            raise OSError(9, "Bad file descriptor")
        return self._wire

    def setblocking(self, flag: bool) -> None: ...

    def setsockopt(self, *args: int) -> None: ...

    def connect(self, path: str) -> None:
        self._wire = self._around.connect()

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        return struct.pack("3i", os.getpid(), os.getuid(), os.getgid())

    def fileno(self) -> AdapterSocket:
        """Return itself: nobody but the functions here looks at a number."""
        return self

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close_adapter()

    def detach(self) -> None:
        """Forget the descriptor, which is another file's."""


class _Poll:
    """poll(2) of one adapter's socket: the daemon works while it waits."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def register(self, socket: AdapterSocket, events: int) -> None:
        self._socket, self._events = socket, events

    def poll(self, timeout_ms: float) -> None:
        wire = self._socket.wire

        def is_ready() -> bool:
            wants_room = self._events & link._POLL_OUT
            return bool(wire.to_adapter or not wire.daemon_open or (wants_room and len(wire.to_daemon) < wire.capacity))

        if not is_ready():
            self._around.pass_time(timeout_ms / 1000, is_ready)


def _send(socket: AdapterSocket, data: bytes, flags: int) -> int:
    wire = socket.wire
    if not wire.daemon_open:
        raise BrokenPipeError(32, "Broken pipe")
    room = wire.capacity - len(wire.to_daemon)
    if room <= 0:
        raise BlockingIOError
    wire.to_daemon += data[:room]
    wire.tell()
    return min(room, len(data))


def _recv(socket: AdapterSocket, size: int, flags: int) -> bytes:
    wire = socket.wire
    if wire.to_adapter:
        data = bytes(wire.to_adapter[:size])
        del wire.to_adapter[:size]
        return data
    if wire.daemon_open:
        raise BlockingIOError
    return b""


def stand_in(around: Surroundings, patch: pytest.MonkeyPatch) -> None:
    """Put these sockets beneath the adapter's link."""
    patch.setattr(link, "_socket", lambda *args: AdapterSocket(around))
    patch.setattr(link, "_fstat", lambda socket: _Stat(0, id(socket)))
    patch.setattr(link, "_send", _send)
    patch.setattr(link, "_recv", _recv)
    patch.setattr(link, "_poll", lambda: _Poll(around))


class DaemonStream(trio.abc.Stream):
    """The daemon's end, as a trio stream."""

    def __init__(self, wire: Wire, around: Surroundings) -> None:
        self._wire = wire
        self._around = around
        self.socket = self

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        return struct.pack("3i", os.getpid(), os.getuid(), os.getgid())

    @property
    def waiting(self) -> int:
        """Bytes that came and are not received."""
        return len(self._wire.to_daemon)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        wire = self._wire
        await trio.lowlevel.checkpoint()
        while True:
            if not wire.daemon_open:
                raise trio.BrokenResourceError("connection reset")
            if wire.to_daemon:
                size = min(self._around.piece, max_bytes or self._around.piece)
                data = bytes(wire.to_daemon[:size])
                del wire.to_daemon[:size]
                return data
            if not wire.adapter_open and not wire.is_held:
                return b""
            await wire.news.wait()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        if not self._wire.daemon_open or not (self._wire.adapter_open or self._wire.is_held):
            raise trio.BrokenResourceError("broken pipe")
        self._wire.to_adapter += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self._wire.close_daemon()
        await trio.lowlevel.checkpoint()
