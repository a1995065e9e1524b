"""The rules of the event path, each with a small change of the product that breaks it: what the traces must notice.

A mutation replaces a method of the real parts while a trace runs; its docstring begins with the name of the model's rule.
Rules that no mutation stands for: PRUNE (nothing is removed yet), IDENT (a taken run id becomes another one when the
journal is made), DROP (a variant of CURSOR, and what the product does).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from threepio_client import process, runfiles, runjournal
from threepio_client.journal import JournalError, JournalWriter, tail_size
from threepio_client.link import Link
from threepio_client.newfiles import make_next_file
from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.protocol import Lines, Unjournaled
from threepio_client.runjournal import RunJournal
from threepiod import keeper
from threepiod.batch import Batch
from threepiod.keeper import Keeper
from threepiod.run import Run

Mutation = Callable[[pytest.MonkeyPatch], None]


def torn_tail_is_the_end(patch: pytest.MonkeyPatch) -> None:
    """TAIL: an incomplete last line of a living writer is passed over, not waited for."""
    steps = RunJournal.steps

    def careless(self: RunJournal, seq: int, *, final: bool) -> Any:
        yield from steps(self, seq, final=final)
        if not final and 0 in self._files and tail_size(self._files[0]):
            self.offsets[0] = Path(f"/proc/self/fd/{self._files[0]}").stat().st_size

    patch.setattr(RunJournal, "steps", careless)


def gap_is_filled_beside(patch: pytest.MonkeyPatch) -> None:
    """CURSOR: a line beyond the next one is taken all the same."""
    offer = Run.offer

    def careless(self: Run, lines: Lines) -> None:
        if lines.first_seq > self.cursor + 1:
            self.cursor = lines.first_seq - 1
        offer(self, lines)

    patch.setattr(Run, "offer", careless)


def gap_is_counted_from_stored(patch: pytest.MonkeyPatch) -> None:
    """TAKEN: at a gap the run goes on from what is stored, not from what is taken."""
    offer = Run.offer

    def careless(self: Run, lines: Lines) -> None:
        if lines.first_seq > self.cursor + 1:
            self.cursor = self.stored
            self.journal.offsets = {}
        offer(self, lines)

    patch.setattr(Run, "offer", careless)


def nobody_watches(patch: pytest.MonkeyPatch) -> None:
    """WATCH: the daemon does not compare the journal with the cursor by itself."""
    patch.setattr(Run, "tick", lambda self: None)


def verdict_before_the_last_read(patch: pytest.MonkeyPatch) -> None:
    """LAST: the verdict does not wait until the journal is read to its end."""

    async def careless(self: Run) -> None:
        while True:
            identity = ProcessIdentity.from_payload(self.state.start.get("process"))
            if identity is not None and identity.liveness() is Liveness.GONE:
                self._find_process()
                self._producer.has_ended = True
                self.journal.targets = {}
                self._wake.set()
                return
            await trio.sleep(0.05)

    patch.setattr(Run, "_watch_process", careless)


def death_waits_for_the_end_of_the_stream(patch: pytest.MonkeyPatch) -> None:
    """DEATH: a process is not looked at while its connection stands."""
    watch = Run._watch_process

    async def careless(self: Run) -> None:
        await trio.sleep(0.1)
        while self.is_connected:
            await trio.sleep(0.1)
        await watch(self)

    patch.setattr(Run, "_watch_process", careless)


def end_of_stream_is_death(patch: pytest.MonkeyPatch) -> None:
    """DEATH: the end of a stream means that its process is gone."""
    detach = Run.detach

    def careless(self: Run, connection: Any) -> None:
        detach(self, connection)
        self._producer.has_ended = True
        self.read_journal()

    patch.setattr(Run, "detach", careless)


def pid_is_the_process(patch: pytest.MonkeyPatch) -> None:
    """DEATH: a process is known by its pid alone."""

    def careless(self: ProcessIdentity) -> Liveness:
        return Liveness.GONE if process._state_and_start(self.pid) is None else Liveness.ALIVE

    patch.setattr(ProcessIdentity, "liveness", careless)


def no_sync_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """JSYNC: the journal is not synced before its lines are committed."""

    async def careless(self: Keeper) -> None:
        self.unsynced.clear()

    patch.setattr(Keeper, "sync", careless)


def name_is_not_synced(patch: pytest.MonkeyPatch) -> None:
    """JSYNC: the file is synced, its name in the directory is not."""
    patch.setattr(runjournal, "sync_directory", lambda path: None)
    patch.setattr("threepio_client.journal.sync_directory", lambda path: None)


def sync_is_tried_again(patch: pytest.MonkeyPatch) -> None:
    """JSYNC: a failed sync is tried again, and what it says then is believed."""
    patch.setattr(Keeper, "is_sound", lambda self, number: True)


def first_file_only(patch: pytest.MonkeyPatch) -> None:
    """CONT: only the first file of a journal is read."""
    patch.setattr(
        runjournal,
        "journal_files",
        lambda state_dir, run_id: {k: v for k, v in runfiles.journal_files(state_dir, run_id).items() if k == 0},
    )


def batch_is_kept_after_a_failed_commit(patch: pytest.MonkeyPatch) -> None:
    """ERR: after a failed commit the same batch is tried again, without asking what is stored."""
    start_over = Run._start_over
    store_batch = Run._store_batch
    kept: dict[int, Batch] = {}

    async def remember(self: Run) -> bool:
        kept[id(self)] = self._batch
        return await store_batch(self)

    async def careless(self: Run, error: Exception) -> None:
        cursor, offsets, state = self.cursor, dict(self.journal.offsets), self.state
        batch = kept[id(self)]
        await start_over(self, error)
        self.cursor, self.journal.offsets, self.state, self._batch = cursor, offsets, state, batch

    patch.setattr(Run, "_store_batch", remember)
    patch.setattr(Run, "_start_over", careless)


def failed_commit_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """ERR: after a failed commit the run goes on from what it has taken."""
    start_over = Run._start_over

    async def careless(self: Run, error: Exception) -> None:
        cursor, offsets, state = self.cursor, dict(self.journal.offsets), self.state
        await start_over(self, error)
        self.cursor, self.journal.offsets, self.state = cursor, offsets, state

    patch.setattr(Run, "_start_over", careless)


def partly_sent_frame_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """FRAME: what is left of a frame when the budget is over is not sent."""
    offer = Link.offer

    def careless(self: Link, *arguments: Any, **options: Any) -> None:
        try:
            offer(self, *arguments, **options)
        finally:
            self._out = b""

    patch.setattr(Link, "offer", careless)


def daemon_writes_nothing_again(patch: pytest.MonkeyPatch) -> None:
    """COPY: what a failed sync was to cover is taken as it is, and written nowhere else."""

    def careless(self: Keeper, raw: bytes, state: Any) -> int:
        raise JournalError("the daemon writes no journal")

    patch.setattr(Keeper, "keep", careless)


def acked_line_is_sent(patch: pytest.MonkeyPatch) -> None:
    """ACKED: a line that was acked while its emit waited is sent all the same, and its credit never comes back."""
    offer, has_room = Link.offer, Link._has_room
    hidden: list[int] = []

    def look_away(self: Link, size: int, lines: int = 1) -> bool:
        found = has_room(self, size, lines)
        hidden.append(self.acked)
        self.acked = 0
        return found

    def careless(self: Link, *arguments: Any, **options: Any) -> None:
        try:
            offer(self, *arguments, **options)
        finally:
            self.acked = max([self.acked, *hidden])
            hidden.clear()

    patch.setattr(Link, "_has_room", look_away)
    patch.setattr(Link, "offer", careless)


def bad_line_is_skipped(patch: pytest.MonkeyPatch) -> None:
    """HOLE: a line that nobody can read is passed over without a word."""
    patch.setattr(Batch, "add_hole", lambda self, *arguments: None)
    patch.setattr("threepio_client.runstate.RunState.fold_bad_line", lambda self: None)


def bad_line_stops_the_reading(patch: pytest.MonkeyPatch) -> None:
    """HOLE: nothing behind a line that nobody can read is taken."""
    steps = RunJournal.steps

    def careless(self: RunJournal, seq: int, *, final: bool) -> Any:
        for step in steps(self, seq, final=final):
            if step.event is None:
                return
            yield step

    patch.setattr(RunJournal, "steps", careless)


def unjournaled_lines_are_just_taken(patch: pytest.MonkeyPatch) -> None:
    """UNJ: what the adapter could not journal is taken without being journaled."""

    def careless(self: Run, lines: Unjournaled) -> None:
        end = self.journal.offsets.get(0, 0) + sum(len(line) + 1 for line in lines.lines)
        self.offer(Lines(file=0, end=end, first_seq=lines.first_seq, lines=lines.lines))

    patch.setattr(Run, "offer_unjournaled", careless)


def seq_of_a_begun_line_is_used_again(patch: pytest.MonkeyPatch) -> None:
    """PEND: a line that was begun is forgotten, and its seq given to the next one."""
    append = JournalWriter.append

    def careless(self: JournalWriter, *event: Any) -> tuple[int, bytes]:
        seq, _, begun = self._state
        if begun is not None:
            self._state = (seq, self._check_file(), None)
        return append(self, *event)

    patch.setattr(JournalWriter, "append", careless)


def adapter_stays_in_a_file_that_failed(patch: pytest.MonkeyPatch) -> None:
    """CONT: what was not synced is not written again in the next file."""

    def careless(state_dir: Any, run_id: str, lines: Any) -> JournalWriter:
        return make_next_file(state_dir, run_id, list(lines)[:1])

    patch.setattr("threepio_client.adapter.make_next_file", careless)
    patch.setattr(keeper, "make_next_file", careless)


def one_stuck_run_stops_all(patch: pytest.MonkeyPatch) -> None:
    """JSYNC: a run whose sync does not end keeps the others from their commits."""
    sync = Keeper.sync
    one = trio.CapacityLimiter(1)

    async def careless(self: Keeper) -> None:
        async with one:
            await sync(self)

    patch.setattr(Keeper, "sync", careless)
