"""A daemon for tests of the adapter: real socket, real protocol, no store. It does only what a test asks of it."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from threepio_client.errors import RemoteProtocolError
from threepio_client.line import Event, decode
from threepio_client.protocol import (
    VERSION,
    WINDOW,
    Ack,
    Bye,
    ByeAck,
    Connection,
    Hello,
    Lines,
    Message,
    Refuse,
    Role,
    Unjournaled,
    Welcome,
)

PATIENCE_S: Final = 20.0


class FakeDaemon:
    """Serves one adapter after the other in a thread of its own.

    Attributes:
        acks, welcomes: whether it acks lines, answers HELLO; a test may change them.
        window: bytes that WELCOME allows.
        refusal: code and reason with which HELLO is answered instead, or None.
        stored: what it acks at most and names as cursor; it follows the lines that come.
        hellos, events, byes: what came, over all connections.
        unjournaled: those of the events that stand in no journal.
        ended: connections that the other side ended.
        errors: what broke the protocol.
    """

    def __init__(self, path: Path, *, acks: bool = True, welcomes: bool = True) -> None:
        self.acks = acks
        self.welcomes = welcomes
        self.window = WINDOW
        self.refusal: tuple[str, str] | None = None
        self.stored = 0
        self.hellos: list[Hello] = []
        self.events: list[Event] = []
        self.unjournaled: list[Event] = []
        self.byes: list[Bye] = []
        self.ended = 0
        self.errors: list[Exception] = []
        self._path = path
        self._clients: dict[socket.socket, Connection] = {}
        self._changed = threading.Condition()
        self._stopping = self._paused = False
        self._reading = True
        self._listener = socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        self._listener.listen()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="fake daemon")
        self._thread.start()

    @property
    def seqs(self) -> list[int]:
        """Numbers of the events that came."""
        return [event.seq for event in self.events]

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Return as soon as the condition holds; fail the test if it does not in time."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            assert self._changed.wait_for(condition, deadline - time.monotonic()), "it did not happen in time"

    @property
    def clients(self) -> int:
        """Connections that stand."""
        return len(self._clients)

    def pause(self) -> None:
        """Read nothing from now on."""
        self._paused = True
        os.write(self._wake_write, b"x")
        self.wait_until(lambda: not self._reading)

    def read_on(self) -> None:
        """Read again."""
        self._paused = False
        os.write(self._wake_write, b"x")

    def send(self, message: Message) -> None:
        """Send a message on every connection that there is."""
        with self._changed:
            for sock, connection in self._clients.items():
                sock.sendall(connection.send(message))

    def send_bytes(self, data: bytes) -> None:
        """Send what no daemon would."""
        with self._changed:
            for sock in self._clients:
                sock.sendall(data)

    def hang_up(self) -> None:
        """Close every connection and go on listening."""
        with self._changed:
            for sock in self._clients:
                sock.shutdown(socket.SHUT_RDWR)
            self._clients = {}
        os.write(self._wake_write, b"x")

    def stop(self) -> None:
        """Close everything, as a daemon that ends."""
        if not self._stopping:
            self._stopping = True
            os.write(self._wake_write, b"x")
            self._thread.join()
            self._listener.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stopping:
                self._register(selector)
                for key, _ in selector.select():
                    if key.fileobj is self._listener:
                        sock = self._listener.accept()[0]
                        with self._changed:
                            self._clients[sock] = Connection(Role.DAEMON)
                            self._changed.notify_all()
                    elif isinstance(key.fileobj, socket.socket):
                        if not self._read(key.fileobj):
                            selector.unregister(key.fileobj)
                            key.fileobj.close()
                    else:
                        os.read(self._wake_read, 100)
            for sock in self._clients:
                sock.close()
            for key in list(selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()

    def _register(self, selector: selectors.BaseSelector) -> None:
        with self._changed:
            for sock in self._clients:
                if (sock in selector.get_map()) == self._paused:
                    if self._paused:
                        selector.unregister(sock)
                    else:
                        selector.register(sock, selectors.EVENT_READ)
            self._reading = not self._paused
            self._changed.notify_all()

    def _read(self, sock: socket.socket) -> bool:
        """Take in what came; return whether the connection stands."""
        try:
            data = sock.recv(1 << 20)
        except ConnectionError:
            data = b""
        with self._changed:
            self._changed.notify_all()
            connection = self._clients.get(sock)
            if connection is None:
                return False
            if not data:
                del self._clients[sock]
                self.ended += 1
                return False
            try:
                for message in connection.receive(data):
                    self._take(sock, connection, message)
            except RemoteProtocolError as error:
                self.errors.append(error)
                del self._clients[sock]
                return False
            return True

    def _take(self, sock: socket.socket, connection: Connection, message: Message) -> None:
        answer: Message | None = None
        if isinstance(message, Hello):
            self.hellos.append(message)
            if self.refusal is not None:
                answer = Refuse(code=self.refusal[0], reason=self.refusal[1])
            elif self.welcomes:
                answer = Welcome(version=VERSION, cursor=self.stored, window=self.window)
        elif isinstance(message, Lines | Unjournaled):
            events = [decode(line) for line in message.lines]
            if isinstance(message, Unjournaled):
                self.unjournaled += events
            assert [event.seq for event in events] == [message.first_seq + n for n in range(len(events))]
            self.events += events
            self.stored = max(self.stored, events[-1].seq)
            if self.acks:
                answer = Ack(seq=self.stored, window=self.window)
        elif isinstance(message, Bye):
            self.byes.append(message)
            self.stored = message.last_seq  # what did not come, it reads from the journal
            if self.acks:
                answer = ByeAck(seq=self.stored)
        if answer is not None:
            with suppress(ConnectionError):  # who is gone gets no answer, but what was sent before is still to be read
                sock.sendall(connection.send(answer))
