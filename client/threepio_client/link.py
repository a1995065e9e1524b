"""The adapter's connection to the daemon: never waits longer than the budget allows, never raises for what a peer does.

Owned here: the socket, the credit, the acks, the time spent waiting. Not here: the journal, and when to connect again.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from threepio_client import clock
from threepio_client.errors import RemoteProtocolError
from threepio_client.process import ProcessIdentity
from threepio_client.protocol import (
    VERSION,
    WINDOW,
    Ack,
    Bye,
    ByeAck,
    Connection,
    Credit,
    Hello,
    Refuse,
    Role,
    State,
    Unjournaled,
    Welcome,
)

SEND_BUFFER: Final = 4 * 1024 * 1024
"""Bytes asked of the kernel. The default holds some 170 to 280 lines, whatever their size."""
SMALL_STALL_S: Final = 0.020
"""Shorter waits are the scheduler's, not a slow daemon's, and do not count against the run's budget."""
READ_EVERY_S: Final = 0.050
"""How often an adapter with credit to spare looks for acks."""
SEND_EVERY_S: Final = 0.020
"""How often lines that can wait are sent. What is left when no line follows, the daemon finds in the journal within two of
its ticks. A send costs a test 20 us or more, because it wakes another process: five times as much as writing the line."""
FRAME_LINES: Final = 64
FRAME_BYTES: Final = 16 * 1024
"""Lines, and bytes of lines, that are sent at once even if they could wait."""
LONGEST_POLL_MS: Final = 60_000
"""poll(2) takes no more than 24 days; a longer wait is several polls."""

RUN_ID_TAKEN: Final = "run-id-taken"
TRANSIENT_REFUSALS: Final = frozenset({"busy", "store-trouble"})
"""Codes after which it is worth asking again."""

# Bound once: a test may replace what these modules hold while we run.
_socket: Final = socket.socket
_send: Final = socket.socket.send
_recv: Final = socket.socket.recv
_poll: Final = select.poll
_fstat: Final = os.fstat
_getuid: Final = os.getuid
_POLL_IN: Final = select.POLLIN
_POLL_OUT: Final = select.POLLOUT
_SEND_FLAGS: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_READ_FLAGS: Final = socket.MSG_DONTWAIT
_UCRED: Final = struct.Struct("3i")


class Budget:
    """How long a run may wait for the daemon, in all and at a time.

    Attributes:
        used: seconds that count against the total.
        blocked: all seconds spent waiting.
    """

    def __init__(self, at_a_time: float, total: float) -> None:
        self._at_a_time = at_a_time
        self._total = total
        self.used = 0.0
        self.blocked = 0.0

    @property
    def left(self) -> float:
        """Seconds that the next wait may take; may be infinite."""
        return min(self._at_a_time, max(self._total - self.used, 0.0))

    def spend(self, seconds: float, *, in_vain: bool = False) -> None:
        """Count one wait; one that was in vain is no small stall, however short the budget made it."""
        self.blocked += seconds
        if in_vain or seconds > SMALL_STALL_S:
            self.used += seconds


class Link:
    """One connection, from HELLO to BYE.

    Attributes:
        acked: highest seq that the daemon has stored and synced.
        heard: when the daemon last said something, by `clock.monotonic`.
        trouble: why the connection ended or could not be made; empty while it is fine.
        refused: whether the daemon refused this run, so that asking again is of no use.
        is_taken: whether it did so because it has another run of this id.
        spilled: how many lines were left to the journal.
    """

    def __init__(self, path: Path, budget: Budget, events: int) -> None:
        self.acked = 0
        self.heard = 0.0
        self.trouble = ""
        self.refused = self.is_taken = False
        self.spilled = 0
        self._path = path
        self._budget = budget
        self._protocol = Connection(Role.ADAPTER)
        self._credit = Credit(WINDOW, events)
        self._out = b""
        self._is_sending = False  # stays so where an exception came between the sending and its note
        self._read_at = 0.0
        self._sock: socket.socket | None = None
        self._file_id = (0, 0)
        # Lines that are not sent yet: they stand one behind the other in file `_file`, up to byte `_end` and line `_seq`.
        self._lines: list[bytes] = []
        self._file = self._end = self._seq = self._size = 0
        self._lines_at_once = max(min(FRAME_LINES, events // 4), 1)
        self._sent_at = 0.0
        # After a wait in vain none follows before the daemon has said something: one test may emit many events,
        # and a timeout plugin counts all of their waits as its time.
        self._is_silent = False

    @property
    def is_open(self) -> bool:
        """Whether the daemon said WELCOME and the connection stands."""
        return self._sock is not None and self._protocol.state is State.OPEN

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection at all, welcomed or not yet."""
        return self._sock is not None

    def connect(self, run_id: str, producer_id: str, process: ProcessIdentity, journal: Path) -> bool:
        """Connect and say HELLO without waiting; return whether that worked. `trouble` says why not."""
        hello = Hello(
            versions=[VERSION],
            role=Role.ADAPTER.value,
            run={"run_id": run_id, "producer_id": producer_id, "process": process.to_payload()},
            place=str(journal),
        )
        try:
            greeting = self._protocol.send(hello)
        except UnicodeEncodeError:
            self.trouble = f"the path of the journal is not valid Unicode and cannot be told to the daemon: {journal!a}"
            return False
        sock = None
        try:
            sock = _socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            sock.setblocking(False)
            sock.connect(str(self._path))
            uid = peer_uid(sock)
            if uid != _getuid():
                raise PermissionError(None, f"the process that listens there belongs to uid {uid}, not to you")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            found = _fstat(sock.fileno())
            self._file_id = (found.st_dev, found.st_ino)
        except OSError as error:
            if sock is not None:
                sock.close()
            self.trouble = f"{error.strerror or error}"
            return False
        self._sock = sock
        self._out = greeting
        self._flush()
        return self.is_alive

    def wait_for_welcome(self, patience_s: float | None = None) -> bool:
        """Wait until the daemon has answered; return whether it said WELCOME.

        Args:
            patience_s: seconds to wait beside the budget; None: within it.
        """
        if patience_s is None:
            return self._wait(lambda: self.is_open)
        budget, self._budget = self._budget, Budget(patience_s, patience_s)
        try:
            return self._wait(lambda: self.is_open)
        finally:
            self._budget = budget

    def offer(self, file: int, end: int, seq: int, line: bytes, now: float, *, can_wait: bool = False) -> None:
        """Send one line, with those that waited; wait for credit within the budget, or leave them to the journal.

        Args:
            file: number of the journal's file that it stands in.
            end: byte offset in that file behind the line.
            seq: the line's number.
            line: the line with its newline.
            now: `clock.monotonic`, read by the caller anyway.
            can_wait: whether it may be sent with the lines after it, SEND_EVERY_S after the last sending.
        """
        if self._lines and (seq != self._seq + 1 or file != self._file):
            self._send_lines(now)
        self._lines.append(line[:-1])
        self._size += len(line)
        self._file = file
        self._end = end
        self._seq = seq
        if not (
            can_wait
            and now - self._sent_at < SEND_EVERY_S
            and self._size < FRAME_BYTES
            and len(self._lines) < self._lines_at_once
        ):
            self._send_lines(now)

    def _send_lines(self, now: float) -> None:
        """Send the lines that wait, or leave them to the journal; none waits any more, either way."""
        lines, size = self._lines, self._size
        self._lines, self._size = [], 0
        self._sent_at = now
        if self._sock is not None and (now - self._read_at > READ_EVERY_S or self._credit.mostly_used):
            self._read_at = now
            self.hear()
        if self._seq <= self.acked:
            return
        if self.is_open and self._has_room(size, len(lines)):
            first = self._seq - len(lines) + 1
            if first <= self.acked:  # taken from the journal while these waited: no ack would come for them
                lines = lines[self.acked + 1 - first :]
                if not lines:
                    return
                first = self._seq - len(lines) + 1
                size = sum(len(line) + 1 for line in lines)
            self._credit.sent(self._seq, size, len(lines))
            self._out = self._protocol.send_lines(self._file, self._end, first, lines)
            self._flush()
            if self.is_alive:
                return
        self.spilled += len(lines)

    def offer_unjournaled(self, seq: int, line: bytes) -> bool:
        """Send one line that stands in no journal, waiting likewise; return False if it is lost.

        Lines that waited are left to the journal, where they are.
        """
        self._leave_lines()
        self.hear()
        if not self._wait(lambda: self.is_open) or not self._has_room(len(line)):
            return False
        self._credit.sent(seq, len(line))
        self._out = self._protocol.send(Unjournaled(first_seq=seq, lines=[line[:-1]]))
        self._flush()
        return self.is_alive

    def hear(self) -> None:
        """Take in what the daemon has said so far, without waiting."""
        sock = self._sock
        if sock is None:
            return
        try:
            if not self._is_ours(sock):
                self._fail("the suite closed the connection's descriptor")
                return
            while data := _recv(sock, 4096, _READ_FLAGS):
                self._is_silent = False
                for message in self._protocol.receive(data):
                    if isinstance(message, Welcome):
                        self._credit.window = min(message.window, WINDOW)
                        self._set_acked(message.cursor)
                    elif isinstance(message, Ack):
                        self._credit.window = min(message.window, WINDOW)
                        self._set_acked(message.seq)
                    elif isinstance(message, ByeAck):
                        self._set_acked(message.seq)
                    elif isinstance(message, Refuse):
                        self.refused = message.code not in TRANSIENT_REFUSALS
                        self.is_taken = message.code == RUN_ID_TAKEN
                        self.trouble = f"the daemon refused: {message.reason} [{message.code}]"
                        self._fail(self.trouble)
                        return
                if len(data) < 4096:
                    return
        except BlockingIOError:
            return
        except RemoteProtocolError as error:
            self._fail(f"the daemon broke the protocol: {error}")
            return
        except OSError as error:
            self._fail(f"{error.strerror}")
            return
        self._fail("the daemon closed the connection")

    def finish(self, last_seq: int) -> bool:
        """Say BYE and wait within the budget; return whether the daemon has stored everything. Ends the connection."""
        self._is_silent = False  # no test runs any more
        try:
            if self.is_open and self._wait(self._flush):
                self._out = self._protocol.send(Bye(last_seq=last_seq))
                self._flush()
                self._wait(lambda: self._flush() and self.acked >= last_seq and self._protocol.state is State.CLOSED)
            return self.acked >= last_seq
        finally:
            self.close()

    def close(self) -> None:
        """Close the socket, if the descriptor is still ours. Lines that waited are left to the journal."""
        self._leave_lines()
        sock, self._sock = self._sock, None
        if sock is not None:
            if self._is_ours(sock):
                sock.close()
            else:
                sock.detach()  # the suite closed it, and the number may be a file of its own by now

    def _leave_lines(self) -> None:
        self.spilled += len(self._lines)
        self._lines, self._size = [], 0

    def _has_room(self, size: int, lines: int = 1) -> bool:
        """Wait within the budget until the frame before is out and there is credit for lines of so many bytes."""
        if not self._out and self._credit.allows(size, lines):
            return True
        return self._wait(lambda: self._flush() and self._credit.allows(size, lines))

    def _wait(self, ready: Callable[[], bool]) -> bool:
        """Read and write until `ready`, at most as long as the budget allows; return whether it is."""
        start = clock.monotonic()
        deadline = start + (0.0 if self._is_silent else self._budget.left)
        in_vain = False
        try:
            while self._sock is not None:
                if ready():
                    return True
                left = deadline - clock.monotonic()
                if left <= 0 or self._sock is None:
                    in_vain = True
                    self._is_silent = self._budget.left > 0
                    return False
                poll = _poll()
                poll.register(self._sock.fileno(), _POLL_IN | (_POLL_OUT if self._out else 0))
                poll.poll(min(max(left * 1000, 1), LONGEST_POLL_MS))
                self.hear()
            return ready()
        finally:
            self._budget.spend(clock.monotonic() - start, in_vain=in_vain)

    def _flush(self) -> bool:
        """Send what the kernel takes of a begun frame; return whether nothing of it is left."""
        sock = self._sock
        if sock is None:
            return False
        if self._is_sending:  # how much of the frame has gone is not known
            self._fail("a signal's handler interrupted the sending")
            return False
        try:
            while self._out:
                if not self._is_ours(sock):
                    self._fail("the suite closed the connection's descriptor")
                    return False
                self._is_sending = True
                sent = _send(sock, self._out, _SEND_FLAGS)
                self._out = self._out[sent:]
                self._is_sending = False
        except BlockingIOError:
            self._is_sending = False
            return False
        except OSError as error:
            self._fail(f"{error.strerror}")
            return False
        return True

    def _set_acked(self, seq: int) -> None:
        self.heard = clock.monotonic()
        if seq > self.acked:
            self.acked = seq
            self._credit.acked(seq)

    def _fail(self, trouble: str) -> None:
        if self._protocol.state is not State.CLOSED:
            self.trouble = trouble
        self._out = b""
        self.close()

    def _is_ours(self, sock: socket.socket) -> bool:
        try:
            found = _fstat(sock.fileno())
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._file_id


class HasOptions(Protocol):
    """A socket, blocking or not, as far as its options go."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """Return the bytes of a socket option."""


def peer_uid(sock: HasOptions) -> int:
    """Return the uid of the process at the other end, as it was when it connected or listened (SO_PEERCRED, unix(7))."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(data)[1])
