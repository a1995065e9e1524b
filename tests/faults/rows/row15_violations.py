"""Row 15: whoever breaks the protocol is told how and let go, and nobody else notices.

First both roles of `protocol.Connection` against each other, in any order of messages, by a state machine; then each
violation over a socket to a real daemon, beside connections that go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.faults.peers import RawClient, adapter_hello, differences, emitters, raw_adapter, raw_query, stored_seq
from tests.faults.row import Result, Scale
from tests.place import Place, wait_until
from tests.scripted import frame_of, living, run_lines, write_journal
from threepio_client.archive import Archive
from threepio_client.errors import LocalProtocolError, RemoteProtocolError
from threepio_client.protocol import (
    TRANSITIONS,
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
    Welcome,
    to_frame,
)

FAULT = (
    "protocol violations: credit overrun, a gap that the journal does not cover, regression, unknown version, "
    "same seq with other content (an ordinary repeat or a gap after a spill is no violation)"
)
PASSES_WHEN = "typed refusal; only the offender is closed"

EXAMPLES: Final = {Scale.SHORT: 20, Scale.LONG: 2_400}
STEPS: Final = 50
"""Of one example: 10^5 in the long form."""
REFUSED_WITHIN_S: Final = 10.0
REFUSE: Final = 3
"""As on the wire."""

MESSAGES: Final[list[Message]] = [
    Welcome(version=VERSION, cursor=0, window=WINDOW),
    Refuse(code="busy", reason="r"),
    Lines(file=0, end=10, first_seq=1, lines=[b"line"]),
    Ack(seq=1, window=WINDOW),
    Bye(last_seq=1),
    ByeAck(seq=1),
    Ask(id=1, name="status", params={"run": "latest"}),
    Reply(id=1, last=True, data=b"answer"),
]


def run(scale: Scale, seed: int, place: Place) -> Result:
    failures = _dialogues(EXAMPLES[scale], seed)
    tried, more = _sockets(place)
    return Result(
        figures=f"{Dialogue.steps:,} steps of both roles in any order; {tried} violations over a socket, each refused "
        "by its code while the other connections went on; repeats and gaps after a spill were taken",
        failures=tuple(f"seed {seed}: {text}" for text in failures + more),
    )


class Dialogue(RuleBasedStateMachine):
    """Two connections and the bytes between them; each side tries to send whatever it likes."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.sides: dict[str, Connection] = {}
        self.wire: dict[str, bytes] = {"client": b"", "daemon": b""}  # sent by whom, and not received yet
        self.sent: dict[str, deque[Message]] = {"client": deque(), "daemon": deque()}
        self.over = False

    @initialize(role=st.sampled_from([Role.ADAPTER, Role.QUERY]))
    def begin(self, role: Role) -> None:
        self.sides = {"client": Connection(role), "daemon": Connection(Role.DAEMON)}
        self.hello = Hello(versions=[VERSION], role=role.value, run={}, place="")

    @rule(side=st.sampled_from(["client", "daemon"]), message=st.none() | st.sampled_from(MESSAGES))
    def send(self, side: str, message: Message | None) -> None:
        """What the table allows goes out; anything else is an error of this side and changes nothing."""
        Dialogue.steps += 1
        connection = self.sides[side]
        what = message or self.hello
        before = connection.state
        after = TRANSITIONS[before].get((connection.role, type(what)))
        if after is None:
            try:
                connection.send(what)
            except LocalProtocolError:
                assert connection.state is before
                return
            raise AssertionError(f"{what} was sent in {before}")
        self.wire[side] += connection.send(what)
        self.sent[side].append(what)
        assert connection.state is after

    @rule(side=st.sampled_from(["client", "daemon"]), share=st.sampled_from([1, 50, 100, 100, 100]))
    def deliver(self, side: str, share: int) -> None:
        """Some bytes arrive: the messages that are whole come out as they were sent, or cross one that ended it all."""
        Dialogue.steps += 1
        if self.over:
            return
        count = max(len(self.wire[side]) * share // 100, 1)
        data, self.wire[side] = self.wire[side][:count], self.wire[side][count:]
        receiver = self.sides["daemon" if side == "client" else "client"]
        try:
            for message in receiver.receive(data):
                assert message == self.sent[side].popleft()
        except RemoteProtocolError as error:
            # Only what was on its way when the other side closed, left or answered may come out of order.
            self._check(error)
            self.over = True

    @rule(side=st.sampled_from(["client", "daemon"]), message=st.none() | st.sampled_from(MESSAGES))
    def break_in(self, side: str, message: Message | None) -> None:
        """A peer that sends what its state does not allow is found out at once, and the receiver's state stays."""
        Dialogue.steps += 1
        if self.over or self.wire[side]:
            return
        what = message or self.hello
        receiver = self.sides["daemon" if side == "client" else "client"]
        before = receiver.state
        peer = self.sides[side].role if receiver.role is Role.DAEMON else Role.DAEMON
        if TRANSITIONS[before].get((peer, type(what))) is not None:
            return  # this would be allowed
        try:
            list(receiver.receive(to_frame(what)))
        except RemoteProtocolError as error:
            self._check(error)
            assert receiver.state is before
            return  # one that closed now would show nothing more: this one goes on where it was
        raise AssertionError(f"{what} of {peer} was taken in {before}")

    def _check(self, error: RemoteProtocolError) -> None:
        assert error.code == "bad-order", error

    @invariant()
    def both_know_the_same_when_nothing_is_on_its_way(self) -> None:
        if self.sides and not self.over and not any(self.wire.values()):
            states = {connection.state for connection in self.sides.values()}
            # Lines and acks that cross change nothing; only BYE and a refusal that cross may leave two views.
            assert len(states) == 1 or State.CLOSED in states, states


def _dialogues(examples: int, seed: int) -> list[str]:
    Dialogue.steps = 0
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(Dialogue), settings=settings)
    except AssertionError as error:
        return [f"the state machine failed: {error}"]
    return []


BIG: Final = 2**19 - 1
LINES: Final = run_lines("offender", 3)

Break = Callable[[Place, RawClient, str], None]
"""Breaks the protocol, as the adapter of the run that is named."""


def _raw(*frames: bytes) -> Break:
    def send(place: Place, client: RawClient, run_id: str) -> None:
        for data in frames:
            client.sock.sendall(data)

    return send


def _greeted(*frames: bytes) -> Break:
    def send(place: Place, client: RawClient, run_id: str) -> None:
        client.say(adapter_hello(place, run_id))
        assert isinstance(client.hear(), Welcome)
        _raw(*frames)(place, client, run_id)

    return send


def _other_version(place: Place, client: RawClient, run_id: str) -> None:
    client.say(adapter_hello(place, run_id)._replace(versions=[VERSION + 1, VERSION + 2]))


def _bytes_of(size: int) -> list[bytes]:
    """Return frames of so many bytes of lines, from the one after runStart on."""
    return [
        to_frame(Lines(file=0, end=2 * WINDOW, first_seq=seq, lines=[b"x" * BIG])) for seq in range(2, 2 + size // BIG)
    ]


VIOLATIONS: Final[dict[str, tuple[Break, str]]] = {
    "credit overrun": (
        _greeted(*_bytes_of(WINDOW + BIG)),
        "credit-overrun",
    ),
    "credit overrun in one frame": (
        _greeted(
            *_bytes_of(WINDOW - BIG),
            to_frame(Lines(file=0, end=2 * WINDOW, first_seq=2 + WINDOW // BIG - 1, lines=[b"x" * 1000] * 530)),
        ),
        "credit-overrun",
    ),
    "seq going back": (
        _greeted(to_frame(frame_of(LINES, 1, 2)), to_frame(frame_of(LINES, 2))),
        "regression",
    ),
    "BYE below": (_greeted(to_frame(frame_of(LINES, 1, 3)), to_frame(Bye(last_seq=2))), "regression"),
    "unknown version": (_other_version, "no-common-version"),
    "lines before HELLO": (_raw(to_frame(frame_of(LINES, 1))), "bad-order"),
    "lines after BYE": (_greeted(to_frame(Bye(last_seq=9)), to_frame(frame_of(LINES, 1))), "bad-order"),
    "HELLO twice": (
        lambda place, client, run_id: _greeted(to_frame(adapter_hello(place, run_id)))(place, client, run_id),
        "bad-order",
    ),
    "a question of an adapter": (_greeted(to_frame(Ask(id=1, name="stop", params={}))), "bad-order"),
    "a line of another seq": (_greeted(to_frame(frame_of([LINES[1], LINES[0]], 1))), "bad-line"),
    "no message": (_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "bad-frame"),
}


def _sockets(place: Place) -> tuple[int, list[str]]:
    """Try each violation on a daemon that serves others at the same time."""
    place.start_daemon()
    failures: list[str] = []
    with emitters(place, 1) as (bystander,):
        asking = raw_query(place)
        for number, (name, (violate, code)) in enumerate(VIOLATIONS.items()):
            client = RawClient(place.settings.socket, Role.ADAPTER, REFUSED_WITHIN_S)
            with suppress(ConnectionError):  # it may be refused before it has said everything
                violate(place, client, f"offender-{number}")
            word = client.last_word()
            if word[:2] != [REFUSE, code]:
                failures.append(f"{name}: the last word was {word[:3]} instead of a refusal {code}")
            client.close()
            bystander.do(emit=10)
            if "result" not in asking.ask("daemon"):
                failures.append(f"{name}: another client's question was not answered")
        failures += _what_is_no_violation(place)
        failures += _gap_without_journal(place)
        stats = bystander.do(emit=10)
        if not bystander.do(close=0)["stored"] or stats["connections"] != 1 or stats["spilled"]:
            failures.append(f"the bystander noticed: {stats}")
        failures += differences(place, bystander.run_id, 10 * len(VIOLATIONS) + 10)
        asking.close()
    return len(VIOLATIONS) + 1, failures


def _what_is_no_violation(place: Place) -> list[str]:
    """Lines that were taken from the journal already, a second connection that sends from the start, a gap after a spill."""
    lines = run_lines("honest", 10, identity=living())
    journal = write_journal(place.state_dir, "honest", lines[:6])
    first = raw_adapter(place, "honest")
    wait_until(lambda: stored_seq(place, "honest") == 6)
    first.sock.sendall(to_frame(frame_of(lines, 2, 3)))  # it did not hear of the ack yet
    second = raw_adapter(place, "honest")
    second.sock.sendall(to_frame(frame_of(lines, 1, 6)))
    write_journal(place.state_dir, "honest", lines[6:])
    heard = []
    with suppress(ConnectionError):
        second.sock.sendall(to_frame(frame_of(lines, 10, 2)))  # 7 to 9 were spilled
        second.say(Bye(last_seq=len(lines)))
        while (message := second.hear()) is not None:
            heard.append(message)
    first.close()
    second.close()
    stored = sorted(seq for seq, _, _ in Archive(place.state_dir).stored_lines("honest"))
    if not heard or heard[-1] != ByeAck(seq=len(lines)) or stored != list(range(1, len(lines) + 1)):
        return [f"an honest run was not stored whole: {heard[-1:]}, {stored} of {journal.name}"]
    return []


def _gap_without_journal(place: Place) -> list[str]:
    """Lines beyond the journal's end are not taken, and nothing is made up for them."""
    lines = run_lines("gap", 10, identity=living(), exit_code=None)
    write_journal(place.state_dir, "gap", lines[:4])
    client = raw_adapter(place, "gap")
    wait_until(lambda: stored_seq(place, "gap") == 4)
    client.sock.sendall(to_frame(frame_of(lines, 8, 2)))
    write_journal(place.state_dir, "gap", lines[4:6])
    wait_until(lambda: stored_seq(place, "gap") >= 6)
    stored = sorted(seq for seq, _, _ in Archive(place.state_dir).stored_lines("gap"))
    client.close()
    return [] if stored == list(range(1, 7)) else [f"with a gap that the journal does not cover, {stored} were stored"]
