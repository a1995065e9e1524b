"""Connections to a real daemon, in this process: who breaks the protocol is refused, and nobody else notices."""

from __future__ import annotations

import os
import struct
from collections import deque
from random import Random
from typing import Any

import msgpack
import pytest
import trio
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.daemon_here import Client, Served, serving
from tests.place import Place
from tests.scripted import event, frame_of, in_trio, living, run_lines, until, write_journal
from threepio_client.archive import Archive
from threepio_client.events import LINE_LIMIT, EventType
from threepio_client.protocol import (
    VERSION,
    WINDOW,
    Ack,
    Ask,
    Bye,
    ByeAck,
    Credit,
    Hello,
    Lines,
    Refuse,
    Reply,
    Role,
    Welcome,
    to_frame,
)
from threepio_client.wire import FRAME_LIMIT, frame
from threepiod import admission
from threepiod import connection as connection_module
from threepiod.connection import (
    FEW_TESTS,
    FIRST_PAUSE_S,
    LARGE_READ,
    LONGEST_PAUSE_S,
    MUCH,
    SHORT_PAUSE_S,
    Incoming,
    Pauses,
)

LINES = run_lines("offender", 3)
LINES_CODE, REFUSE_CODE = 4, 3
"""As on the wire."""
HELLO = ["hello"]
"""Stands for the proper HELLO of run `offender`, and for hearing WELCOME."""


def welcome_and(*then: bytes) -> list[Any]:
    return [HELLO, *then]


def hello_with(**changed: Any) -> bytes:
    """Return a HELLO frame with some fields changed."""
    plain: dict[str, Any] = {"versions": [VERSION], "role": "adapter", "run": {}, "place": "/nowhere"}
    return to_frame(Hello(**{**plain, **changed}))


VIOLATIONS: dict[str, tuple[list[Any], str]] = {
    "too long a frame": ([struct.pack(">I", FRAME_LIMIT + 1)], "bad-frame"),
    "text instead of a frame": ([b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"], "bad-frame"),
    "no msgpack": ([struct.pack(">I", 3) + b"\xc1\xc1\xc1"], "bad-frame"),
    "no array": ([struct.pack(">I", 1) + msgpack.packb(5)], "bad-frame"),
    "an extension type": ([frame([1, msgpack.ExtType(5, b"")])], "bad-frame"),
    "an unknown message": ([frame([99, 1])], "bad-message"),
    "a field too few": ([frame([1, [VERSION], "adapter"])], "bad-message"),
    "a field of another type": ([frame([1, VERSION, "adapter", {}, ""])], "bad-message"),
    "an unknown role": ([hello_with(role="king")], "bad-role"),
    "an unknown version": ([hello_with(versions=[VERSION + 1])], "no-common-version"),
    "no run": ([hello_with()], "bad-message"),
    "a run id that is a path": ([hello_with(run={"run_id": "../x", "producer_id": "p"})], "bad-message"),
    "lines before HELLO": ([to_frame(frame_of(LINES, 1))], "bad-order"),
    "HELLO twice": (welcome_and(hello_with()), "bad-order"),
    "a question of an adapter": (welcome_and(to_frame(Ask(id=1, name="stop", params={}))), "bad-order"),
    "an ack of an adapter": (welcome_and(to_frame(Ack(seq=1, window=1))), "bad-order"),
    "a negative seq": (welcome_and(frame([LINES_CODE, 0, 10, -1, [b"x"]])), "bad-message"),
    "a line that is no bytes": (welcome_and(frame([LINES_CODE, 0, 10, 1, ["x"]])), "bad-message"),
    "a line that is no event": (
        welcome_and(to_frame(Lines(file=0, end=9, first_seq=1, lines=[b"not JSON"]))),
        "bad-line",
    ),
    "a line of another seq": (welcome_and(to_frame(frame_of([LINES[1], LINES[0]], 1))), "bad-line"),
    "a line twice": (welcome_and(*[to_frame(frame_of(LINES, 1))] * 2), "regression"),
    "a line zero": (welcome_and(to_frame(Lines(file=0, end=9, first_seq=0, lines=[b"x"]))), "regression"),
    "BYE at less than was sent": (
        welcome_and(to_frame(frame_of(LINES, 1, 3)), to_frame(Bye(last_seq=2))),
        "regression",
    ),
    "an end before the lines": (
        welcome_and(to_frame(Lines(file=0, end=9, first_seq=2, lines=[b"a line"] * 2))),
        "bad-message",
    ),
    "more than the window": (
        welcome_and(*[to_frame(Lines(file=0, end=2**22, first_seq=seq, lines=[b"x" * 2**19])) for seq in range(2, 6)]),
        "credit-overrun",
    ),
    "lines after BYE": (welcome_and(to_frame(Bye(last_seq=9)), to_frame(frame_of(LINES, 1))), "bad-order"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
@in_trio
async def test_only_the_offender_is_closed_and_told_why(place: Place, name: str) -> None:
    actions, code = VIOLATIONS[name]
    async with serving(place) as served:
        lines = run_lines("bystander", 1, identity=living(), exit_code=None)
        bystander = await served.adapter("bystander")
        asking = await served.query()
        offender = await served.connect()

        for action in actions:
            if action is HELLO:
                await offender.say(served.hello("offender"))
                assert isinstance(await offender.hear(), Welcome)
            else:
                await offender.say_bytes(action)
        offender._protocol.peer_role = Role.DAEMON
        refusal = await hear_refusal(offender.stream)

        assert refusal.code == code
        assert refusal.reason
        await until(lambda: f"[{code}]" in served.last_error())
        write_journal(served.state_dir, "bystander", lines)
        await bystander.say(frame_of(lines, 1, 3))
        answer = await bystander.hear()
        assert isinstance(answer, Ack)
        assert answer.seq == 3
        assert (await asking.ask("daemon"))["result"]["runs_connected"] == 1


async def receive_or_end(stream: trio.SocketStream) -> bytes:
    """Return some bytes, none if the other end has closed, whether it read what was sent or not."""
    try:
        return bytes(await stream.receive_some(65536))
    except trio.BrokenResourceError:
        return b""


async def hear_refusal(stream: trio.SocketStream) -> Refuse:
    """Read to the end of the stream and return its last message, whatever state the reader would be in."""
    data = b""
    while piece := await stream.receive_some(65536):
        data += piece
    message: list[Any] = []
    while data:
        size = struct.unpack_from(">I", data)[0]
        message, data = msgpack.unpackb(data[4 : 4 + size]), data[4 + size :]
    assert message, "closed without a word"
    assert message[0] == REFUSE_CODE, message
    return Refuse(code=message[1], reason=message[2])


@in_trio
async def test_a_run_of_another_state_directory_is_refused(place: Place) -> None:
    async with serving(place) as served:
        client = await served.connect()
        await client.say(served.hello("run", place=place.path / "elsewhere" / "journals" / "run.jsonl"))
        refusal = await client.hear()
        assert isinstance(refusal, Refuse)
        assert refusal.code == "other-state-dir"
        assert str(served.state_dir.path) in refusal.reason
        assert "elsewhere" in refusal.reason

        asking = await served.connect(Role.QUERY)
        await asking.say(Hello(versions=[VERSION], role="query", run={}, place=str(place.path / "elsewhere")))
        refusal = await asking.hear()
        assert isinstance(refusal, Refuse)
        assert refusal.code == "other-state-dir"


@in_trio
async def test_a_run_id_that_another_producer_has_is_refused_and_its_run_kept(place: Place) -> None:
    async with serving(place) as served:
        lines = run_lines("run", 2, identity=living(), exit_code=None)
        write_journal(served.state_dir, "run", lines)
        first = await served.adapter("run")
        second = await served.connect()

        await second.say(served.hello("run", producer="another"))
        refusal = await second.hear()

        assert isinstance(refusal, Refuse)
        assert refusal.code == "run-id-taken"
        await first.say(frame_of(lines, 1, 4))
        answer = await first.hear()
        assert isinstance(answer, Ack)
        assert answer.seq == 4


@in_trio
async def test_another_user_hears_not_a_byte(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "peer_uid", lambda sock: os.getuid() + 1)
    async with serving(place) as served:
        client = await served.connect()
        await client.say(served.hello("run"))
        assert await receive_or_end(client.stream) == b""
        assert "run" not in served.daemon.runs


@in_trio
async def test_a_message_may_come_byte_by_byte(place: Place) -> None:
    async with serving(place) as served:
        client = await served.connect()
        for byte in client._protocol.send(served.hello("run")):
            await client.say_bytes(bytes([byte]))
        assert isinstance(await client.hear(), Welcome)


@in_trio
async def test_half_a_frame_at_the_end_of_the_stream_takes_nothing_from_the_run(place: Place) -> None:
    async with serving(place) as served:
        lines = run_lines("run", 5, identity=living())
        write_journal(served.state_dir, "run", lines)
        client = await served.adapter("run")
        await client.say(frame_of(lines, 1, 3))
        await client.say_bytes(to_frame(frame_of(lines, 4, 5))[:-30])
        await client.stream.aclose()

        await until(lambda: "run" not in served.daemon.runs)

        view = Archive(served.state_dir).view("run")
        assert (view["state"], view["counts"]["passed"], view["events"]["stored"]) == ("passed", 5, 8)
        assert served.last_error() == ""


@in_trio
async def test_garbage_of_a_client_that_left_at_once_is_still_noted(place: Place) -> None:
    async with serving(place) as served:
        client = await served.connect()
        await client.say_bytes(b"\xff" * 100)
        await client.stream.aclose()

        await until(lambda: "[bad-frame]" in served.last_error())


@in_trio
async def test_bye_is_acked_when_all_is_stored_and_not_before(place: Place) -> None:
    async with serving(place) as served:
        lines = run_lines("run", 5, identity=living())
        client = await served.adapter("run")
        await client.say(Bye(last_seq=8))
        with trio.move_on_after(0.2) as scope:
            assert not isinstance(await client.hear(), ByeAck)
        assert scope.cancelled_caught

        write_journal(served.state_dir, "run", lines)  # spilled: found by the tick
        while not isinstance(answer := await client.hear(), ByeAck):
            assert isinstance(answer, Ack)

        assert answer.seq == 8
        assert len(Archive(served.state_dir).stored_lines("run")) == 8


@in_trio
async def test_a_second_connection_of_a_run_goes_on_where_the_first_one_ended(place: Place) -> None:
    async with serving(place) as served:
        lines = run_lines("run", 5, identity=living(), exit_code=None)
        write_journal(served.state_dir, "run", lines[:4])
        first = await served.adapter("run")
        await first.say(frame_of(lines, 1, 4))
        await first.hear()
        await first.stream.aclose()

        second = await served.connect()
        await second.say(served.hello("run"))
        welcome = await second.hear()

        assert isinstance(welcome, Welcome)
        assert welcome.cursor == 4


def test_pauses_between_reads_grow_and_are_long_only_while_many_tests_are_left() -> None:
    left = FEW_TESTS + 1
    pauses = Pauses(lambda: left)
    first = [pauses.after(100) for _ in range(20)]
    assert first[0] == FIRST_PAUSE_S
    assert first == sorted(first)
    assert first[-1] == LONGEST_PAUSE_S

    left = FEW_TESTS  # or 0: their number is not known
    assert pauses.after(100) == SHORT_PAUSE_S


def test_a_fast_adapter_has_no_long_pauses() -> None:
    pauses = Pauses(lambda: FEW_TESTS + 1)
    while pauses.after(100) < LONGEST_PAUSE_S:
        pass

    for _ in range(MUCH // LARGE_READ):
        assert pauses.after(LARGE_READ) == 0
    assert pauses.after(100) == SHORT_PAUSE_S

    assert SHORT_PAUSE_S < pauses.after(100) < LONGEST_PAUSE_S  # little came since


def test_after_a_large_read_there_is_no_pause_and_the_next_one_is_as_long_as_it_would_have_been() -> None:
    pauses = Pauses(lambda: 0)
    first = pauses.after(LARGE_READ - 1)
    assert pauses.after(LARGE_READ) == 0
    assert first < pauses.after(LARGE_READ - 1) < SHORT_PAUSE_S


@in_trio
async def test_a_client_that_says_nothing_is_let_go(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "HELLO_TIMEOUT_S", 0.05)
    async with serving(place) as served:
        client = await served.connect()
        assert await client.stream.receive_some(1) == b""


async def client_of_a_long_answer(served: Served) -> Client:
    """Return a client that may ask for the status of a run `long`, which has 400 kB."""
    long = {"argv": ["x" * 50_000] * 8}
    lines = [event(1, EventType.RUN_START, {**long, "producerId": "producer", "process": living().to_payload()})]
    write_journal(served.state_dir, "long", lines)
    await until(lambda: "long" in served.daemon.runs and served.daemon.runs["long"].stored == 1)
    return await served.query()


@in_trio
async def test_a_client_that_does_not_read_delays_nobody_and_is_let_go(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "SEND_TIMEOUT_S", 0.5)
    async with serving(place) as served:
        slow = await client_of_a_long_answer(served)
        for number in range(20):  # 8 MB of answers, which nobody reads
            await slow.say(Ask(id=number, name="status", params={"run": "long"}))

        quick = await served.query()
        with trio.fail_after(5):
            for _ in range(20):
                assert (await quick.ask("daemon"))["result"]["pid"] == os.getpid()
        with pytest.raises(trio.BrokenResourceError):
            await ask_until_let_go(slow)


async def ask_until_let_go(client: Client) -> None:
    while True:
        await client.say(Ask(id=99, name="daemon", params={}))
        await trio.sleep(0.02)


@in_trio
async def test_what_cannot_be_answered_is_an_answer_too(place: Place) -> None:
    async with serving(place) as served:
        client = await served.query()

        assert (await client.ask("status"))["code"] == "no-such-run"
        write_journal(served.state_dir, "run", run_lines("run", 1, identity=living(), exit_code=None))
        await until(lambda: "run" in served.daemon.runs)
        for name, params, code, text in (
            ("of tomorrow", {}, "error", "does not know the question"),
            ("status", {"run": "other"}, "no-such-run", "no run begins with 'other'"),
            ("status", {"run": 5}, "no-such-run", "no run begins with '5'"),
            ("failures", {"run": "other"}, "no-such-run", "threepio runs"),
            ("observe", {"run": "other", "exact": True, "type": "exitStatus", "payload": {}}, "no-such-run", "other"),
            ("observe", {"run": "run", "type": 'no"thing', "payload": {}}, "error", "observation"),
            ("observe", {"run": "run", "type": "exitStatus", "payload": [1]}, "error", "observation"),
        ):
            answer = await client.ask(name, **params)
            assert answer["code"] == code, name
            assert text in answer["error"], name
        assert (await client.ask("runs", limit=-3))["result"][0]["run_id"] == "run"
        assert served.last_error() == ""


@in_trio
async def test_an_observation_that_cannot_be_written_is_an_answer(place: Place) -> None:
    async with serving(place) as served:
        client = await served.query()
        write_journal(served.state_dir, "run", run_lines("run", 1, identity=living(), exit_code=None))
        await until(lambda: "run" in served.daemon.runs)
        served.state_dir.observed("run").mkdir()

        answer = await client.ask("observe", run="run", type="exitStatus", payload={"pid": 1, "exitCode": 0})

        assert answer["code"] == "error"
        assert "cannot write an observation of run run: Is a directory" in answer["error"]
        assert served.last_error() == ""
        served.state_dir.observed("run").rmdir()


@in_trio
async def test_a_name_of_any_length_may_be_asked_for(place: Place) -> None:
    async with serving(place) as served:
        client = await served.query()

        answer = await client.ask("status", run="x" * 100_000)

        assert answer["code"] == "no-such-run"
        assert (await client.ask("daemon"))["result"]["runs_active"] == 0


class Honest:
    """An adapter and a daemon by their own accounts of what is out, with messages under way in both directions."""

    def __init__(self, window: int, events: int, cursor: int) -> None:
        self.credit = Credit(min(window, WINDOW), events)
        self.incoming = Incoming(cursor)
        self.sent: deque[Lines] = deque()
        self.acks: deque[int] = deque()
        self.seq = self.taken = self.acked = cursor
        self.end = 0

    def emit(self, size: int) -> None:
        self.seq += 1
        self.end += size + 1
        if self.credit.allows(size + 1):  # else it is spilled
            self.credit.sent(self.seq, size + 1)
            last = self.sent[-1] if self.sent else None
            if last is not None and len(last.lines) < 4 and last.first_seq + len(last.lines) == self.seq:
                last.lines.append(bytes(size))  # of several lines, one may be acked before the others
                self.sent[-1] = last._replace(end=self.end)
            else:
                self.sent.append(Lines(file=0, end=self.end, first_seq=self.seq, lines=[bytes(size)]))

    def receive(self) -> None:
        if self.sent:
            lines = self.sent.popleft()
            self.incoming.check_lines(lines)
            self.taken = lines.first_seq + len(lines.lines) - 1

    def ack(self, of: int) -> None:
        seq = self.acked + (self.taken - self.acked) * of // 100
        if seq > self.acked:
            self.acked = seq
            self.incoming.acked(seq)
            self.acks.append(seq)

    def hear(self) -> None:
        if self.acks:
            self.credit.acked(self.acks.popleft())


@examples(max_examples=60, deadline=None)
@given(
    chance=st.randoms(use_true_random=False),
    window=st.sampled_from([1, 1000, WINDOW, 2 * WINDOW]),
    events=st.sampled_from([1, 3, 10_000_000]),
    cursor=st.integers(0, 5),
    sizes=st.sampled_from([(1, 300), (200_000, LINE_LIMIT), (1, 300, 200_000, LINE_LIMIT)]),
)
def test_an_honest_adapter_never_overruns_its_credit(
    chance: Random, window: int, events: int, cursor: int, sizes: tuple[int, ...]
) -> None:
    peers = Honest(window, events, cursor)
    for _ in range(300):
        match chance.randrange(6):
            case 0 | 1 | 2:
                peers.emit(chance.choice(sizes))
            case 3:
                peers.receive()
            case 4:
                peers.ack(chance.choice([10, 50, 100]))
            case _:
                peers.hear()
    while peers.sent:
        peers.receive()
    peers.incoming.check_bye(peers.seq)


@in_trio
async def test_who_is_one_too_many_is_told_so_and_may_come_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "limits", lambda: admission.Limits(adapters=2, queries=1))
    async with serving(place) as served:
        first = await served.adapter("first")
        await served.adapter("second")
        third = await served.connect()
        await third.say(served.hello("third"))
        refusal = await third.hear()
        assert isinstance(refusal, Refuse)
        assert refusal.code == "busy"
        assert "try again" in refusal.reason

        asking = await served.query()
        other = await served.connect(Role.QUERY)
        await other.say(Hello(versions=[VERSION], role="query", run={}, place=""))
        refusal = await other.hear()
        assert isinstance(refusal, Refuse)
        assert refusal.code == "busy"
        assert (await asking.ask("daemon"))["result"]["runs_connected"] == 2

        await first.stream.aclose()
        await until(lambda: not served.daemon.runs["first"].is_connected)
        await served.adapter("third")


@in_trio
async def test_of_those_that_say_nothing_the_oldest_makes_room(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "limits", lambda: admission.Limits(strangers=2))
    async with serving(place) as served:
        silent = [await served.connect() for _ in range(3)]
        assert await silent[0].stream.receive_some(1) == b""
        for client in silent[1:]:
            await client.say(served.hello("run"))
            assert isinstance(await client.hear(), Welcome)


@in_trio
async def test_long_answers_that_nobody_reads_do_not_pile_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LONG_ANSWERS", 500_000)
    async with serving(place) as served:
        slow = await client_of_a_long_answer(served)
        for number in range(20):  # more than the socket holds, and nobody reads it
            await slow.say(Ask(id=number, name="status", params={"run": "long"}))

        other = await served.query()
        await until(lambda: served.daemon._admission._long)
        answer = await other.ask("status", run="long")

        assert answer["code"] == "busy"
        assert (await other.ask("daemon"))["result"]["pid"] == os.getpid()
        while not isinstance(message := await slow.hear(), Reply) or message.id < 19 or not message.last:
            pass
        assert "result" in await other.ask("status", run="long")


@in_trio
async def test_many_adapters_get_smaller_windows(place: Place) -> None:
    async with serving(place) as served:
        windows = []
        for number in range(3):
            client = await served.connect()
            await client.say(served.hello(f"run{number}"))
            welcome = await client.hear()
            assert isinstance(welcome, Welcome)
            windows.append(welcome.window)

    assert windows == [WINDOW, WINDOW, WINDOW // 4]
