"""Run: one task a run. It owns the run's position and is the only way into the store.

Lines come over the socket (`offer`) or from the journal (read by this task); whichever way, a line is taken only if it
is the next one. One loop does the rest: read what is missing, sync the journal, commit, ack. The order matters: the
store is never ahead of the journal's synced part. What the journal's own files cannot hold - a file whose sync failed, a
line that the adapter could not write - goes into a file of our own before it is taken (`Keeper`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final, Protocol

import trio

from threepio_client import clock
from threepio_client.archive import StoredRun
from threepio_client.errors import BadLine, RemoteProtocolError
from threepio_client.events import ObservationType
from threepio_client.files import foreign
from threepio_client.journal import JournalError, append_observation
from threepio_client.line import Event, checksum, decode_all
from threepio_client.observed import gone_payload, last_seen, observations
from threepio_client.paths import StateDir
from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.protocol import Lines, Unjournaled
from threepio_client.runfiles import size_of
from threepio_client.runjournal import RunJournal, Step
from threepiod import worktree
from threepiod.batch import Batch
from threepiod.checksums import Checksums
from threepiod.committer import Committer
from threepiod.keeper import Keeper
from threepiod.producer import Producer
from threepiod.store import Store, StoreError

BATCH_BYTES: Final = 1024 * 1024
BATCH_EVENTS: Final = 10_000
"""A batch is the memory of one run: half of the bytes that an adapter may have un-acked (protocol.WINDOW), so that the
next one gathers while it is stored."""
GATHER_S: Final = 0.100
"""How long a commit waits for more events: ten commits a second for a busy run cost the daemon little, and nobody
waits for one. Not waited when the batch is half full or the run is ending."""
SETTLE_POLL_S: Final = 0.005
RETRY_S: Final = 1.0
"""Pause after the store refused a batch."""
DOUBTFUL_LIMIT: Final = 1_000
"""Repeated lines whose checksum waits to be asked of the store; `verify` compares all of them anyway."""

NO_INGEST: Final = {"from_socket": 0, "from_journal": 0, "duplicates": 0}

TOTALS: Final = ("received", "stored", "duplicates", "conflicts", "corrupt", "kept", "failures")
"""Of lines: received, stored, dropped because they came again, with other content, unreadable, journaled by the daemon
itself; and how often something could not be written, synced or read."""

log = logging.getLogger("threepiod.run")


class Adapter(Protocol):
    """What a run sees of a connection."""

    @property
    def is_drained(self) -> bool:
        """Whether everything that came so far was offered to the run."""

    def ack(self, seq: int) -> None:
        """Tell the adapter that everything up to `seq` is stored and synced."""


class Run:
    """The daemon's side of one run.

    Attributes:
        run_id, producer_id: the run's identity.
        key: its number in the store.
        journal: its files, and how far they are read.
        cursor: last line taken, from either source.
        stored: last line stored and synced.
        state: the live view: all that was taken.
        ingest: counters of how the lines came.
        is_over: whether nothing more is expected, and everything is stored.
        trouble: why the run's events cannot be stored now; empty while they can.
        over: set when the run's work has ended.
        acked: last line that a connected adapter was told is stored and synced.
        totals: what happened to its lines since the daemon started, by the names of `TOTALS`.
    """

    def __init__(
        self,
        found: StoredRun,
        state_dir: StateDir,
        committer: Committer,
        report: Callable[[str], None] = log.error,
        told: Callable[[str, Batch], None] | None = None,
    ) -> None:
        """Begin where the store stands.

        Args:
            found: what is stored of the run.
            state_dir: where its journal is.
            committer: the way into the store.
            report: is told of every error that is survived, once for each cause.
            told: is given the run's id and every batch that was stored.
        """
        self.run_id = found.run_id
        self.producer_id = found.producer_id
        self.journal = RunJournal(state_dir, found.run_id, found.offsets)
        self.key = found.key
        self.cursor = self.stored = found.seq
        self.state = found.state
        self.ingest = {**NO_INGEST, **found.ingest}
        self.is_over = found.final
        self.trouble = ""
        self.acked = 0
        self.over = trio.Event()
        self.totals: Counter[str] = Counter()
        self._trouble_at = 0.0
        self._observed = found.observed
        self._state_dir = state_dir
        self._committer = committer
        self._report = report
        self._told = told
        self._batch = Batch(key=found.key)
        self._keeper = Keeper(state_dir, self.journal)
        self._checksums = Checksums(found.seq)
        self._doubtful: list[tuple[int, bytes, str]] = []
        self._sizes_at_tick: dict[int, int] = {}
        self._came = 0
        self._producer = Producer()
        self._tree_asked = False
        self._tree_lock = trio.Lock()
        self._wake = trio.Event()
        self._is_gathering = False
        self._changed = False
        self._fold_later = self.is_observed_anew
        self._connections: set[Adapter] = set()

    # For connections

    @property
    def is_connected(self) -> bool:
        """Whether an adapter is connected."""
        return bool(self._connections)

    def attach(self, connection: Adapter, identity: ProcessIdentity | None = None) -> None:
        """Let a connection have this run's acks; compare the journal with the cursor.

        Args:
            connection: to be told of acks.
            identity: the adapter's process, by its HELLO: it may die before its first line.
        """
        self._connections.add(connection)
        self._producer.is_given_up = False
        self._find_process()
        self._producer.identify(identity)
        self.read_journal()

    def detach(self, connection: Adapter) -> None:
        """Forget a connection. The end of a stream says nothing about the process."""
        self._connections.discard(connection)

    def offer(self, lines: Lines) -> None:
        """Take the lines that are next; drop those that are taken already; read the journal for what lies between.

        Raises:
            RemoteProtocolError: a line is bad, has another seq than its place says, or other content than before; or the
                run's work has ended, so that nobody would store it.
        """
        known = min(max(self.cursor + 1 - lines.first_seq, 0), len(lines.lines))
        for seq, raw in enumerate(lines.lines[:known], lines.first_seq):
            self._drop_received(seq, raw)
        seq, new = lines.first_seq + known, lines.lines[known:]
        # While its events cannot be stored, those that stand in a file are left there: memory stays bounded.
        if not new:
            self._wake.set()
            return
        self._check_at_work()
        # Where they do not begin at the place up to which the file is read, there is something else between.
        begin = lines.end - sum(map(len, new)) - len(new)
        is_next = seq == self.cursor + 1 and begin == self.journal.offsets.get(lines.file, 0)
        if not is_next or (self.trouble and self.journal.has(lines.file)):
            self.read_journal()
            return
        events: list[Event] = []
        try:
            for event in decode_all(new):
                events.append(_checked(event, seq))
                seq += 1
        finally:
            taken = self._take(events, new, lines.file)
            if taken:
                rest = new[taken:]
                self.journal.offsets[lines.file] = lines.end - sum(map(len, rest)) - len(rest)
                self._came += sum(map(len, new)) - sum(map(len, rest))
                self.ingest["from_socket"] += taken
            if not self._is_gathering or self._is_due:
                self._wake.set()

    def offer_unjournaled(self, lines: Unjournaled) -> None:
        """Journal the lines that the adapter could not write; they are taken from there, in their turn.

        Raises:
            RemoteProtocolError: as for `offer`.
        """
        for seq, (raw, found) in enumerate(zip(lines.lines, decode_all(lines.lines), strict=True), lines.first_seq):
            event = _checked(found, seq)
            if seq <= self.cursor:
                self._drop_received(seq, raw)
            else:
                self._check_at_work()
                self._keep(raw, event)
        self.read_journal()

    def bye(self, last_seq: int) -> None:
        """The adapter says that it wrote up to `last_seq` and waits for it to be stored."""
        if last_seq > self.cursor:
            self.read_journal()
        self._wake.set()

    async def room(self) -> None:
        """Wait until the batch has room. A connection waits here before it reads on: that is the backpressure."""
        while (self._is_full() or self._committer.is_full) and not self.trouble:
            await self._committer.room.wait()

    # For the daemon

    def read_journal(self) -> None:
        """Have everything read that is in the journal now."""
        try:
            self.journal.targets = self.journal.look()
        except OSError as error:
            self._note(f"cannot open its journal: {error}")
        self._wake.set()

    def tick(self) -> None:
        """Notice what did not come over the socket: bytes that were there a tick ago and are not taken yet.

        While the socket brings that much in a tick, the rest is on its way there: a line that is left out shows by itself.
        """
        offsets, targets = self.journal.offsets, self.journal.targets
        came, self._came = self._came, 0
        behind = sum(max(size - offsets.get(number, 0), 0) for number, size in self._sizes_at_tick.items())
        if behind > came:
            # Never less than was asked for meanwhile: the process may be gone, and its journal is to be read to the end.
            self.journal.targets = targets | {
                n: max(size, targets.get(n, 0)) for n, size in self._sizes_at_tick.items()
            }
            self._wake.set()
        try:
            self._sizes_at_tick = self.journal.look()
        except OSError as error:
            self._note(f"cannot open its journal: {error}")

    @property
    def trouble_note(self) -> dict[str, object] | None:
        """`trouble` with its time, or None."""
        return {"time": round(self._trouble_at, 3), "text": self.trouble} if self.trouble else None

    @property
    def is_observed_anew(self) -> bool:
        """Whether somebody wrote an observation that is not folded in."""
        return self._observed < size_of(self._state_dir.observed(self.run_id))

    @property
    def liveness(self) -> Liveness:
        """Whether the run's process was alive when it was last looked at."""
        return self._producer.liveness

    @property
    def is_unseen(self) -> bool:
        """Whether nothing can be seen of it: no adapter is connected, and whether its process lives is not known."""
        return not self.is_connected and self.liveness is Liveness.UNKNOWN and not self._producer.is_gone

    def give_up(self) -> None:
        """Take a process of which nothing can be seen for gone: the journal is read to its end, and the run is over.

        An adapter that connects before that takes it back.
        """
        self._producer.is_given_up = True
        self.read_journal()

    async def observe(self, event_type: str, payload: dict[str, object]) -> None:
        """Write an observation, fold it in and store the new state.

        What the journal holds now is taken first: an end that is told of early must not look like a death in mid-run.

        Raises:
            OSError: it cannot be written.
        """
        self.read_journal()
        while self.journal.is_behind and not self.trouble:
            await trio.sleep(SETTLE_POLL_S)
        await self._append_observation(event_type, payload, clock.wall())

    async def settle(self) -> None:
        """Return when all that is taken now is stored, or cannot be."""
        upto = self.cursor
        while (self.stored < upto or self._changed) and not self.trouble:
            await trio.sleep(SETTLE_POLL_S)

    async def serve(self) -> None:
        """Do the run's work until it is over and everything is stored."""
        self.read_journal()
        self._find_process()  # of a run that is wholly stored no line will ask for it
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_process)
                await self._work(nursery)
                if self.state.tree or self._tree_asked:
                    await self._note_tree("end")
                    await self._work(nursery)
                nursery.cancel_scope.cancel()
        finally:
            self.over.set()
            self._committer.release(self._batch.size)  # of a run whose work ended by an error, or that is stopped
            self._batch = Batch(key=self.key)
            self._keeper.close()
            self.journal.close()

    async def late_end(self) -> dict[str, object]:
        """Wait until the process of a run that is over is gone, too.

        Returns:
            How it ended, as the payload of an observation, where the runner said that it would end in another way;
            else empty.
        """
        if not self._find_process():
            return {}
        try:
            # Of one that cannot be seen from here nothing will ever be told.
            if self.state.complete is None or self.liveness is Liveness.UNKNOWN:
                return {}
            await self._producer.wait_gone()
            end = self._producer.end
            return {} if end.get("exitCode") == self.state.told_code else end
        finally:
            self._producer.close()

    # Inside

    async def _work(self, nursery: trio.Nursery) -> None:
        """Read, store and ack until the run is over and everything is stored."""
        while not self.is_over or self.has_work:
            await self._wake.wait()
            self._wake = trio.Event()
            await self._gather()
            while self.has_work:
                self._committer.pulse += 1
                await self._read_some()
                if self.state.start and not self._tree_asked:
                    self._find_process()
                    self._tree_asked = True
                    nursery.start_soon(self._note_tree, "start")
                if self._fold_later and not self.journal.is_behind:
                    self._fold_observations()
                if not await self._store_batch():
                    break
            if self._producer.is_gone and not self.has_work and not self.is_over:
                await self._pronounce_dead()

    def _check_at_work(self) -> None:
        """Refuse new lines that nobody would store: they would count as taken, for all runs, for ever."""
        if self.over.is_set():
            raise RemoteProtocolError("run-over", "the work on this run has ended; its journal is looked at again")

    def _take(self, events: list[Event], lines: list[bytes], file: int) -> int:
        """Take the next lines; return how many: less than all if they cannot be journaled where they would survive."""
        if self._keeper.is_sound(file):
            self._take_from(file, events, sum(map(len, lines[: len(events)])))
            return len(events)
        for number, (event, raw) in enumerate(zip(events, lines, strict=False)):
            kept = self._keep(raw, event)
            if kept is None:
                return number
            self._take_from(kept, [event], len(raw))
        return len(events)

    def _take_from(self, file: int, events: list[Event], size: int) -> None:
        """Take the next lines, of so many bytes, from a file that is to be synced with them."""
        if not events:
            return
        if events[0].seq > self.cursor + 1:
            self._report(f"run {self.run_id}: lines {self.cursor + 1} to {events[0].seq - 1} cannot be read")
        self._batch.take(events, size, self.state)
        self._committer.taken += size
        self.cursor = events[-1].seq
        self.totals["received"] += len(events)
        self._checksums.add(events)
        self._keeper.unsynced.add(file)

    def _keep(self, raw: bytes, event: Event) -> int | None:
        """Journal a line in a file of our own; return the file's number, or None if that failed."""
        try:
            number = self._keeper.keep(raw, self.state if event.seq > 1 else None)
            self.totals["kept"] += 1
            return number
        except JournalError as error:
            self._note(f"{error}; its lines are not taken")
            return None

    def _drop_received(self, seq: int, raw: bytes) -> None:
        if not self._drop(seq, raw, "socket"):
            raise RemoteProtocolError("conflict", f"line {seq} came before, with other content")

    def _drop(self, seq: int, raw: bytes, source: str) -> bool:
        """Drop a line that was taken before; return False if that one had other content: a conflict, which is kept."""
        known = self._checksums.get(seq)
        if known is None:
            if len(self._doubtful) < DOUBTFUL_LIMIT:
                self._doubtful.append((seq, raw, source))  # asked of the store by the run's task
        elif known != checksum(raw):
            self._add_conflict(seq, raw, source)
            return False
        self.ingest["duplicates"] += 1
        self.totals["duplicates"] += 1
        return True

    def _add_conflict(self, seq: int, raw: bytes, source: str) -> None:
        if not self.state.conflicts:
            self._report(f"run {self.run_id}: line {seq} came again from the {source} with other content")
        self._batch.take_conflict(seq, source, raw, self.state)
        self.totals["conflicts"] += 1
        self._changed = True

    async def _ask_store(self) -> None:
        """Compare lines that came again long after the first time with what is stored."""
        doubtful, self._doubtful = self._doubtful, []
        for seq, raw, source in doubtful:
            known = await self._committer.call(partial(Store.checksum, key=self.key, seq=seq))
            if known is not None and known != checksum(raw):
                self._add_conflict(seq, raw, source)

    def _note(self, trouble: str) -> None:
        """Keep why the run's events cannot be stored now, logged once for each cause."""
        trouble = f"run {self.run_id}: {trouble}"
        self.totals["failures"] += 1
        if trouble != self.trouble:
            self._report(trouble)
            self._trouble_at = clock.wall()
        self.trouble = trouble

    def _is_full(self) -> bool:
        return self._batch.size >= BATCH_BYTES or len(self._batch) >= BATCH_EVENTS

    @property
    def has_work(self) -> bool:
        """Whether something is taken and not stored, or in the journal and not taken."""
        return bool(len(self._batch) or self._changed or self._fold_later or self._doubtful or self.journal.is_behind)

    @property
    def _is_due(self) -> bool:
        """Whether the group is not to grow any longer: it is large already, or the run is ending, or others wait."""
        return (
            self.state.complete is not None
            or self._producer.is_gone
            or self._batch.size >= BATCH_BYTES // 2
            or self._committer.is_full
            or self.journal.is_behind
        )

    async def _gather(self) -> None:
        """Let a group come together; what comes meanwhile over the socket wakes nobody until it is due."""
        self._is_gathering = True
        with trio.move_on_after(GATHER_S):
            while not self._is_due:
                await self._wake.wait()
                self._wake = trio.Event()
        self._is_gathering = False

    async def _read_some(self) -> None:
        """Take the next lines of the journal, at most one batch."""
        if not self.journal.is_behind or self._is_full():
            return
        while self._committer.is_full or self._committer.readers.available_tokens < 1:  # others read
            if len(self._batch):
                return  # what came over the socket is stored and acked meanwhile
            await trio.sleep(SETTLE_POLL_S)
        journal, targets = self.journal, self.journal.targets
        try:
            steps, more = await trio.to_thread.run_sync(
                partial(
                    journal.read,
                    self.cursor,
                    final=self._producer.is_gone,
                    size=BATCH_BYTES // 2,
                    count=BATCH_EVENTS // 2,
                ),
                limiter=self._committer.readers,
            )
        except OSError as error:
            self._note(f"cannot read its journal: {error.strerror}")
            await trio.sleep(RETRY_S)
            return
        at = 0
        while at < len(steps):
            step = steps[at]
            group = self._next_of(steps, at)
            at += max(len(group), 1)
            if step.end <= journal.offsets.get(step.file, 0):
                continue  # a connection took it meanwhile
            if group:
                taken = self._take([event for event, _ in group], [raw for _, raw in group], step.file)
                self.ingest["from_journal"] += taken
                if taken:
                    journal.offsets[step.file] = steps[at - len(group) + taken - 1].end
                if taken < len(group):
                    await trio.sleep(RETRY_S)
                    return
                continue
            if step.is_cut_off:
                self._report(f"run {self.run_id}: the end of its journal {step.reason}: the machine went down")
            elif step.event is None:
                if not self.state.bad_lines:
                    self._report(
                        f"run {self.run_id}: a line of its journal that ends at byte {step.end} is bad: {step.reason}"
                    )
                self.state.fold_bad_line()
                self.totals["corrupt"] += 1
                self._changed = True
            elif step.event.seq <= self.cursor:
                self._drop(step.event.seq, step.raw, "journal")
            journal.offsets[step.file] = step.end
        if not more and journal.targets is targets:
            journal.targets = {}  # what is behind is no whole line yet; the next tick looks again

    def _next_of(self, steps: list[Step], at: int) -> list[tuple[Event, bytes]]:
        """Return the lines from `at` on that are taken together: new ones without a gap, of one file."""
        group: list[tuple[Event, bytes]] = []
        file, seq = steps[at].file, 0
        for step in islice(steps, at, None):
            event = step.event
            if event is None or step.file != file or event.seq <= self.cursor or (group and event.seq != seq + 1):
                break
            seq = event.seq
            group.append((event, step.raw))
        return group

    async def _store_batch(self) -> bool:
        """Sync the journal, commit, ack. Return False if that failed; the batch is dropped then."""
        if self._doubtful:
            await self._ask_store()
        if not len(self._batch) and not self._changed:
            return True
        batch, self._batch = self._batch, Batch(key=self.key)
        self._changed = False
        # A parent may tell of the end before the journal is read to its end: that alone ends nothing.
        is_dead = self._producer.is_gone and self.state.process_gone and not self.journal.is_behind
        final = self.is_over or self.state.complete is not None or is_dead
        batch.close(
            seq=self.cursor,
            offsets=self.journal.offsets,
            observed=self._observed,
            final=final,
            ingest=self.ingest,
            state=self.state,
        )
        failure: Exception | None = None
        try:
            await self._keeper.sync()
            await self._committer.commit(batch)
        except (OSError, StoreError) as error:
            failure = error
        finally:
            self._committer.release(batch.size)  # also where an error of ours ends the work on this run
        if failure is not None:
            await self._start_over(failure)
            return False
        self.trouble = ""
        self.totals["stored"] += batch.seq - self.stored
        self.stored = batch.seq
        self.is_over = final
        if self._told is not None:
            self._told(self.run_id, batch)
        for connection in list(self._connections):
            connection.ack(self.stored)
            self.acked = self.stored
        return True

    async def _start_over(self, error: Exception) -> None:
        """After a failed sync or commit: what is stored is asked anew, and the journal is read from there."""
        self._note(f"{error}; trying again from the journal")
        found = None
        while found is None:  # going on without knowing would leave out what was in the batch
            await trio.sleep(RETRY_S)
            try:
                found = await self._committer.call(lambda store: store.find_run(self.run_id))
            except StoreError as again:
                self._note(f"{again}; trying again from the journal")
        self.stored = self.cursor = found.seq
        self._checksums = Checksums(found.seq)
        self.journal.offsets = dict(found.offsets)
        self._keeper.unsynced.clear()
        self._observed = found.observed
        self.state = found.state
        self.ingest = {**NO_INGEST, **found.ingest}
        self._committer.release(self._batch.size)
        self._batch = Batch(key=self.key)
        # An exit status means something only once it is known whose it is: after the journal.
        self._fold_later = True
        self.read_journal()

    async def _watch_process(self) -> None:
        """Wait until the producer's process is gone, then have the journal read to its end."""
        await self._producer.wait_gone()
        self._producer.has_ended = True
        self.read_journal()

    def _find_process(self) -> bool:
        """Have the process of the runStart watched; return False while it is not known which the producer's is."""
        return self._producer.identify(ProcessIdentity.from_payload(self.state.start.get("process")))

    async def _pronounce_dead(self) -> None:
        """The process is gone and its journal is read to the end: say so, and store that the run is over."""
        if not all(connection.is_drained for connection in self._connections):
            await trio.sleep(SETTLE_POLL_S)  # what it sent before it ended comes first
            self._wake.set()
            return
        if self.state.complete is None and not self.state.process_gone:
            log.warning(
                "run %s: process %d is gone before its run was over; stored up to %d, %d bytes of a line that was begun",
                self.run_id,
                self.state.pid or self._producer.pid,
                self.stored,
                self.journal.torn(),
            )
            slots = last_seen(self._state_dir, self.state, self.run_id)
            # A process that was gone when first looked at ended some time after its last line.
            end, when = self._producer.end, self._producer.ended_at or self.state.updated
            try:
                if end:
                    await self._append_observation(ObservationType.EXIT_STATUS, end, when)
                await self._append_observation(ObservationType.PROCESS_GONE, gone_payload(self.state, slots), when)
            except OSError as error:
                self._note(f"cannot write that its process is gone: {error.strerror}; trying again")
                await trio.sleep(RETRY_S)
                self._wake.set()
                return
        self._changed = True  # its parent may have told of the end before it was seen from here
        self._wake.set()

    async def _note_tree(self, when: str) -> None:
        """Note how the checkout is that the run tests, where that can be told; `when` is `start` or `end`."""
        async with self._tree_lock:
            found = await worktree.tested_tree(self.state, when)
            try:
                if found is not None:
                    await self._append_observation(ObservationType.WORK_TREE, found, clock.wall())
            except OSError as error:
                self._report(f"run {self.run_id}: cannot write how its checkout is: {error.strerror}")

    async def _append_observation(self, event_type: str, payload: dict[str, object], timestamp: float) -> None:
        path = self._state_dir.observed(self.run_id)
        await trio.to_thread.run_sync(append_observation, path, event_type, payload, timestamp)
        self._fold_observations()

    def _fold_observations(self) -> None:
        self._fold_later = False
        path = self._state_dir.observed(self.run_id)
        if why := foreign(path):
            self._report(f"run {self.run_id}: what was observed of it is not believed, because {why}")
        was_gone = self.state.process_gone
        for event, end in observations(path, self._observed):
            self._observed = end
            self.state.observe(event)
        if self.state.process_gone and not was_gone:
            self._producer.has_ended = True  # as a daemon saw that ended before it could store it
        self._changed = True
        self._wake.set()


def _checked(found: Event | BadLine, seq: int) -> Event:
    if isinstance(found, BadLine):
        raise RemoteProtocolError("bad-line", f"line {seq} is bad: {found}") from found
    if found.seq != seq:
        raise RemoteProtocolError("bad-line", f"line {seq} says that it is {found.seq}")
    return found
