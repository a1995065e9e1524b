"""The wire protocol: its messages, and who may send which one when. No socket and no clock.

    adapter   HELLO ►  ◄ WELCOME | REFUSE   LINES | UNJOURNALED ► ...  ◄ ACK ...   BYE ►  ◄ BYE_ACK
    query     HELLO ►  ◄ WELCOME | REFUSE   ASK ►  ◄ REPLY (in pieces, the last one marked) ...

`docs/protocol.md` describes each field. A new message is a new class here and a row in each of the three
tables. Messages are named tuples: nine frozen dataclasses cost the tested process 7 ms at import.
"""

from collections import deque
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from threepio_client.errors import LocalProtocolError, RemoteProtocolError
from threepio_client.wire import FRAME_LIMIT, HELLO_LIMIT, FrameReader, frame

VERSION: Final = 1
WINDOW: Final = 2 * 1024 * 1024
"""Bytes of lines that an adapter may have sent and not yet been acked for. With less it waits while a batch is stored."""
WINDOW_EVENTS: Final = 10_000
"""Events likewise, unless THREEPIO_EVENT_BUFFER_SIZE says less."""
REPLY_PIECE: Final = 256 * 1024
"""Bytes of a long answer in one REPLY."""


class Hello(NamedTuple):
    """The client's first message.

    Attributes:
        versions: protocol versions that it speaks.
        role: `adapter` or `query`.
        run: an adapter's run: `run_id`, `producer_id`, `process`; else empty.
        place: absolute path of an adapter's journal; of a query's state directory, or empty if any will do.
    """

    versions: list[int]
    role: str
    run: dict[str, Any]
    place: str


class Welcome(NamedTuple):
    """The daemon's answer to HELLO.

    Attributes:
        version: the protocol version to be used.
        cursor: seq up to which the run is stored and synced already.
        window: bytes of lines that may be sent beyond the highest ack.
    """

    version: int
    cursor: int
    window: int


class Refuse(NamedTuple):
    """The daemon's last message on a connection that it closes; the codes are in docs/protocol.md."""

    code: str
    reason: str


class Lines(NamedTuple):
    """Lines of the run, in order and without gaps.

    Attributes:
        file: number of the journal file, 0 for `<run id>.jsonl`.
        end: byte offset in that file behind the last line.
        first_seq: seq of the first line.
        lines: the journal's own bytes, without newlines.
    """

    file: int
    end: int
    first_seq: int
    lines: list[bytes]


class Unjournaled(NamedTuple):
    """Lines of the run that the adapter could not write to its journal: the daemon journals them before it takes them.

    Attributes:
        first_seq: seq of the first line.
        lines: the lines, without newlines.
    """

    first_seq: int
    lines: list[bytes]


class Ack(NamedTuple):
    """Everything up to `seq` is stored and synced."""

    seq: int
    window: int


class Bye(NamedTuple):
    """The adapter has written its last event and asks to be told when all of the run is stored."""

    last_seq: int


class ByeAck(NamedTuple):
    """All of the run is stored and synced, up to `seq`."""

    seq: int


class Ask(NamedTuple):
    """A question; `id` comes back in the reply."""

    id: int
    name: str
    params: dict[str, Any]


class Reply(NamedTuple):
    """A piece of an answer.

    Attributes:
        id: the question's.
        last: whether this is the last piece.
        data: bytes of the msgpack-encoded answer `{"result": ..., "elapsed_ms": ..., "schema_version": ...}` or
            `{"error": ..., "code": ...}`.
    """

    id: int
    last: bool
    data: bytes


Message = Hello | Welcome | Refuse | Lines | Ack | Bye | ByeAck | Ask | Reply | Unjournaled

_CODES: Final[dict[type[Message], int]] = {
    Hello: 1,
    Welcome: 2,
    Refuse: 3,
    Lines: 4,
    Ack: 5,
    Bye: 6,
    ByeAck: 7,
    Ask: 8,
    Reply: 9,
    Unjournaled: 10,
}
"""First element of a message's array on the wire."""

_FIELD_TYPES: Final[dict[type[Message], tuple[type, ...]]] = {
    Hello: (list, str, dict, str),
    Welcome: (int, int, int),
    Refuse: (str, str),
    Lines: (int, int, int, list),
    Ack: (int, int),
    Bye: (int,),
    ByeAck: (int,),
    Ask: (int, str, dict),
    Reply: (int, bool, bytes),
    Unjournaled: (int, list),
}
"""What each further element must be; integers are never negative."""

_KINDS: Final = {code: kind for kind, code in _CODES.items()}
_OF_LINES: Final = (Lines, Unjournaled)
_BYTES: Final = frozenset({bytes})


class Role(Enum):
    """Which side of a connection this is."""

    ADAPTER = "adapter"
    QUERY = "query"
    DAEMON = "daemon"


class State(Enum):
    """State of a connection, the same on both sides but for what is still under way."""

    START = auto()
    GREETED = auto()
    OPEN = auto()
    ASKING = auto()
    LEAVING = auto()
    CLOSED = auto()


_CLIENTS: Final = (Role.ADAPTER, Role.QUERY)

TRANSITIONS: Final[dict[State, dict[tuple[Role, type[Message]], State]]] = {
    State.START: {
        (Role.ADAPTER, Hello): State.GREETED,
        (Role.QUERY, Hello): State.GREETED,
        (Role.DAEMON, Refuse): State.CLOSED,
    },
    State.GREETED: {
        (Role.DAEMON, Welcome): State.OPEN,
        (Role.DAEMON, Refuse): State.CLOSED,
    },
    State.OPEN: {
        (Role.ADAPTER, Lines): State.OPEN,
        (Role.ADAPTER, Unjournaled): State.OPEN,
        (Role.DAEMON, Ack): State.OPEN,
        (Role.ADAPTER, Bye): State.LEAVING,
        (Role.QUERY, Ask): State.ASKING,
        (Role.DAEMON, Refuse): State.CLOSED,
    },
    State.ASKING: {
        (Role.DAEMON, Reply): State.ASKING,
        (Role.QUERY, Ask): State.ASKING,
        (Role.DAEMON, Refuse): State.CLOSED,
    },
    State.LEAVING: {
        (Role.DAEMON, Ack): State.LEAVING,
        (Role.DAEMON, ByeAck): State.CLOSED,
        (Role.DAEMON, Refuse): State.CLOSED,
    },
    State.CLOSED: {},
}
"""(who sends, what) -> next state; a missing entry is a protocol error."""


def to_frame(message: Message) -> bytes:
    """Return the frame of a message."""
    return frame([_CODES[type(message)], *message])


def from_array(array: list[Any]) -> Message:
    """Return the message of an array from the wire.

    Raises:
        RemoteProtocolError: no such message, or a field is missing or of the wrong type. Further fields are passed over.
    """
    kind = _KINDS.get(array[0]) if type(array[0]) is int else None
    if kind is None:
        raise RemoteProtocolError("bad-message", "unknown message type")
    types = _FIELD_TYPES[kind]
    values = array[1 : 1 + len(types)]
    if len(values) < len(types):
        raise RemoteProtocolError("bad-message", f"{kind.__name__} with {len(values)} fields instead of {len(types)}")
    for name, wanted, value in zip(kind._fields, types, values, strict=True):
        if type(value) is not wanted or (type(value) is int and value < 0):
            raise RemoteProtocolError("bad-message", f"{kind.__name__}.{name} is not a {wanted.__name__}")
    if kind in _OF_LINES and not _BYTES.issuperset(map(type, values[-1])):
        raise RemoteProtocolError("bad-message", f"{kind.__name__}.lines holds something else than bytes")
    message: Message = kind(*values)
    return message


class Connection:
    """One side's view of one connection: turns messages into frames and bytes into messages, by the table.

    Attributes:
        state: where the connection stands, as this side knows.
        peer_role: the role of the other side; a daemon learns it from HELLO.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self.peer_role = Role.DAEMON if role in _CLIENTS else None
        self.state = State.START
        self._reader = FrameReader(HELLO_LIMIT if role is Role.DAEMON else FRAME_LIMIT)

    def send(self, message: Message) -> bytes:
        """Return the frame to be sent.

        Raises:
            LocalProtocolError: the message is not allowed now.
        """
        after = TRANSITIONS[self.state].get((self.role, type(message)))
        if after is None:
            raise LocalProtocolError(f"{type(message).__name__} is not allowed in state {self.state.name}")
        self.state = after
        return to_frame(message)

    def send_lines(self, file: int, end: int, first_seq: int, lines: list[bytes]) -> bytes:
        """Return the frame of `Lines`, as `send` would, without building the message: this runs once a test."""
        if (self.role, Lines) not in TRANSITIONS[self.state]:
            raise LocalProtocolError(f"Lines is not allowed in state {self.state.name}")
        return frame([_CODES[Lines], file, end, first_seq, lines])

    def receive(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that the bytes complete. The iterator is to be used up before the next call.

        Raises:
            RemoteProtocolError: the peer broke the protocol; the connection is to be closed.
        """
        for array in self._reader.feed(data):
            message = from_array(array)
            if isinstance(message, Hello) and self.role is Role.DAEMON and self.state is State.START:
                self.peer_role = _client_role(message.role)
                self._reader.limit = FRAME_LIMIT
            if isinstance(message, Welcome) and message.version != VERSION:
                raise RemoteProtocolError(
                    "no-common-version", f"the daemon wants version {message.version} of the protocol, not {VERSION}"
                )
            after = None if self.peer_role is None else TRANSITIONS[self.state].get((self.peer_role, type(message)))
            if after is None:
                raise RemoteProtocolError(
                    "bad-order", f"{type(message).__name__} is not allowed in state {self.state.name}"
                )
            self.state = after
            yield message


def joined(messages: Iterator[Message]) -> Iterator[Message]:
    """Yield the messages, with lines that follow on each other in a file as one message of all of them.

    Adapters send nearly every line in a frame of its own; what is checked and done for a message is then done once.

    Raises:
        RemoteProtocolError: from `messages`, after what came before it.
    """
    held: Lines | None = None
    end = 0
    try:
        for message in messages:
            if held is not None and type(message) is Lines and _follows(message, held, end):
                held.lines.extend(message.lines)
                end = message.end
                continue
            if held is not None:
                yield held._replace(end=end)
                held = None
            if type(message) is Lines:
                held, end = message, message.end
            else:
                yield message
    except RemoteProtocolError:
        if held is not None:
            yield held._replace(end=end)
        raise
    if held is not None:
        yield held._replace(end=end)


def _follows(message: Lines, held: Lines, end: int) -> bool:
    lines = message.lines
    return (
        message.first_seq == held.first_seq + len(held.lines)
        and message.file == held.file
        and message.end == end + sum(map(len, lines)) + len(lines)
    )


def _client_role(name: str) -> Role:
    for role in _CLIENTS:
        if role.value == name:
            return role
    raise RemoteProtocolError("bad-role", "the role must be adapter or query")


class Credit:
    """What the adapter sent and is not acked yet, against what it may send.

    Attributes:
        window: bytes that may be out.
        events: events that may be out.
    """

    def __init__(self, window: int, events: int) -> None:
        self.window = window
        self.events = events
        self._out: deque[tuple[int, int, int]] = deque()
        self._bytes = self._events = 0

    def allows(self, size: int, events: int = 1) -> bool:
        """Return whether lines of this many bytes in all may be sent; where nothing is out, they always may."""
        return not self._out or (self._bytes + size <= self.window and self._events + events <= self.events)

    @property
    def mostly_used(self) -> bool:
        """Whether more than a quarter is out, so that acks are worth looking for."""
        return self._bytes * 4 > self.window or self._events * 4 > self.events

    def sent(self, seq: int, size: int, events: int = 1) -> None:
        """Note lines that were sent, the last of them line `seq`: they are acked together."""
        self._out.append((seq, size, events))
        self._bytes += size
        self._events += events

    def acked(self, seq: int) -> None:
        """Note that everything up to `seq` is acked."""
        out = self._out
        while out and out[0][0] <= seq:
            _, size, events = out.popleft()
            self._bytes -= size
            self._events -= events
