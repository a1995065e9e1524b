"""A world for the real event path, in one thread and a virtual time: adapters, the daemon, a disk, sockets, a store.

Everything between the edges is the product: `Adapter`, `Link`, `JournalWriter`, `Daemon`, `ClientConnection`, `Run`,
`Keeper`, `Committer`, the SQL of `Store`. The edges are ours: `disk.py`, `wires.py`, a store in memory, processes that
are numbers in a table, and a clock that stands still unless somebody waits. trio runs as a guest: whoever waits lets it
go on, so an adapter that blocks in `emit` and the daemon take their turns without a thread, and a trace always goes the
same way. What must hold is in `oracle.py`, what is done in `traces.py`.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, cast

import pytest
import trio
import trio.testing
from trio._core import _run as trio_run

from tests.daemon_here import KEEP_ALL
from tests.faults import wires
from tests.faults.disk import DAEMON, Disk, Killed, Thrown
from tests.faults.wires import DaemonStream, Wire
from threepio_client import clock, process
from threepio_client.adapter import Adapter
from threepio_client.errors import NoPlace
from threepio_client.events import EventType, Phase, Status
from threepio_client.link import Link
from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.settings import Mode, Settings, SyncPolicy
from threepiod import connection as connection_module
from threepiod import run as run_module
from threepiod import runids
from threepiod.batch import HOLE, Batch
from threepiod.daemon import Daemon
from threepiod.keeper import Keeper
from threepiod.service import Service
from threepiod.store import Store, StoreError
from threepiod.watch import ProcessWatch

WALL_AT_START: Final = 1_700_000_000.0
RECEIVED_AT_ONCE: Final = 1 << 18
"""Bytes that the daemon may receive at once where no fault says less."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The sizes of a world; small ones meet more limits.

    Attributes:
        runs: how many there are.
        tests: of each run.
        credit: events that an adapter may have un-acked.
        capacity: bytes that a connection holds.
        batch: events that the daemon commits at once.
        has_spare: whether there is a second directory for journals.
    """

    runs: int = 1
    tests: int = 5
    credit: int = 4
    capacity: int = 1_000
    batch: int = 8
    has_spare: bool = False


class StoredLine(NamedTuple):
    """One row of the store: the line `seq`, or a hole from there to `last`."""

    seq: int
    last: int
    crc: int
    type: str


class StoredRow(NamedTuple):
    """What the store has of a run."""

    seq: int
    state: str
    final: bool
    snapshot: dict[str, Any]
    lines: list[StoredLine]


@dataclass(frozen=True)
class Commit:
    """What the store holds after a commit: its bytes, and what it says of each run."""

    image: bytes
    runs: dict[str, StoredRow]


@dataclass
class Producer:
    """One tested process, as those who never die know it.

    Attributes:
        attempted, returned: the texts of the tests whose `emit` was called, and returned.
        allowed: how many of the returned ones may be missing from the journal, by what the adapter itself counts.
        acked: the highest ack that it ever got.
        lost_power: whether the power was cut since it began.
        rotten: lines of its journal that were changed behind everybody's back.
        is_doubtful: whether a sync of it failed and it could not go on in another file: said loudly while it lives, but a
            daemon that opens the file later is told of no failure.
    """

    run_id: str
    identity: ProcessIdentity
    tests: int
    adapter: Adapter | None = None
    is_alive: bool = True
    next: int = 0
    attempted: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    allowed: int = 0
    acked: int = 0
    lost_power: bool = False
    rotten: set[int] = field(default_factory=set)
    is_doubtful: bool = False
    said_stored: bool | None = None

    @property
    def link(self) -> Link | None:
        return self.adapter._link if self.adapter is not None else None

    @property
    def wire(self) -> Wire | None:
        """The connection that it has now."""
        link = self.link
        return link._sock.wire if link is not None and link._sock is not None else None  # type: ignore[attr-defined]


class World:
    """All of it. Use it as a context: it replaces functions of the product while it stands.

    Attributes:
        latency: seconds that each sync and commit of the daemon takes.
        stuck: runs whose sync does not end.
        store_faults: what the next commits do: `before` fails, `after` fails though it is applied.
        commits: what the store was after each commit since the last checkpoint, the present last.
        boot: how often the power was cut.
        reused: pids of ended processes that another one has by now.
        daemon_failed: whether the daemon may have failed to journal a line that was sent to it unjournaled: such a line
            is not sent again, its run is never green.
        problems: what the daemon did that it must not, noticed while it ran.
    """

    def __init__(self, config: Config, watch: Callable[[World, list[Batch]], None]) -> None:
        self.config = config
        self.is_frozen = False
        self.piece = RECEIVED_AT_ONCE
        self.latency = 0.0
        self.stuck: set[str] = set()
        self.store_faults: list[str] = []
        self.problems: list[str] = []
        self.producers: list[Producer] = []
        self.daemon: Daemon | None = None
        self.commits: list[Commit] = []
        self.boot = 0
        self.daemon_failed = False
        self._watch = watch
        self._queue: deque[Callable[[], object]] = deque()
        self._wires: list[Wire] = []
        self._backlog: deque[Wire] = deque()
        self._deaths = trio.Event()
        self._process = ProcessIdentity(1, 1, "boot0", "pid:[1]")
        self.reused: set[int] = set()

    def __enter__(self) -> Self:
        self._room = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        room = Path(self._room.name)
        socket = (room / "runtime" if self.config.has_spare else room / "state") / "threepiod.sock"
        self.settings = Settings(
            mode=Mode.AUTO,
            socket=socket,
            state_dir=room / "state",
            run_id=None,
            sync=SyncPolicy.GROUP,
            event_buffer_size=self.config.credit,
            block_s=0.25,
            block_total_s=2.0,
            nested=False,
        )
        self.places = self.settings.places
        for directory in (self.places.journals, self.places.logs, socket.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        spare = [self.places.spare] if self.places.spare is not None else []
        self.disk = Disk([self.places.journals, *spare])
        self._patch = pytest.MonkeyPatch()
        self._logging = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        self._clock = trio.testing.MockClock(autojump_threshold=0)
        self._replace()
        trio_run._r.seed(0)
        self._outcome: list[Any] = []
        trio.lowlevel.start_guest_run(
            self._live,
            run_sync_soon_threadsafe=self._queue.append,
            done_callback=self._outcome.append,
            clock=self._clock,
        )
        while not hasattr(self, "_nursery"):
            self._turn()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for producer in self.producers:
            self._bury(producer)
        self._nursery.cancel_scope.cancel()
        while not self._outcome:
            self._turn()
        self.disk.forget(DAEMON)
        self._patch.undo()
        logging.disable(self._logging)
        self._room.cleanup()

    # Time

    def now(self) -> float:
        return self._clock.current_time()

    def pass_time(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let the daemon work for so long, or until something holds."""
        if self.is_frozen:
            self._clock.jump(seconds)
            return
        end = self.now() + seconds
        self._alarm.deadline = end
        while self.now() < end and not until():
            self._turn()
        self._alarm.deadline = float("inf")

    def _turn(self) -> None:
        """One turn of trio's loop."""
        actor, self.disk.actor = self.disk.actor, DAEMON
        try:
            self._queue.popleft()()
        finally:
            self.disk.actor = actor

    async def _live(self) -> None:
        async with trio.open_nursery() as nursery:
            self._alarm = trio.CancelScope()
            nursery.start_soon(self._ring)
            self._nursery = nursery

    async def _ring(self) -> None:
        while True:  # waking at the deadline keeps the virtual time from jumping over it
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()

    # The daemon

    def start_daemon(self) -> None:
        while self.daemon is not None and DAEMON in self.disk.killed:
            self._turn()
        if self.daemon is None:
            self.is_frozen = False
            store = _Store(self)
            self.daemon = Daemon(self.settings, store, "", KEEP_ALL, Service({}), lambda: True)
            self._scope = trio.CancelScope()
            self._nursery.start_soon(self._daemon_life, self.daemon, store, self._scope)

    def kill_daemon(self) -> None:
        """End the daemon as SIGKILL would: at whatever it waits for."""
        if self.daemon is None:
            return
        self.is_frozen = False
        self._hang_up()
        self._scope.cancel()
        while self.daemon is not None:
            self._turn()

    def _hang_up(self) -> None:
        for wire in self._wires:
            wire.close_daemon()
        self._wires.clear()
        self._backlog.clear()

    async def _daemon_life(self, daemon: Daemon, store: _Store, scope: trio.CancelScope) -> None:
        try:
            with scope:
                async with trio.open_nursery() as work:
                    daemon._work = work
                    work.start_soon(daemon._committer.serve)
                    work.start_soon(daemon._tick)
                    self._news = trio.Event()
                    while True:
                        while self._backlog:
                            stream = DaemonStream(self._backlog.popleft(), self)
                            work.start_soon(daemon._serve_client, cast(trio.SocketStream, stream))
                        await self._news.wait()
                        self._news = trio.Event()
        except* Killed:
            pass
        finally:
            self._hang_up()
            for producer in self.producers:
                producer.is_doubtful |= self.disk.has_failed(producer.run_id)
            self.disk.forget(DAEMON)
            self.store_faults.clear()
            store.close()
            self.daemon = None

    def connect(self) -> Wire:
        if self.daemon is None:
            raise ConnectionRefusedError(111, "Connection refused")
        wire = Wire(self.config.capacity)
        self._wires.append(wire)
        self._backlog.append(wire)
        if hasattr(self, "_news"):
            self._news.set()
        return wire

    async def _run_sync(self, call: Callable[..., Any], *args: Any, limiter: Any = None, **_: Any) -> Any:
        """Stand in for `trio.to_thread.run_sync`: in this thread, with the latency of the disk on either side."""
        async with limiter or _NO_LIMIT:
            await trio.sleep(self.latency)
            owner = getattr(call, "__self__", None)
            while isinstance(owner, Keeper) and owner._journal.run_id in self.stuck:
                await trio.sleep(0.05)
            found = call(*args)
            await trio.sleep(self.latency)
            return found

    # The tested processes

    def start_run(self) -> Producer | None:
        """Start the next tested process."""
        number = len(self.producers)
        if number == self.config.runs:
            return None
        identity = ProcessIdentity(
            pid=1_000 + number, start_ticks=100 + number, boot_id=f"boot{self.boot}", pid_namespace="pid:[1]"
        )
        producer = Producer(run_id="abc"[number], identity=identity, tests=self.config.tests)
        self.producers.append(producer)
        with self._as(producer):
            producer.adapter = Adapter(self.settings._replace(run_id=producer.run_id), {"runner": "a trace"})
        return producer

    def emit(self, producer: Producer) -> None:
        """Emit the run's next event, if one is left."""
        adapter, number = producer.adapter, producer.next
        if adapter is None or number > producer.tests:
            return
        producer.next += 1
        with self._as(producer):
            if number == 0:
                adapter.emit(EventType.COLLECTION_FINISH, {"collected": producer.tests, "deselected": 0})
                return
            nodeid = f"test_it.py::test_{number}"
            producer.attempted.append(nodeid)
            adapter.emit(
                EventType.TEST_CASE, {"nodeid": nodeid, "status": Status.PASS, "phase": Phase.CALL, "duration": 1.5}
            )
            producer.returned.append(nodeid)

    def close(self, producer: Producer) -> None:
        """End a run as the plugin does, and its process with it."""
        adapter = producer.adapter
        if adapter is None or not producer.next:  # a runner collects before it ends well
            return
        with self._as(producer):
            passed = len(producer.attempted)
            producer.said_stored = adapter.close(
                {"exitCode": 0, "totals": {"passed": passed}, "deselected": 0, "stopped": None}
            )
            producer.acked = max(producer.acked, adapter._link.acked if adapter._link is not None else 0)
        self.kill(producer)

    def kill(self, producer: Producer) -> None:
        """End a tested process as SIGKILL would, between two of its calls."""
        if producer.is_alive:
            self._note(producer)
            self._bury(producer)
            producer.is_alive = False
            self._deaths.set()
            self._deaths = trio.Event()
            for wire in self._wires:
                wire.tell()

    def cut_power(self, seed: int) -> None:
        """End everything. The disk keeps what is synced and any part of the rest, the store a state since its checkpoint."""
        chance = Random(seed)
        self.kill_daemon()
        for producer in self.producers:
            producer.lost_power = True
            self.kill(producer)
        self.disk.lose_power(chance)
        if self.commits:
            self.commits = [chance.choice(self.commits)]
        self.boot += 1

    def checkpoint(self) -> None:
        """Let the store's commits so far survive a power cut."""
        del self.commits[:-1]

    @contextmanager
    def _as(self, producer: Producer) -> Iterator[None]:
        """Do what the tested process does: faults hit it, and it may end or be interrupted by them."""
        saved, self.disk.actor = self.disk.actor, producer.run_id
        process_before: ProcessIdentity = self._process
        self._process = producer.identity
        try:
            yield
        except Killed:
            self.kill(producer)
        except Thrown:
            pass
        except NoPlace as error:  # the journal could not be made: this run is not to be
            if producer.adapter is not None:
                self.problems.append(f"RAISED: {error!r}")
        except Exception as error:  # noqa: BLE001 - whatever a trace brings, the adapter raises nothing: the oracle says it
            self.problems.append(f"RAISED: {error!r}")
        finally:
            self.disk.actor = saved
            self._process = process_before
            if producer.adapter is None:
                self.kill(producer)
            self._note(producer)

    def _note(self, producer: Producer) -> None:
        adapter = producer.adapter
        if adapter is not None:
            sent = adapter._unjournaled if self.daemon_failed else adapter._not_taken()
            producer.allowed = adapter.stats()["eventsLost"] + sent + (adapter._journal.begun is not None)
            producer.acked = max(producer.acked, adapter._link.acked if adapter._link is not None else 0)
            producer.is_doubtful |= adapter._journal.is_poisoned

    def _bury(self, producer: Producer) -> None:
        wire = producer.wire
        if producer.adapter is not None:
            producer.adapter.now.close()
            producer.adapter = None
        if wire is not None:
            wire.close_adapter()
        self.disk.forget(producer.run_id)

    def _look_up(self, pid: int) -> tuple[str, int] | None:
        for producer in self.producers:
            if producer.identity.pid == pid:
                if producer.is_alive:
                    return "S", producer.identity.start_ticks
                if pid in self.reused:
                    return "S", producer.identity.start_ticks + 1
        return None

    async def _wait_for_end(self, identity: ProcessIdentity) -> None:
        while identity.liveness() is Liveness.ALIVE:
            await self._deaths.wait()

    # The edges

    def _replace(self) -> None:
        patch = self._patch
        self.disk.stand_in(patch)
        wires.stand_in(self, patch)
        patch.setattr(clock, "monotonic", self.now)
        patch.setattr(clock, "wall", lambda: WALL_AT_START + self.now())
        patch.setattr(process, "current", lambda: self._process)
        patch.setattr(process, "_state_and_start", self._look_up)
        patch.setattr(process, "_boot_id", lambda: f"boot{self.boot}")
        patch.setattr(process, "_pid_namespace", lambda: "pid:[1]")
        patch.setattr(ProcessWatch, "_wait_for_end", lambda watch: self._wait_for_end(watch._identity))
        patch.setattr(run_module, "BATCH_EVENTS", self.config.batch)
        patch.setattr(connection_module, "_bytes_waiting", lambda sock: sock.waiting)
        patch.setattr(runids, "_changed_at", lambda directory: self.disk.names)
        patch.setattr(Daemon, "_note_error", lambda daemon, text: self._note_error(text))
        patch.setattr(trio.to_thread, "run_sync", self._run_sync)
        patch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)

    def _note_error(self, text: str) -> None:
        if "ended by an error" in text or "refused" in text:
            self.problems.append(text)

    def committed(self, store: _Store, batches: list[Batch]) -> None:
        """Take note of what the store holds now."""
        self.commits.append(Commit(store.image(), store.contents()))
        self._watch(self, batches)


class _NoLimit:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


_NO_LIMIT: Final = _NoLimit()


class _Store(Store):
    """The store, in memory: each commit leaves an image of it, from which the next daemon begins."""

    def __init__(self, world: World) -> None:
        super().__init__(Path(":memory:"))
        self._world = world
        if world.commits:
            self._db.deserialize(world.commits[-1].image)
        else:
            world.commits.append(Commit(self.image(), {}))

    def open_run(self, run_id: str, producer_id: str) -> Any:
        found = super().open_run(run_id, producer_id)
        self._world.committed(self, [])
        return found

    def write(self, batches: list[Batch]) -> None:
        world = self._world
        world.disk._count()
        fault = world.store_faults.pop(0) if world.store_faults else ""
        if fault == "before":
            raise StoreError("the disk is full, says the trace")
        try:
            super().write(batches)
        except (
            StoreError
        ) as error:  # the store's own keys keep it from harm; what was to be stored is wrong all the same
            world.problems.append(f"REFUSED: {error}")
            raise
        world.committed(self, batches)
        if fault == "after":
            raise StoreError("the commit failed, says the trace, yet it was applied")

    def image(self) -> bytes:
        return self._db.serialize()

    def contents(self) -> dict[str, StoredRow]:
        found = {}
        for key, run_id, seq, state, final in self._db.execute("SELECT id, run_id, seq, state, final FROM runs"):
            rows = self._db.execute(
                "SELECT seq, crc, 'testCase', '' FROM results WHERE run = ? "
                "UNION ALL SELECT seq, crc, type, payload FROM events WHERE run = ? ORDER BY 1",
                (key, key),
            ).fetchall()
            lines = [StoredLine(seq, _last(kind, payload, seq), crc, kind) for seq, crc, kind, payload in rows]
            snapshot = self._db.execute("SELECT snapshot FROM runs WHERE id = ?", (key,)).fetchone()[0]
            found[run_id] = StoredRow(seq, state, bool(final), _loaded(snapshot), lines)
        return found


def _loaded(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def _last(kind: str, payload: str, seq: int) -> int:
    return int(_loaded(payload)["last"]) if kind == HOLE else seq
