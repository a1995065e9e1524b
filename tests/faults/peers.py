"""Peers of a real daemon, for the rows: adapters in processes of their own, raw sockets, and what the daemon costs."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgpack

from tests.place import Place
from threepio_client.archive import Archive
from threepio_client.journal import records
from threepio_client.protocol import VERSION, Ask, Connection, Hello, Message, Reply, Role, Welcome

PATIENCE_S: Final = 30.0
MIB: Final = 1024 * 1024


class Emitter:
    """An adapter in a process of its own (`tests/faults/emitting.py`).

    Attributes:
        run_id: its run.
        process: the process.
    """

    def __init__(self, place: Place, **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("emitting.py"))],
            env={**place.environ, **environ},
            cwd=place.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._hello: dict[str, Any] | None = None

    @property
    def run_id(self) -> str:
        """Its run; waits until it has begun."""
        return str(self.hello["run_id"])

    @property
    def hello(self) -> dict[str, Any]:
        """What it said first: `run_id`, and whether it is `connected`."""
        if self._hello is None:
            self._hello = self.answer()
        return self._hello

    def order(self, **order: Any) -> None:
        """Tell it what to do; `answer` waits until it is done."""
        assert self.hello
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return its next answer."""
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def do(self, **order: Any) -> dict[str, Any]:
        """Tell it what to do and return its answer."""
        self.order(**order)
        return self.answer()

    def end(self) -> None:
        """End the process, however it is."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def emitters(place: Place, count: int, **environ: str) -> Iterator[list[Emitter]]:
    """Give some adapters, started at the same time; end them with the block."""
    started = [Emitter(place, **environ) for _ in range(count)]
    try:
        for emitter in started:
            assert emitter.run_id
        yield started
    finally:
        for emitter in started:
            emitter.end()


class RawClient:
    """A blocking connection to a daemon, which may also send what nobody should."""

    def __init__(self, path: Path, role: Role, timeout_s: float = PATIENCE_S) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout_s)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.sock.connect(str(path))
                break
            except BlockingIOError:  # the daemon's queue is full: it accepts one after the other
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
        self.protocol = Connection(role)
        self._inbox: list[Message] = []

    def say(self, message: Message) -> None:
        """Send what the protocol allows."""
        self.sock.sendall(self.protocol.send(message))

    def hear(self) -> Message | None:
        """Return the next message, None at the end of the stream."""
        while not self._inbox:
            try:
                data = self.sock.recv(256 * 1024)
            except ConnectionError:
                return None
            if not data:
                return None
            self._inbox.extend(self.protocol.receive(data))
        return self._inbox.pop(0)

    def last_word(self) -> list[Any]:
        """Read to the end of the stream, or as long as the timeout, and return the array of the last message."""
        data = b""
        with suppress(ConnectionError, TimeoutError):
            while piece := self.sock.recv(256 * 1024):
                data += piece
        found: list[Any] = []
        while data:
            size = int.from_bytes(data[:4], "big")
            found, data = msgpack.unpackb(data[4 : 4 + size]), data[4 + size :]
        return found

    def ask(self, name: str, **params: Any) -> Any:
        """Return the whole answer to a question, errors included."""
        self.say(Ask(id=1, name=name, params=params))
        data = b""
        while True:
            reply = self.hear()
            assert isinstance(reply, Reply), reply
            data += reply.data
            if reply.last:
                return msgpack.unpackb(data)

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


def adapter_hello(place: Place, run_id: str, producer: str = "producer") -> Hello:
    """Return the HELLO of a run of a place."""
    run = {"run_id": run_id, "producer_id": producer, "process": {}}
    return Hello(versions=[VERSION], role="adapter", run=run, place=str(place.state_dir.journal(run_id)))


def raw_adapter(place: Place, run_id: str) -> RawClient:
    """Return the welcomed adapter of a run."""
    client = RawClient(place.settings.socket, Role.ADAPTER)
    client.say(adapter_hello(place, run_id))
    answer = client.hear()
    assert isinstance(answer, Welcome), answer
    return client


def raw_query(place: Place) -> RawClient:
    """Return a welcomed client for questions."""
    client = RawClient(place.settings.socket, Role.QUERY)
    client.say(Hello(versions=[VERSION], role="query", run={}, place=""))
    answer = client.hear()
    assert isinstance(answer, Welcome), answer
    return client


def stored_seq(place: Place, run_id: str) -> int:
    """Return the seq up to which a run is stored."""
    stored = Archive(place.state_dir).stored(run_id)
    return stored.seq if stored is not None else 0


def differences(place: Place, run_id: str, events: int) -> list[str]:
    """Return what is wrong with a run of which `events` events were emitted, all of which should be stored by now.

    `events` counts what the caller had emitted; runStart, statistics and runComplete come on top and only have to agree.
    """
    found = []
    journaled = []
    for number, record in enumerate(records(place.state_dir.journal(run_id)), start=1):
        if record.event is None:
            found.append(f"run {run_id}: line {number} of its journal is bad: {record.reason}")
        else:
            journaled.append(record.event)
    if [event.seq for event in journaled] != list(range(1, len(journaled) + 1)):
        found.append(f"run {run_id}: its journal is not 1, 2, 3 ...")
    cases = sum(event.type == "testCase" for event in journaled)
    if cases != events:
        found.append(f"run {run_id}: {cases} of {events} events are in its journal")
    stored = Counter((seq, crc) for seq, crc, _ in Archive(place.state_dir).stored_lines(run_id))
    wanted = Counter((event.seq, event.crc) for event in journaled)
    if missing := wanted - stored:
        found.append(f"run {run_id}: {missing.total()} events are not stored")
    if more := stored - wanted:
        found.append(f"run {run_id}: {more.total()} events are stored twice, or were never written")
    return found


class Cost:
    """What a process takes of memory and CPU."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")

    def rss(self) -> int:
        """Return its resident bytes."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Return the highest resident bytes since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Have `peak` begin anew (proc(5), clear_refs)."""
        (self._proc / "clear_refs").write_text("5")

    def cpu_s(self) -> float:
        """Return the seconds of CPU that it has used."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def quiet_share(self, below: float, for_s: float) -> float:
        """Return the share of a core that it uses, as soon as that is low for some seconds; else the last share seen."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            used, start = self.cpu_s(), time.monotonic()
            time.sleep(for_s)
            share = (self.cpu_s() - used) / (time.monotonic() - start)
            if share < below or time.monotonic() > deadline:
                return share

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(list((self._proc / "fd").iterdir()))

    def _status(self, name: str) -> int:
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise ValueError(name)


@contextmanager
def descriptors_for(count: int) -> Iterator[None]:
    """Allow this process so many descriptors for a while; raise ValueError if it cannot have them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
