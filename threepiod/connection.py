"""One connection: bytes to messages, messages to the run or the queries. It owns no position and stores nothing."""

from __future__ import annotations

import fcntl
import logging
import os
import termios
import time
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgpack
import trio

from threepio_client.errors import NoPlace, NoSuchRun, RemoteProtocolError, ThreepioError
from threepio_client.link import peer_uid
from threepio_client.process import ProcessIdentity
from threepio_client.protocol import (
    REPLY_PIECE,
    VERSION,
    WINDOW,
    Ack,
    Ask,
    Bye,
    ByeAck,
    Connection,
    Hello,
    Lines,
    Message,
    Refuse,
    Reply,
    Role,
    State,
    Unjournaled,
    Welcome,
    joined,
)
from threepio_client.views import VIEW_VERSION
from threepiod.admission import Admission
from threepiod.run import Run

_CODES: Final[dict[type[ThreepioError], str]] = {NoSuchRun: "no-such-run", NoPlace: "no-place"}
"""Of errors that a command tells apart, as `query.py` does: by them it ends with another exit code."""
RECEIVE_SIZE: Final = 64 * 1024
LARGE_READ: Final = 16 * 1024
FIRST_PAUSE_S: Final = 0.004
PAUSE_GROWTH: Final = 1.25
LONGEST_PAUSE_S: Final = 0.100
SHORT_PAUSE_S: Final = 0.030
"""The longest one where another would cost too much."""
FEW_TESTS: Final = 1_000
MUCH: Final = 128 * 1024
"""Bytes between two pauses that make an adapter a fast one."""
SEND_TIMEOUT_S: Final = 30.0
"""A client that does not read for this long is let go; its run goes on in its journal."""

log = logging.getLogger("threepiod.connection")

Answer = Callable[[str, dict[str, Any]], Awaitable[Any]]
OpenRun = Callable[[Hello], Awaitable[Run]]


class Incoming:
    """What an adapter sent over one connection, against what it may send.

    No honest adapter can break these rules: it hears of an ack after it was sent, so what it takes for un-acked is never
    less than what is un-acked here, and it sends each line once.
    """

    def __init__(self, acked: int) -> None:
        """Begin behind `acked`, the seq that WELCOME tells."""
        self._acked = acked
        self._last = 0
        self._out: deque[tuple[int, list[int]]] = deque()  # of each frame: first seq, bytes of its lines
        self._bytes = 0

    def acked(self, seq: int) -> None:
        """Note an ack. It is to be called before the ack can reach the adapter."""
        self._acked = max(self._acked, seq)
        while self._out and self._out[0][0] <= self._acked:
            first, sizes = self._out.popleft()
            count = self._acked - first + 1
            self._bytes -= sum(sizes[:count])
            if sizes[count:]:
                self._out.appendleft((first + count, sizes[count:]))

    def check_lines(self, lines: Lines | Unjournaled) -> None:
        """Raise RemoteProtocolError if the adapter may not send these lines now."""
        first = lines.first_seq
        if first <= self._last:
            raise RemoteProtocolError("regression", f"line {first} after line {self._last}")
        sizes = [len(line) + 1 for line in lines.lines]
        size = sum(sizes)
        if sizes:
            self._last = first + len(sizes) - 1
        new = sizes[max(self._acked - first + 1, 0) :]
        if new:
            if self._bytes + sum(new) > WINDOW and (self._out or len(new) > 1):  # a lone line may always be sent
                raise RemoteProtocolError("credit-overrun", f"more than {WINDOW} bytes beyond the ack of {self._acked}")
            self._out.append((self._last - len(new) + 1, new))
            self._bytes += sum(new)
        if isinstance(lines, Lines) and lines.end < size:
            raise RemoteProtocolError("bad-message", f"{size} bytes of lines cannot end at byte {lines.end}")

    def check_bye(self, last_seq: int) -> None:
        """Raise RemoteProtocolError if BYE speaks of less than was sent."""
        if last_seq < self._last:
            raise RemoteProtocolError("regression", f"BYE at {last_seq} after line {self._last}")


class Pauses:
    """How long to wait before an adapter's socket is read again: waking for every frame costs several times the CPU.

    A run waits for a pause at its end. So they grow from read to read, for a run of few tests, and stay short where few are
    left, or nobody knows how many. A fast adapter uses up its credit in a long one. After a large read there is none.
    """

    def __init__(self, tests_left: Callable[[], int]) -> None:
        self._tests_left = tests_left
        self._next_s = FIRST_PAUSE_S
        self._came = 0

    def after(self, size: int) -> float:
        """Return the seconds to wait after a read of so many bytes."""
        self._came += size
        if size >= LARGE_READ:
            return 0.0
        can_be_long = self._tests_left() > FEW_TESTS and self._came < MUCH
        pause_s = min(self._next_s, LONGEST_PAUSE_S if can_be_long else SHORT_PAUSE_S)
        self._next_s = pause_s * PAUSE_GROWTH
        self._came = 0
        return pause_s


class ClientConnection:
    """The daemon's side of one connection."""

    def __init__(
        self,
        stream: trio.SocketStream,
        state_dir: Path,
        open_run: OpenRun,
        answer: Answer,
        admission: Admission,
    ) -> None:
        self._stream = stream
        self._state_dir = state_dir
        self._admission = admission
        self._open_run = open_run
        self._answer = answer
        self._protocol = Connection(Role.DAEMON)
        self._acked = 0
        self._sent_ack = 0
        self._incoming = Incoming(0)
        self._bye_seq: int | None = None
        self._news = trio.Event()
        self._messages: Iterator[Message] = iter(())
        self._pauses: Pauses | None = None
        self._last_read = 0
        self._in_frame = False
        self._is_offering = False

    async def serve(self) -> None:
        """Serve the client until either side ends the connection.

        Raises:
            RemoteProtocolError: the client broke the protocol; it was told so.
        """
        uid = peer_uid(self._stream.socket)
        if uid != os.getuid():
            log.warning("refused a connection of uid %d", uid)
            return
        try:
            with self._admission.stranger() as scope, scope:
                hello = await self._next()
            if scope.cancelled_caught or hello is None:
                return
            assert isinstance(hello, Hello)  # the table allows nothing else
            if VERSION not in hello.versions:
                raise RemoteProtocolError(
                    "no-common-version", f"this threepiod speaks version {VERSION} of the protocol"
                )
            assert self._protocol.peer_role is not None
            with self._admission.guest(self._protocol.peer_role):
                if self._protocol.peer_role is Role.QUERY:
                    self._check_place(hello)
                    await self._send(Welcome(version=VERSION, cursor=0, window=0))
                    await self._serve_queries()
                else:
                    await self._serve_adapter(hello)
        except RemoteProtocolError as error:
            with trio.move_on_after(1.0), suppress(trio.BrokenResourceError):  # it may have left
                await self._send_refusal(error)
            raise

    def _check_place(self, hello: Hello) -> None:
        if hello.place not in ("", str(self._state_dir)):
            raise RemoteProtocolError("other-state-dir", f"this daemon keeps {self._state_dir}, not {hello.place}")

    def ack(self, seq: int) -> None:
        """Have the adapter told that everything up to `seq` is stored and synced; the newest ack replaces an unsent one."""
        self._acked = max(self._acked, seq)
        self._news.set()

    @property
    def is_drained(self) -> bool:
        """Whether everything that came so far was offered to the run. What a process sent outlives it in the socket."""
        return not self._is_offering and not _bytes_waiting(self._stream.socket)

    async def _serve_adapter(self, hello: Hello) -> None:
        run = await self._open_run(hello)
        self._acked = self._sent_ack = run.stored
        self._incoming = Incoming(run.stored)
        self._pauses = Pauses(lambda: run.state.never_ran)
        await self._send(Welcome(version=VERSION, cursor=run.stored, window=self._admission.window))
        run.attach(self, ProcessIdentity.from_payload(hello.run.get("process")))
        log.info("run %s: connected, stored up to %d", run.run_id, run.stored)
        broken: RemoteProtocolError | trio.BrokenResourceError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_acks, nursery.cancel_scope)
                try:
                    await self._receive_lines(run)
                except (RemoteProtocolError, trio.BrokenResourceError) as error:
                    broken = error  # raised below: in here it would come out as a group
                nursery.cancel_scope.cancel()
        finally:
            run.detach(self)
        if broken is not None:
            raise broken
        log.info("run %s: the connection ended, received up to %d", run.run_id, run.cursor)

    async def _receive_lines(self, run: Run) -> None:
        while (message := await self._next()) is not None:
            if isinstance(message, Lines):
                self._incoming.check_lines(message)
                run.offer(message)
                message.lines.clear()  # up to 1 MiB that the messages' iterator would hold while this waits
                await run.room()
            elif isinstance(message, Unjournaled):
                self._incoming.check_lines(message)
                run.offer_unjournaled(message)
                message.lines.clear()
                await run.room()
            elif isinstance(message, Bye):
                self._incoming.check_bye(message.last_seq)
                self._bye_seq = message.last_seq
                run.bye(message.last_seq)
                self.ack(run.stored)

    async def _send_acks(self, scope: trio.CancelScope) -> None:
        try:
            while self._protocol.state is not State.CLOSED:
                await self._news.wait()
                self._news = trio.Event()
                if self._bye_seq is not None and self._acked >= self._bye_seq:
                    await self._send(ByeAck(seq=self._acked))
                elif self._acked > self._sent_ack:
                    self._sent_ack = self._acked
                    self._incoming.acked(self._acked)
                    await self._send(Ack(seq=self._acked, window=self._admission.window))
        except trio.BrokenResourceError:
            pass  # the adapter is gone, or does not read; its run goes on in its journal
        scope.cancel()

    async def _serve_queries(self) -> None:
        while (message := await self._next()) is not None:
            assert isinstance(message, Ask)  # the table allows nothing else
            await self._reply(message.id, await self._packed_answer(message))

    async def _packed_answer(self, question: Ask) -> bytes:
        start = time.perf_counter()
        try:
            result = await self._answer(question.name, question.params)
            elapsed_ms = round((time.perf_counter() - start) * 1000, 3)
            answer = {"result": result, "elapsed_ms": elapsed_ms, "schema_version": VIEW_VERSION}
        except ThreepioError as error:
            answer = {"error": str(error), "code": _CODES.get(type(error), "error")}
        data: bytes = msgpack.packb(answer)
        return data

    async def _reply(self, number: int, data: bytes) -> None:
        if len(data) <= REPLY_PIECE:
            await self._send(Reply(id=number, last=True, data=data))
            return
        with self._admission.long_answer(len(data)) as has_room:
            if not has_room:
                data = msgpack.packb({"error": "too many long answers wait for their readers", "code": "busy"})
            for at in range(0, len(data), REPLY_PIECE):
                last = at + REPLY_PIECE >= len(data)
                await self._send(Reply(id=number, last=last, data=data[at : at + REPLY_PIECE]))

    async def _next(self) -> Message | None:
        """Return the next message, or None when the stream has ended."""
        while (message := next(self._messages, None)) is None:
            self._is_offering = False
            if self._pauses is not None and (pause_s := self._pauses.after(self._last_read)):
                await trio.sleep(pause_s)
            data = await self._stream.receive_some(RECEIVE_SIZE)
            if not data:
                return None
            self._last_read = len(data)
            self._messages = joined(self._protocol.receive(data))
            self._is_offering = True
        return message

    async def _send(self, message: Message) -> None:
        data = self._protocol.send(message)
        self._in_frame = True
        with trio.move_on_after(SEND_TIMEOUT_S) as scope:
            await self._stream.send_all(data)
            self._in_frame = False
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read")

    async def _send_refusal(self, error: RemoteProtocolError) -> None:
        # A begun frame cannot be finished any more: then the connection just ends.
        if self._protocol.state is not State.CLOSED and not self._in_frame:
            await self._send(Refuse(code=error.code, reason=error.reason))


def _bytes_waiting(sock: trio.socket.SocketType) -> int:
    """Return how many bytes came and are not received; 0 once the socket is closed."""
    if sock.fileno() < 0:
        return 0
    waiting = array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, waiting)
    return waiting[0]
