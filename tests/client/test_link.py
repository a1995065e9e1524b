"""The connection to the daemon: what is sent, how long is waited, and what ends it - over a real socket."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest

from tests.fake_daemon import FakeDaemon
from threepio_client import clock, link, process
from threepio_client.events import EventType
from threepio_client.line import encode
from threepio_client.link import FRAME_BYTES, FRAME_LINES, SEND_EVERY_S, SMALL_STALL_S, Budget, Link
from threepio_client.protocol import WINDOW, Ack

NEVER = 0.0
ME = process.current()
Connected = Callable[..., Link]
LONG = 20.0


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path, for a socket."""
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def connected(place: Path) -> Iterator[Connected]:
    """Return a function that returns a link that said HELLO; it is closed at the end."""
    links = []

    def connect(*, budget: Budget | None = None, events: int = 10_000, welcome: bool = True) -> Link:
        made = Link(place / "socket", budget or Budget(LONG, LONG), events)
        links.append(made)
        assert made.connect("run", "producer", ME, place / "run.jsonl"), made.trouble
        if welcome:
            assert made.wait_for_welcome(), made.trouble
        return made

    yield connect
    for made in links:
        made.close()


def use(made: Link, budget: Budget) -> Budget:
    """Give a link another budget."""
    made._budget = budget
    return budget


class Stream:
    """The lines of a run, offered one by one."""

    def __init__(self) -> None:
        self.seq = self.end = 0

    def offer(self, to: Link, size: int = 10, now: float | None = None, *, can_wait: bool = False) -> bool:
        self.seq += 1
        line = encode(self.seq, EventType.TEST_CASE, {"text": "x" * size}, 1.0)
        self.end += len(line)
        before = to.spilled
        to.offer(0, self.end, self.seq, line, clock.monotonic() if now is None else now, can_wait=can_wait)
        return to.spilled == before


def test_every_line_arrives_in_order_and_bye_is_answered(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket") as daemon:
        made, lines = connected(), Stream()
        assert all(lines.offer(made) for _ in range(100))

        assert made.finish(100)

        assert daemon.seqs == list(range(1, 101))
        assert [bye.last_seq for bye in daemon.byes] == [100]
        assert daemon.errors == []
        assert not made.is_alive
        assert made.trouble == ""


def test_hello_says_who_and_where(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket") as daemon:
        connected().close()

        (hello,) = daemon.hellos
        assert hello.role == "adapter"
        assert hello.run == {
            "run_id": "run",
            "producer_id": "producer",
            "process": ME.to_payload(),
        }
        assert hello.place == str(place / "run.jsonl")


def test_what_is_stored_already_is_not_sent(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket") as daemon:
        daemon.stored = 2
        made, lines = connected(), Stream()

        assert all(lines.offer(made) for _ in range(3))
        assert made.finish(3)

        assert daemon.seqs == [3]


def frames_of(made: Link, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Return a list that gets the seqs of each frame that the link sends."""
    frames: list[list[int]] = []
    send_lines = made._protocol.send_lines

    def noted(file: int, end: int, first: int, lines: list[bytes]) -> bytes:
        frames.append(list(range(first, first + len(lines))))
        return send_lines(file, end, first, lines)

    monkeypatch.setattr(made._protocol, "send_lines", noted)
    return frames


def test_lines_that_can_wait_are_sent_with_those_after_them(
    place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeDaemon(place / "socket") as daemon:
        made, lines = connected(), Stream()
        frames = frames_of(made, monkeypatch)
        now = clock.monotonic()

        lines.offer(made, now=now, can_wait=True)  # a lone line goes at once: nothing was sent lately
        lines.offer(made, now=now, can_wait=True)
        lines.offer(made, now=now + SEND_EVERY_S / 2, can_wait=True)
        lines.offer(made, now=now + 2 * SEND_EVERY_S, can_wait=True)
        lines.offer(made, now=now + 2 * SEND_EVERY_S, can_wait=True)
        lines.offer(made, now=now + 2 * SEND_EVERY_S)

        assert frames == [[1], [2, 3, 4], [5, 6]]
        assert made.finish(6)
        assert daemon.seqs == [1, 2, 3, 4, 5, 6]


def test_not_more_lines_wait_than_make_a_frame(
    place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeDaemon(place / "socket"):
        made, lines = connected(events=1_000), Stream()
        frames = frames_of(made, monkeypatch)
        now = clock.monotonic()

        lines.offer(made, now=now)
        for _ in range(FRAME_LINES):
            lines.offer(made, now=now, can_wait=True)
        lines.offer(made, now=now, can_wait=True)
        lines.offer(made, FRAME_BYTES, now=now, can_wait=True)

        assert [len(frame) for frame in frames] == [1, FRAME_LINES, 2]


def test_a_small_credit_is_not_waited_for_by_lines_that_wait(
    place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeDaemon(place / "socket") as daemon:
        made, lines = connected(events=8), Stream()
        frames = frames_of(made, monkeypatch)
        now = clock.monotonic()

        assert all(lines.offer(made, now=now, can_wait=True) for _ in range(20))

        assert max(len(frame) for frame in frames) == 2  # a quarter of the credit
        assert made.finish(20) == (daemon.stored >= 20)


def test_lines_that_were_acked_while_they_waited_are_not_sent(
    place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeDaemon(place / "socket", acks=False) as daemon:
        made, lines = connected(), Stream()
        frames = frames_of(made, monkeypatch)
        now = clock.monotonic()
        lines.offer(made, now=now)
        for _ in range(3):
            lines.offer(made, now=now, can_wait=True)

        daemon.send(Ack(seq=3, window=WINDOW))  # it has read them in the journal
        lines.offer(made, now=now + 1)

        assert frames == [[1], [4, 5]]


def test_lines_that_wait_when_the_connection_ends_are_left_to_the_journal(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket"):
        made, lines = connected(), Stream()
        now = clock.monotonic()
        lines.offer(made, now=now)
        for _ in range(3):
            lines.offer(made, now=now, can_wait=True)

        made.close()

        assert made.spilled == 3


def test_without_a_daemon_the_cause_is_told(place: Path) -> None:
    made = Link(place / "socket", Budget(LONG, LONG), 10)

    assert not made.connect("run", "producer", ME, place / "run.jsonl")

    assert "No such file" in made.trouble
    assert not made.is_alive
    made.offer(0, 10, 1, b"line\n", clock.monotonic())
    assert made.spilled == 1


def test_a_socket_that_nobody_listens_to_is_told(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
        made = Link(place / "socket", Budget(LONG, LONG), 10)

        assert not made.connect("run", "producer", ME, place / "run.jsonl")

        assert "refused" in made.trouble


def test_a_full_backlog_is_not_waited_for(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(place / "socket"))
        listener.listen(0)
        first.connect(str(place / "socket"))
        made = Link(place / "socket", Budget(LONG, LONG), 10)

        assert not made.connect("run", "producer", ME, place / "run.jsonl")

        assert made.trouble


# The budget


def test_small_stalls_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(0.25, 2.0)

    budget.spend(SMALL_STALL_S)
    assert (budget.left, budget.used, budget.blocked) == (0.25, 0.0, SMALL_STALL_S)
    budget.spend(1.9)
    assert budget.left == pytest.approx(0.1)
    budget.spend(5.0)
    assert budget.left == 0.0
    assert budget.blocked == pytest.approx(6.92)


class FakeTime:
    """A clock that goes on only while somebody polls."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def register(self, fd: int, events: int) -> None:
        """Take part in a poll, as select.poll has it."""

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        self.waits.append(timeout)
        self.now += timeout / 1000
        return []


@pytest.mark.parametrize(
    ("at_a_time", "total", "waits"),
    [
        (0.050, 0.120, [50, 50, 20]),
        (0.010, 0.025, [10, 10, 5]),
        (0.250, 0.100, [100]),
        (0.050, 0.000, []),
        (0.000, 0.050, []),
        (120.0, 120.0, [60_000, 60_000]),
    ],
)
def test_no_event_waits_longer_than_one_wait_and_all_no_longer_than_the_total(
    place: Path,
    connected: Connected,
    monkeypatch: pytest.MonkeyPatch,
    at_a_time: float,
    total: float,
    waits: list[float],
) -> None:
    with FakeDaemon(place / "socket", acks=False) as daemon:
        made, lines = connected(events=3), Stream()
        budget = use(made, Budget(at_a_time, total))
        times = FakeTime()
        monkeypatch.setattr(clock, "monotonic", times.monotonic)
        monkeypatch.setattr(link, "_poll", lambda: times)

        taken = []
        for _ in range(50):
            taken.append(lines.offer(made))
            daemon.send(Ack(seq=0, window=WINDOW))  # slow, but there: it is waited for again

        assert taken == [True] * 3 + [False] * 47
        assert [wait for wait in times.waits if wait > 1] == pytest.approx(waits, abs=1)  # 1 ms is rounding
        assert budget.used == pytest.approx(sum(waits) / 1000, abs=0.002)
        assert made.is_open  # spilled is not lost: the connection stands


def test_a_daemon_that_says_nothing_is_waited_for_once(
    place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeDaemon(place / "socket", acks=False) as daemon:
        made, lines = connected(events=3), Stream()
        use(made, Budget(0.250, 2.0))
        times = FakeTime()
        monkeypatch.setattr(clock, "monotonic", times.monotonic)
        monkeypatch.setattr(link, "_poll", lambda: times)

        assert [lines.offer(made) for _ in range(50)] == [True] * 3 + [False] * 47
        assert sum(times.waits) == pytest.approx(250, abs=1)

        daemon.send(Ack(seq=50, window=WINDOW))
        assert [lines.offer(made) for _ in range(4)] == [True] * 3 + [False]
        assert sum(times.waits) == pytest.approx(500, abs=2)
        assert not made.finish(54)
        assert sum(times.waits) == pytest.approx(750, abs=3)  # once more at the end, when no test runs


def test_without_a_budget_nothing_is_waited_for(
    place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeDaemon(place / "socket", acks=False):
        made, lines = connected(events=3), Stream()
        use(made, Budget(NEVER, LONG))
        times = FakeTime()
        monkeypatch.setattr(link, "_poll", lambda: times)

        assert [lines.offer(made) for _ in range(4)] == [True, True, True, False]
        assert not made.finish(4)
        assert times.waits == []


def test_a_daemon_that_never_answers_is_left_after_the_budget(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket", welcomes=False):
        budget = Budget(0.05, 0.05)
        made = connected(budget=budget, welcome=False)

        assert not made.wait_for_welcome()
        assert not Stream().offer(made)
        assert not made.finish(1)
        assert made.acked == 0


@pytest.mark.parametrize("at_a_time", [float("inf"), 1e10], ids=["inf", "years"])
def test_an_event_waits_for_credit_and_goes_on_when_it_comes(
    place: Path, connected: Connected, at_a_time: float
) -> None:
    with FakeDaemon(place / "socket", acks=False) as daemon:
        made, lines = connected(budget=Budget(at_a_time, at_a_time), events=2), Stream()
        assert lines.offer(made)
        assert lines.offer(made)
        daemon.wait_until(lambda: daemon.seqs == [1, 2])
        daemon.send(Ack(seq=1, window=daemon.window))

        assert lines.offer(made)  # waits, and is woken by the ack

        assert made.acked == 1
        daemon.acks = True
        daemon.wait_until(lambda: daemon.seqs == [1, 2, 3])
        daemon.send(Ack(seq=3, window=daemon.window))
        assert made.finish(3)


def test_the_window_counts_bytes(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket", acks=False) as daemon:
        daemon.window = 2000
        made, lines = connected(), Stream()
        use(made, Budget(NEVER, NEVER))

        assert [lines.offer(made, 500) for _ in range(5)] == [True, True, True, False, False]


def test_a_line_larger_than_the_window_goes_alone(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket") as daemon:
        daemon.window = 100
        made, lines = connected(), Stream()

        assert lines.offer(made, 50_000)
        assert lines.offer(made, 50_000)
        assert made.finish(2)

        assert daemon.seqs == [1, 2]


def test_a_full_socket_buffer_is_credit_too(place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SEND_BUFFER", 4096)
    with FakeDaemon(place / "socket") as daemon:
        made, lines = connected(), Stream()
        daemon.wait_until(lambda: daemon.hellos)

        assert all(lines.offer(made, 60_000) for _ in range(40))  # each in many pieces
        assert made.finish(40)

        assert daemon.seqs == list(range(1, 41))
        assert daemon.errors == []


def test_a_begun_frame_is_finished_before_any_other(
    place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "SEND_BUFFER", 4096)
    with FakeDaemon(place / "socket") as daemon:
        made, lines = connected(), Stream()
        use(made, Budget(NEVER, NEVER))
        daemon.pause()
        taken = [lines.offer(made, 100_000) for _ in range(4)]
        assert taken == [True, False, False, False]  # a part of the first is in the kernel, and nothing behind it

        daemon.read_on()
        use(made, Budget(LONG, LONG))
        assert lines.offer(made)
        assert made.finish(5)

        assert daemon.seqs == [1, 5]
        assert daemon.errors == []


def test_a_frame_whose_sending_was_interrupted_is_not_sent_again(
    place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Alarm(Exception):
        pass

    real_send = link._send

    def send(sock: socket.socket, data: bytes, flags: int) -> int:
        real_send(sock, data, flags)
        raise Alarm  # by a signal's handler, when the call has returned

    with FakeDaemon(place / "socket") as daemon:
        made, lines = connected(), Stream()
        with monkeypatch.context() as patched:
            patched.setattr(link, "_send", send)
            with pytest.raises(Alarm):
                lines.offer(made)
        daemon.wait_until(lambda: daemon.seqs)
        taken = lines.offer(made)

        assert (taken, made.is_alive, made.refused) == (False, False, False)
        assert made.trouble == "a signal's handler interrupted the sending"
        daemon.wait_until(lambda: daemon.ended)
        assert (daemon.seqs, daemon.errors) == ([1], [])


# The end


def test_a_bye_that_does_not_fit_into_the_socket_buffer_is_sent_when_it_does(
    place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = link._send
    full = 3

    def when_not_full(sock: socket.socket, data: bytes, flags: int) -> int:
        nonlocal full
        full -= 1
        if full >= 0:
            raise BlockingIOError
        return send(sock, data, flags)

    with FakeDaemon(place / "socket") as daemon:
        made, lines = connected(), Stream()
        assert lines.offer(made)
        daemon.wait_until(lambda: daemon.seqs == [1])
        monkeypatch.setattr(link, "_send", when_not_full)

        assert made.finish(1)

        assert [bye.last_seq for bye in daemon.byes] == [1]


def test_a_refusal_is_told_and_final(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket") as daemon:
        daemon.refusal = ("run-taken", "another process has this run")
        made = connected(welcome=False)

        assert not made.wait_for_welcome()

        assert made.refused
        assert not made.is_alive
        assert "another process has this run [run-taken]" in made.trouble


def test_a_daemon_that_hangs_up_is_noticed(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket") as daemon:
        made, lines = connected(), Stream()
        assert lines.offer(made)
        daemon.wait_until(lambda: daemon.seqs == [1])

        daemon.hang_up()
        while lines.offer(made):
            pass

        assert not made.is_alive
        assert made.trouble
        assert not made.refused


def test_a_daemon_that_breaks_the_protocol_is_left(place: Path, connected: Connected) -> None:
    with FakeDaemon(place / "socket", acks=False) as daemon:
        made, lines = connected(), Stream()
        daemon.send_bytes(b"\xff\xff\xff\xff")

        assert not made.finish(1)

        assert "broke the protocol" in made.trouble
        assert not lines.offer(made)


def test_a_process_of_another_user_is_not_talked_to(place: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    other = 65534
    place.chmod(0o777)
    script = """
        import os, socket, sys
        os.setuid(int(sys.argv[2]))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(sys.argv[1])
        listener.listen()
        print("ready", flush=True)
        sock = listener.accept()[0]
        print(len(sock.recv(100)), flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(place / "socket"), str(other)],
        stdout=subprocess.PIPE,
        text=True,
    ) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "ready\n"
        made = Link(place / "socket", Budget(LONG, LONG), 10)

        assert not made.connect("run", "producer", ME, place / "run.jsonl")

        assert f"uid {other}" in made.trouble
        assert stranger.stdout.readline() == "0\n"  # it got the end of the stream, and not a byte


def test_a_journal_whose_path_is_no_text_is_left_to_itself(place: Path) -> None:
    with FakeDaemon(place / "socket"):
        made = Link(place / "socket", Budget(LONG, LONG), 10)

        assert not made.connect("run", "producer", ME, Path(os.fsdecode(b"/tmp/\xff/run.jsonl")))

        assert made.trouble
        assert not made.is_alive


@pytest.mark.parametrize("later", [0.0, 1.0], ids=["at once", "after a look for acks"])
def test_a_reused_descriptor_ends_the_connection_and_is_left_alone(
    place: Path, connected: Connected, later: float
) -> None:
    own, other_end = socket.socketpair()
    with FakeDaemon(place / "socket") as daemon, own, other_end:
        made, lines = connected(), Stream()
        now = clock.monotonic()
        assert lines.offer(made, now=now)
        assert made._sock is not None
        number = made._sock.fileno()
        os.dup2(own.fileno(), number)

        lines.offer(made, now=now + later)
        assert not lines.offer(made, now=now + later)
        made.close()

        assert "descriptor" in made.trouble
        os.write(number, b"still open")
        os.close(number)
        assert other_end.recv(1000) == b"still open"
        daemon.wait_until(lambda: daemon.ended == 1)


def test_patched_functions_do_not_matter(place: Path, connected: Connected, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    with FakeDaemon(place / "socket") as daemon:
        with monkeypatch.context() as patched:
            for module, names in (
                (socket, ("socketpair", "create_connection", "fromfd")),
                (select, ("poll", "select", "epoll")),
                (os, ("fstat", "getuid", "getpid")),
                (time, ("time", "clock_gettime")),
                (json, ("dumps",)),
                (msgpack, ("packb", "Packer", "unpackb")),
            ):
                for name in names:
                    patched.setattr(module, name, refuse)
            made = connected()
            assert Stream().offer(made)
            assert made.finish(1)
        assert daemon.seqs == [1]
