"""The protocol: dialogues replayed however the bytes come, and every message that is not allowed is an error."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from threepio_client.errors import LocalProtocolError, RemoteProtocolError
from threepio_client.protocol import (
    Ack,
    Ask,
    Bye,
    ByeAck,
    Connection,
    Credit,
    Hello,
    Lines,
    Message,
    Refuse,
    Reply,
    Role,
    State,
    Welcome,
    from_array,
    joined,
    to_frame,
)
from threepio_client.wire import FrameReader, frame

ADAPTER_HELLO = Hello(versions=[1], role="adapter", run={"run_id": "r", "process": {"pid": 1}}, place="/j")
QUERY_HELLO = Hello(versions=[1, 2], role="query", run={}, place="")
WELCOME = Welcome(version=1, cursor=7, window=1000)
REFUSE = Refuse(code="run-taken", reason="another process has it")
LINES = Lines(file=0, end=90, first_seq=8, lines=[b'{"seq":8}', b'{"seq":9}'])
ACK = Ack(seq=9, window=1000)
BYE = Bye(last_seq=9)
BYE_ACK = ByeAck(seq=9)
ASK = Ask(id=1, name="status", params={"run": "latest"})
PIECE = Reply(id=1, last=False, data=b"\0\xff")
REPLY = Reply(id=1, last=True, data=b"")

C, D = "client", "daemon"

DIALOGUES: dict[str, tuple[Role, list[tuple[str, Message, State]]]] = {
    "a run": (
        Role.ADAPTER,
        [
            (C, ADAPTER_HELLO, State.GREETED),
            (D, WELCOME, State.OPEN),
            (C, LINES, State.OPEN),
            (C, LINES, State.OPEN),
            (D, ACK, State.OPEN),
            (C, BYE, State.LEAVING),
            (D, ACK, State.LEAVING),
            (D, BYE_ACK, State.CLOSED),
        ],
    ),
    "a run that is refused": (Role.ADAPTER, [(C, ADAPTER_HELLO, State.GREETED), (D, REFUSE, State.CLOSED)]),
    "a run that is refused later": (
        Role.ADAPTER,
        [(C, ADAPTER_HELLO, State.GREETED), (D, WELCOME, State.OPEN), (D, REFUSE, State.CLOSED)],
    ),
    "a run that is refused at its end": (
        Role.ADAPTER,
        [
            (C, ADAPTER_HELLO, State.GREETED),
            (D, WELCOME, State.OPEN),
            (C, BYE, State.LEAVING),
            (D, REFUSE, State.CLOSED),
        ],
    ),
    "a client that is not even heard": (Role.ADAPTER, [(D, REFUSE, State.CLOSED)]),
    "questions": (
        Role.QUERY,
        [
            (C, QUERY_HELLO, State.GREETED),
            (D, WELCOME, State.OPEN),
            (C, ASK, State.ASKING),
            (C, ASK, State.ASKING),
            (D, PIECE, State.ASKING),
            (D, REPLY, State.ASKING),
            (C, ASK, State.ASKING),
            (D, REPLY, State.ASKING),
            (D, REFUSE, State.CLOSED),
        ],
    ),
    "questions that are refused": (Role.QUERY, [(C, QUERY_HELLO, State.GREETED), (D, REFUSE, State.CLOSED)]),
}


def assert_equal(found: Message, expected: Message) -> None:
    """Compare messages: two of different types are equal as tuples."""
    assert type(found) is type(expected)
    assert found == expected


def short(value: object) -> str:
    return type(value).__name__ if isinstance(value, Message) else getattr(value, "name", str(value))


def pair(client: Role) -> dict[str, Connection]:
    return {C: Connection(client), D: Connection(Role.DAEMON)}


def other(side: str) -> str:
    return D if side == C else C


dialogues = pytest.mark.parametrize("dialogue", DIALOGUES)


@dialogues
@pytest.mark.parametrize("step", [0, 1, 3], ids=["whole", "byte by byte", "three by three"])
def test_a_dialogue_goes_through(dialogue: str, step: int) -> None:
    client, messages = DIALOGUES[dialogue]
    sides = pair(client)

    for sender, message, state in messages:
        data = sides[sender].send(message)
        assert sides[sender].state is state
        receiver = sides[other(sender)]
        got: list[Message] = []
        for at in range(0, len(data), step or len(data)):
            assert got == []
            got += receiver.receive(data[at : at + (step or len(data))])
        assert len(got) == 1
        assert_equal(got[0], message)
        assert receiver.state is state
    assert (sides[C].peer_role, sides[D].peer_role) == (
        Role.DAEMON,
        client if messages[0][0] == C else None,
    )


@dialogues
def test_bytes_of_the_next_message_are_kept(dialogue: str) -> None:
    client, messages = DIALOGUES[dialogue]
    for side in (C, D):
        receiver = Connection(client if side == C else Role.DAEMON)
        stream = b""
        expected = []
        for sender, message, _ in messages:
            if sender == side:
                list(receiver.receive(stream))  # it has to be where it may send
                stream = b""
                receiver.send(message)
            else:
                stream += to_frame(message)
                expected.append(message)
        # All that is left in one piece, with the beginning of something more.
        got = list(receiver.receive(stream + b"\0\0\0\x05\x91"))
        assert got == expected[len(expected) - len(got) :]
        assert len(got) == _run_at_end(messages, other(side))


def _run_at_end(messages: list[tuple[str, Message, State]], side: str) -> int:
    count = 0
    for sender, _, _ in reversed(messages):
        if sender != side:
            break
        count += 1
    return count


SAMPLES: list[Message] = [ADAPTER_HELLO, WELCOME, REFUSE, LINES, ACK, BYE, BYE_ACK, ASK, REPLY]
WRONG: list[Any] = [None, 1.5, True, -1, "text", b"bytes", [], {}]
HELLOS = {Role.ADAPTER: ADAPTER_HELLO, Role.QUERY: QUERY_HELLO}

BEFORE: dict[tuple[Role, State], list[tuple[str, Message]]] = {
    (Role.ADAPTER, State.START): [],
    (Role.ADAPTER, State.GREETED): [(C, ADAPTER_HELLO)],
    (Role.ADAPTER, State.OPEN): [(C, ADAPTER_HELLO), (D, WELCOME)],
    (Role.ADAPTER, State.LEAVING): [(C, ADAPTER_HELLO), (D, WELCOME), (C, BYE)],
    (Role.ADAPTER, State.CLOSED): [(C, ADAPTER_HELLO), (D, WELCOME), (C, BYE), (D, BYE_ACK)],
    (Role.QUERY, State.START): [],
    (Role.QUERY, State.GREETED): [(C, QUERY_HELLO)],
    (Role.QUERY, State.OPEN): [(C, QUERY_HELLO), (D, WELCOME)],
    (Role.QUERY, State.ASKING): [(C, QUERY_HELLO), (D, WELCOME), (C, ASK)],
    (Role.QUERY, State.CLOSED): [(C, QUERY_HELLO), (D, REFUSE)],
}
ALLOWED: dict[tuple[Role, State], set[tuple[str, type[Message]]]] = {
    (Role.ADAPTER, State.START): {(C, Hello), (D, Refuse)},
    (Role.ADAPTER, State.GREETED): {(D, Welcome), (D, Refuse)},
    (Role.ADAPTER, State.OPEN): {(C, Lines), (C, Bye), (D, Ack), (D, Refuse)},
    (Role.ADAPTER, State.LEAVING): {(D, Ack), (D, ByeAck), (D, Refuse)},
    (Role.ADAPTER, State.CLOSED): set(),
    (Role.QUERY, State.START): {(C, Hello), (D, Refuse)},
    (Role.QUERY, State.GREETED): {(D, Welcome), (D, Refuse)},
    (Role.QUERY, State.OPEN): {(C, Ask), (D, Refuse)},
    (Role.QUERY, State.ASKING): {(C, Ask), (D, Reply), (D, Refuse)},
    (Role.QUERY, State.CLOSED): set(),
}
COMBINATIONS = [
    (client, state, sender, message)
    for client, state in ALLOWED
    for sender in (C, D)
    for message in SAMPLES
    # One state for both clients: an ACK that nobody asked for is the query client's to refuse.
    if (client, state, sender, message) != (Role.QUERY, State.OPEN, D, ACK)
]


def brought_to(client: Role, state: State) -> dict[str, Connection]:
    sides = pair(client)
    for sender, message in BEFORE[client, state]:
        list(sides[other(sender)].receive(sides[sender].send(message)))
    assert sides[C].state is sides[D].state is state
    return sides


@pytest.mark.parametrize(("client", "state", "sender", "message"), COMBINATIONS, ids=short)
def test_what_the_table_does_not_allow_is_an_error_on_both_sides(
    client: Role, state: State, sender: str, message: Message
) -> None:
    if isinstance(message, Hello):
        message = HELLOS[client]
    sides = brought_to(client, state)
    receiver = sides[other(sender)]

    if (sender, type(message)) in ALLOWED[client, state]:
        assert list(receiver.receive(sides[sender].send(message))) == [message]
        return

    with pytest.raises(LocalProtocolError, match=f"{type(message).__name__} is not allowed in state {state.name}"):
        sides[sender].send(message)
    assert sides[sender].state is state
    with pytest.raises(RemoteProtocolError) as caught:
        list(receiver.receive(to_frame(message)))
    assert caught.value.code == "bad-order"


@pytest.mark.parametrize(("client", "state"), ALLOWED, ids=short)
def test_lines_are_sent_by_the_short_way_under_the_same_rule(client: Role, state: State) -> None:
    sender = brought_to(client, state)[C]

    if (C, Lines) in ALLOWED[client, state]:
        assert sender.send_lines(0, 90, 8, LINES.lines) == to_frame(LINES)
    else:
        with pytest.raises(LocalProtocolError):
            sender.send_lines(0, 90, 8, LINES.lines)


@pytest.mark.parametrize("role", ["daemon", "", "ADAPTER", "admin"])
def test_nobody_has_another_role(role: str) -> None:
    daemon = Connection(Role.DAEMON)

    with pytest.raises(RemoteProtocolError) as caught:
        list(daemon.receive(to_frame(Hello(versions=[1], role=role, run={}, place=""))))

    assert caught.value.code == "bad-role"


@pytest.mark.parametrize("client", HELLOS, ids=short)
def test_a_version_that_was_not_offered_is_refused(client: Role) -> None:
    side = brought_to(client, State.GREETED)[C]

    with pytest.raises(RemoteProtocolError, match="version 2") as caught:
        list(side.receive(to_frame(WELCOME._replace(version=2))))

    assert caught.value.code == "no-common-version"
    assert side.state is State.GREETED


# Messages and arrays


@pytest.mark.parametrize("message", [*SAMPLES, QUERY_HELLO, PIECE], ids=short)
def test_a_message_comes_back_from_the_wire(message: Message) -> None:
    (array,) = FrameReader().feed(to_frame(message))

    assert_equal(from_array(array), message)
    assert_equal(from_array([*array, "a field", {"of": "a newer version"}]), message)


def test_no_two_messages_have_one_number() -> None:
    numbers = {next(FrameReader().feed(to_frame(message)))[0] for message in SAMPLES}

    assert numbers == set(range(1, len(SAMPLES) + 1))


@pytest.mark.parametrize("message", SAMPLES, ids=short)
def test_a_missing_or_wrong_field_is_refused(message: Message) -> None:
    (array,) = FrameReader().feed(to_frame(message))

    for size in range(1, len(array)):
        with pytest.raises(RemoteProtocolError, match="fields instead of"):
            from_array(array[:size])
    for at in range(1, len(array)):
        for wrong in WRONG:
            if type(wrong) is type(array[at]) and wrong != -1:
                continue
            with pytest.raises(RemoteProtocolError) as caught:
                from_array([*array[:at], wrong, *array[at + 1 :]])
            assert caught.value.code == "bad-message"


@pytest.mark.parametrize("lines", [["text"], [b"bytes", None], [[b"bytes"]], [1]])
def test_lines_are_bytes(lines: list[Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="something else than bytes"):
        from_array([4, 0, 1, 1, lines])


@pytest.mark.parametrize("number", [0, 11, -1, True, "1", None, 1.0, [], {}])
def test_an_unknown_message_is_refused(number: object) -> None:
    with pytest.raises(RemoteProtocolError, match="unknown message type"):
        from_array([number, 1, 2, 3, 4])


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@examples(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.lists(plain, max_size=6))
def test_any_array_is_a_message_or_the_one_error(number: int, rest: list[Any]) -> None:
    with suppress(RemoteProtocolError):
        message = from_array([number, *rest])
        assert next(FrameReader().feed(to_frame(message)))[:1] == [number]


@examples(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.lists(plain, min_size=1, max_size=6).map(frame), st.sampled_from(list(ALLOWED)))
def test_any_bytes_are_messages_or_the_one_error(data: bytes, where: tuple[Role, State]) -> None:
    for side in (C, D):
        receiver = brought_to(*where)[side]
        with suppress(RemoteProtocolError):
            assert all(isinstance(message, Message) for message in receiver.receive(data))


# Credit


def test_credit_counts_bytes_and_events_and_acks_give_it_back() -> None:
    credit = Credit(window=100, events=3)

    assert credit.allows(1000)  # a lone line always goes
    credit.sent(1, 60)
    assert credit.allows(40)
    assert not credit.allows(41)
    credit.sent(2, 10)
    credit.sent(3, 10)
    assert not credit.allows(1)  # three events
    credit.acked(2)
    assert credit.allows(90)
    assert not credit.allows(91)
    credit.acked(3)
    assert credit.allows(1000)
    credit.acked(2)  # an old ack is nothing
    assert credit.allows(1000)


@pytest.mark.parametrize(("sizes", "used"), [([26], True), ([25], False), ([1, 1], False), ([1, 1, 1], True)])
def test_acks_are_looked_for_when_a_quarter_is_used(sizes: list[int], used: bool) -> None:
    credit = Credit(window=100, events=8)
    for seq, size in enumerate(sizes, start=1):
        credit.sent(seq, size)

    assert credit.mostly_used is used


def lines(first_seq: int, *texts: bytes, end: int, file: int = 0) -> Lines:
    return Lines(file=file, end=end, first_seq=first_seq, lines=list(texts))


def test_lines_that_follow_on_each_other_are_one_message() -> None:
    found = list(
        joined(iter([lines(4, b"four", end=105), lines(5, b"five", b"six", end=114), lines(7, b"7", end=116)]))
    )

    assert found == [lines(4, b"four", b"five", b"six", b"7", end=116)]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(lines(6, b"six", end=109), id="a line is left out"),
        pytest.param(lines(4, b"four", end=110), id="a line comes again"),
        pytest.param(lines(5, b"five", end=110, file=1), id="another file"),
        pytest.param(lines(5, b"five", end=111), id="other bytes between them"),
        pytest.param(Bye(last_seq=4), id="another message"),
    ],
)
def test_what_does_not_follow_stays_a_message_of_its_own(second: Message) -> None:
    first, third = lines(4, b"four", end=105), lines(9, b"nine", end=200)

    assert list(joined(iter([first, second, third]))) == [first, second, third]


def test_lines_before_a_bad_frame_are_not_lost() -> None:
    def stream() -> Iterator[Message]:
        yield lines(1, b"one", end=4)
        yield lines(2, b"two", end=8)
        raise RemoteProtocolError("bad-frame", "no message")

    messages = joined(stream())

    assert next(messages) == lines(1, b"one", b"two", end=8)
    with pytest.raises(RemoteProtocolError, match="no message"):
        next(messages)


def test_lines_that_nobody_wants_any_more_are_let_go() -> None:
    messages = cast(
        "Generator[Message, None, None]",
        joined(iter([lines(1, b"one", end=4), Bye(last_seq=1), lines(2, b"two", end=8)])),
    )
    next(messages)

    messages.close()

    assert list(messages) == []
