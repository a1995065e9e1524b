"""Run: one task a run. It owns the run's position and is the only way into the store.

Lines come over the socket (`offer`) or from the journal (read by this task); whichever way, a line is taken only if it
is the next one. One loop does the rest: read what is missing, sync the journal, commit, ack. The order matters: the
store is never ahead of the journal's synced part.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Protocol

import trio

from threepio_client import clock
from threepio_client.archive import StoredRun, believable, gone_payload, now_page, observations
from threepio_client.errors import BadLine, RemoteProtocolError
from threepio_client.events import ObservationType
from threepio_client.journal import append_observation, parse, tail_size, whole_lines
from threepio_client.line import Event, decode
from threepio_client.paths import StateDir
from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.protocol import Lines
from threepiod.store import Batch, Committer, StoreError

BATCH_BYTES: Final = 1024 * 1024
BATCH_EVENTS: Final = 10_000
"""A batch holds at most what one adapter may have un-acked (protocol.WINDOW): the memory of one run."""
GATHER_S: Final = 0.050
"""How long a commit waits for more events: 20 commits a second for a busy run cost the daemon little, and nobody
waits for one. Not waited when the batch is half full or the run is ending."""
SETTLE_POLL_S: Final = 0.005
RETRY_S: Final = 1.0
"""Pause after the store refused a batch."""

log = logging.getLogger("threepiod.run")

_NO_INGEST: Final = {"from_socket": 0, "from_journal": 0, "duplicates": 0}


class Acks(Protocol):
    """Where a run's acks go: its connections."""

    def ack(self, seq: int) -> None:
        """Tell the adapter that everything up to `seq` is stored and synced."""


class Run:
    """The daemon's side of one run.

    Attributes:
        run_id, producer_id: the run's identity.
        cursor: last line taken, from either source.
        stored: last line stored and synced.
        state: the live view: all that was taken.
        ingest: counters of how the lines came.
        taken: lines taken since the daemon started.
        is_over: whether nothing more is expected, and everything is stored.
        trouble: why the run's events cannot be stored now; empty while they can.
    """

    def __init__(self, found: StoredRun, state_dir: StateDir, committer: Committer) -> None:
        self.run_id = found.run_id
        self.producer_id = found.producer_id
        self.journal = state_dir.journal(found.run_id)
        self.key = found.key
        self.cursor = self.stored = found.seq
        self.state = found.state
        self.ingest = {**_NO_INGEST, **found.ingest}
        self.is_over = found.final
        self.trouble = ""
        self.taken = 0
        self._offset = found.offset
        self._observed = found.observed
        self._state_dir = state_dir
        self._committer = committer
        self._batch = Batch(key=found.key)
        self._read_to = 0
        self._size_at_tick = 0
        self._gone = False
        self._gone_at: float | None = None
        self._wake = trio.Event()
        self._room = trio.Event()
        self._changed = False
        self._fold_later = self._observed < _size(state_dir.observed(found.run_id))
        self._connections: set[Acks] = set()
        self._liveness = Liveness.UNKNOWN
        self.read_journal()

    # For connections

    @property
    def is_connected(self) -> bool:
        """Whether an adapter is connected."""
        return bool(self._connections)

    def attach(self, connection: Acks) -> None:
        """Let a connection have this run's acks; compare the journal with the cursor."""
        self._connections.add(connection)
        self.read_journal()

    def detach(self, connection: Acks) -> None:
        """Forget a connection. The end of a stream says nothing about the process."""
        self._connections.discard(connection)

    def offer(self, lines: Lines) -> None:
        """Take the lines that are next; drop those that are taken already; read the journal for what lies between.

        Raises:
            RemoteProtocolError: a line is bad, or has another seq than its place says.
        """
        seq = lines.first_seq - 1
        end = lines.end - sum(len(raw) + 1 for raw in lines.lines)
        for raw in lines.lines:
            seq += 1
            end += len(raw) + 1
            if seq <= self.cursor:
                self.ingest["duplicates"] += 1
                continue
            if seq > self.cursor + 1:
                self.read_journal()
                return
            try:
                event = decode(raw)
            except BadLine as error:
                raise RemoteProtocolError("bad-line", f"line {seq} is bad: {error}") from error
            if event.seq != seq:
                raise RemoteProtocolError("bad-line", f"line {seq} says that it is {event.seq}")
            self._take(event, len(raw))
            self._offset = end
            self.ingest["from_socket"] += 1
        self._wake.set()

    def bye(self, last_seq: int) -> None:
        """The adapter says that it wrote up to `last_seq` and waits for it to be stored."""
        if last_seq > self.cursor:
            self.read_journal()
        self._wake.set()

    async def room(self) -> None:
        """Wait until the batch has room. A connection waits here before it reads on: that is the backpressure."""
        while self._is_full() and not self.trouble:
            await self._room.wait()

    # For the daemon

    def read_journal(self) -> None:
        """Have everything read that is in the journal now."""
        self._read_to = max(self._read_to, _size(self.journal))
        self._wake.set()

    def tick(self) -> None:
        """Notice what did not come over the socket: bytes that were there a tick ago and are not taken yet."""
        if self._offset < self._size_at_tick:
            self._read_to = self._size_at_tick
            self._wake.set()
        self._size_at_tick = _size(self.journal)

    @property
    def liveness(self) -> Liveness:
        """Whether the run's process was alive when it was last looked at."""
        return self._liveness

    async def observe(self, event_type: str, payload: dict[str, object]) -> None:
        """Write an observation, fold it in and store the new state.

        What the journal holds now is taken first: an end that is told of early must not look like a death in mid-run.
        """
        self.read_journal()
        while self._offset < self._read_to and not self.trouble:
            await trio.sleep(SETTLE_POLL_S)
        await self._append_observation(event_type, payload, clock.wall())

    async def settle(self) -> None:
        """Return when all that is taken now is stored, or cannot be."""
        upto = self.cursor
        while (self.stored < upto or self._changed) and not self.trouble:
            await trio.sleep(SETTLE_POLL_S)

    async def serve(self) -> None:
        """Do the run's work until it is over and everything is stored."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_process)
            while not self.is_over or self.has_work:
                await self._wake.wait()
                self._wake = trio.Event()
                await self._gather()
                while self.has_work:
                    await self._read_some()
                    if self._fold_later and self._offset >= self._read_to:
                        self._fold_observations()
                    if not await self._store_batch():
                        break
                if self._gone and not self.has_work and not self.is_over:
                    await self._pronounce_dead()
            nursery.cancel_scope.cancel()

    # Inside

    def _take(self, event: Event, size: int) -> None:
        if event.seq > self.cursor + 1:
            log.error("run %s: lines %d to %d cannot be read", self.run_id, self.cursor + 1, event.seq - 1)
            self._batch.add_hole(self.cursor + 1, event.seq - 1, "unreadable", event.timestamp)
        self.cursor = event.seq
        self.taken += 1
        self.state.fold(event)
        self._batch.add(event, size)

    def _is_full(self) -> bool:
        return self._batch.size >= BATCH_BYTES or len(self._batch) >= BATCH_EVENTS

    @property
    def has_work(self) -> bool:
        """Whether something is taken and not stored, or in the journal and not taken."""
        return bool(len(self._batch) or self._changed or self._fold_later or self._offset < self._read_to)

    async def _gather(self) -> None:
        """Let a group come together, unless it is large already or the run is ending."""
        deadline = trio.current_time() + GATHER_S
        while (
            self.state.complete is None
            and not self._gone
            and self._batch.size < BATCH_BYTES // 2
            and self._offset >= self._read_to
        ):
            with trio.move_on_at(deadline) as scope:
                await self._wake.wait()
                self._wake = trio.Event()
            if scope.cancelled_caught:
                return

    async def _read_some(self) -> None:
        """Take the next lines of the journal, at most one batch."""
        if self._offset >= self._read_to or self._is_full():
            return
        offset = self._offset
        lines, more = await trio.to_thread.run_sync(_read_batch, self.journal, offset, self._read_to)
        if self._offset != offset:
            return  # a connection took lines meanwhile; the loop comes again if something is still missing
        for number, (raw, end) in enumerate(lines):
            record = parse(raw, end)
            if record.event is None:
                if number == len(lines) - 1 and not more and not self._gone:
                    break  # the last line: judged when another one follows, or when its writer is gone
                log.error(
                    "run %s: a line of its journal that ends at byte %d is bad: %s", self.run_id, end, record.reason
                )
                self.state.fold_bad_line()
                self._changed = True
            elif record.event.seq <= self.cursor:
                self.ingest["duplicates"] += 1
            else:
                self._take(record.event, len(raw))
                self.ingest["from_journal"] += 1
            self._offset = end
        if not more:
            self._read_to = self._offset  # what is behind is no whole line yet; the next tick looks again

    async def _store_batch(self) -> bool:
        """Sync the journal, commit, ack. Return False if that failed; the batch is dropped then."""
        if not len(self._batch) and not self._changed:
            return True
        batch, self._batch = self._batch, Batch(key=self.key)
        self._changed = False
        # A parent may tell of the end before the journal is read to its end: that alone ends nothing.
        is_dead = self._gone and self.state.gone is not None and self._offset >= self._read_to
        final = self.is_over or self.state.complete is not None or is_dead
        batch.close(
            seq=self.cursor,
            offset=self._offset,
            observed=self._observed,
            final=final,
            ingest=self.ingest,
            state=self.state,
        )
        try:
            if len(batch):
                await trio.to_thread.run_sync(_sync, self.journal)
            await self._committer.commit(batch)
        except (OSError, StoreError) as error:
            await self._start_over(error)
            return False
        self.trouble = ""
        self.stored = batch.seq
        self.is_over = final
        self._make_room()
        for connection in list(self._connections):
            connection.ack(self.stored)
        return True

    async def _start_over(self, error: Exception) -> None:
        """After a failed sync or commit: what is stored is asked anew, and the journal is read from there."""
        self.trouble = f"run {self.run_id}: {error}"
        log.error("%s; trying again from the journal", self.trouble)
        self._make_room()
        found = None
        while found is None:  # going on without knowing would leave out what was in the batch
            await trio.sleep(RETRY_S)
            try:
                found = await self._committer.call(lambda store: store.find_run(self.run_id))
            except StoreError as again:
                self.trouble = f"run {self.run_id}: {again}"
        self.stored = self.cursor = found.seq
        self._offset = found.offset
        self._observed = found.observed
        self.state = found.state
        self.ingest = {**_NO_INGEST, **found.ingest}
        self._batch = Batch(key=self.key)
        # An exit status means something only once it is known whose it is: after the journal.
        self._fold_later = True
        self.read_journal()

    def _make_room(self) -> None:
        self._room.set()
        self._room = trio.Event()

    async def _watch_process(self) -> None:
        """Wait until the producer's process is gone, then have the journal read to its end."""
        while True:
            identity = ProcessIdentity.from_payload(self.state.start.get("process"))
            was_alive = self._liveness is Liveness.ALIVE
            self._liveness = identity.liveness() if identity is not None else Liveness.UNKNOWN
            if identity is not None and self._liveness is Liveness.ALIVE:
                await _wait_for_end(identity)
                continue
            if self._liveness is Liveness.GONE:
                self._gone = True
                self._gone_at = clock.wall() if was_alive else None
                self.read_journal()
                return
            await trio.sleep(0.25)  # runStart is not there yet, or the process is not visible from here

    async def _pronounce_dead(self) -> None:
        """The process is gone and its journal is read to the end: say so, and store that the run is over."""
        if self.state.complete is None and self.state.gone is None:
            torn = _tail(self.journal)
            log.warning(
                "run %s: process %d is gone before its run was over; %d events stored, %d bytes of an unfinished line",
                self.run_id,
                self.state.pid,
                self.stored,
                torn,
            )
            slots = believable(now_page(self._state_dir, self.run_id)[1], self.state.seq)
            # A process that was gone when first looked at ended some time after its last line.
            when = self._gone_at or self.state.updated
            await self._append_observation(ObservationType.PROCESS_GONE, gone_payload(self.state, slots), when)
        self._changed = True  # its parent may have told of the end before it was seen from here
        self._wake.set()

    async def _append_observation(self, event_type: str, payload: dict[str, object], timestamp: float) -> None:
        path = self._state_dir.observed(self.run_id)
        await trio.to_thread.run_sync(append_observation, path, event_type, payload, timestamp)
        self._fold_observations()

    def _fold_observations(self) -> None:
        self._fold_later = False
        path = self._state_dir.observed(self.run_id)
        for record in observations(path, self._observed):
            self._observed = record.end
            if record.event is not None:
                self.state.observe(record.event)
        self._changed = True
        self._wake.set()


async def _wait_for_end(identity: ProcessIdentity) -> None:
    """Return when the process has ended, or when it should be looked at again."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        await trio.sleep(0.25)  # it just ended, or no descriptor is left
        return
    try:
        # Looked at again: between the look and the open the pid may have become another process's.
        if identity.liveness() is Liveness.ALIVE:
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _read_batch(path: Path, offset: int, read_to: int) -> tuple[list[tuple[bytes, int]], bool]:
    """Return (line, offset behind it) from `offset`, a quarter of a batch at most, and whether a whole line follows."""
    found: list[tuple[bytes, int]] = []
    with _opened(path) as fd, closing(whole_lines(fd, offset)) as lines:
        for raw, end in lines:
            found.append((raw, end))
            if end >= read_to or end - offset >= BATCH_BYTES // 4 or len(found) >= BATCH_EVENTS // 4:
                break
        return found, next(lines, None) is not None


def _sync(path: Path) -> None:
    """Sync the journal through a descriptor of our own: the tested process does not wait for the disk."""
    with _opened(path) as fd:
        os.fdatasync(fd)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tail(path: Path) -> int:
    try:
        return tail_size(path)
    except OSError:
        return 0
