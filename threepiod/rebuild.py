"""Rebuild: makes the store again from the journals, with what only the old store still has.

A journal's line counts before a row of the old store. The new store is a file of its own until it is whole and on the
disk; then it takes the old one's place in one step, so that a kill at any moment leaves the one or the other. Lines
become rows as in the daemon: read by `RunJournal`, folded by `RunState`, written by `Batch` and `Store`.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from zlib import crc32

from threepio_client import answers, clock
from threepio_client.archive import StoredRun
from threepio_client.errors import ThreepioError
from threepio_client.files import sync_directory
from threepio_client.observed import observations
from threepio_client.paths import StateDir, make_private_dir
from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.runfiles import journal_files, producer_of, runs_of, size_of, started_by
from threepio_client.runjournal import RunJournal, Step
from threepio_client.runstate import OBSERVED, RunState
from threepio_client.views import VIEW_VERSION
from threepiod.batch import HOLE, Batch
from threepiod.checksums import Checksums
from threepiod.listener import AlreadyRunning, take_lock
from threepiod.oldstore import OldStore
from threepiod.run import BATCH_BYTES, BATCH_EVENTS, NO_INGEST
from threepiod.store import Store, StoreError

_BESIDE: Final = ("-wal", "-shm")
"""What SQLite keeps beside a store. A log of the old store must never be brought into the new one."""


class DaemonRuns(ThreepioError):
    """The store belongs to a running daemon."""

    exit_code = 2


@dataclass(kw_only=True, slots=True)
class Rebuilt:
    """What was done.

    Attributes:
        runs, events: what the new store has.
        old_runs, old_events: what of these came from the old store only, because no journal has it.
        unreadable: what could not be read and is in the new store in no other way.
        kept: where the old store is, if it was damaged.
        seconds: how long it took.
    """

    runs: int = 0
    events: int = 0
    old_runs: int = 0
    old_events: int = 0
    unreadable: list[str] = field(default_factory=list)
    kept: Path | None = None
    seconds: float = 0.0

    def to_json(self) -> answers.Rebuilt:
        """Return what `threepiod rebuild --json` prints: see docs/json.md."""
        return {
            "schema_version": VIEW_VERSION,
            "runs": self.runs,
            "events": self.events,
            "old_runs": self.old_runs,
            "old_events": self.old_events,
            "unreadable": self.unreadable,
            "kept": str(self.kept) if self.kept else None,
            "seconds": round(self.seconds, 3),
        }


def rebuild(state_dir: StateDir) -> Rebuilt:
    """Make the store again.

    Raises:
        DaemonRuns: a daemon keeps this store.
        StoreError: the new store cannot be made, or the old one is a newer version's; the old one is as it was.
        NoPlace: the state directory cannot be used.
    """
    started = clock.monotonic()
    os.umask(0o077)
    for directory in (state_dir.path, state_dir.journals):
        make_private_dir(directory)
    try:
        lock = take_lock(state_dir.lock)
    except AlreadyRunning as error:
        raise DaemonRuns(f"{error}. Stop it first: threepiod stop") from None
    try:
        made = _rebuild(state_dir)
    except OSError as error:
        raise StoreError(f"cannot make the store again: {error}") from error
    finally:
        new = _new(state_dir)
        _remove(new, *_beside(new))
        os.close(lock)
    made.seconds = clock.monotonic() - started
    return made


def _rebuild(state_dir: StateDir) -> Rebuilt:
    new = _new(state_dir)
    _remove(new, *_beside(new))
    made = Rebuilt()
    with closing(OldStore(state_dir.store)) as old:
        with closing(Store(new)) as store:
            old_runs = {run.run_id: run for run in old.runs()}
            if not old.has_every_run:
                made.unreadable.append(f"the old store's list of runs, but for {len(old_runs)}: {old.damage[-1]}")
            for run_id, producer_id in _in_order(state_dir, old_runs, made):
                _Filling(store, state_dir, run_id, producer_id, old, old_runs.get(run_id), made).fill()
            if not store.checkpoint():
                raise StoreError(f"somebody reads {new}: nobody should")
        is_damaged = bool(old.damage)
    _sync(new)
    made.kept = _put_in_place(state_dir.store, new, keep=is_damaged)
    return made


def _in_order(state_dir: StateDir, old_runs: dict[str, StoredRun], made: Rebuilt) -> list[tuple[str, str]]:
    """Return (run id, producer id) of every run: those of the old store in its order, then the others by their start."""
    new = []
    for run_id, files in runs_of(state_dir).items():
        if run_id in old_runs:
            continue
        first = files[min(files)]
        try:
            producer_id = producer_of(files)
        except OSError as error:
            made.unreadable.append(f"the journal {first}: {error.strerror or error}")
            continue
        if producer_id is not None:  # else nothing is there yet
            new.append((started_by(first), run_id, producer_id))
    return [(run.run_id, run.producer_id) for run in old_runs.values()] + [found[1:] for found in sorted(new)]


class _Filling:
    """One run on its way into the new store."""

    def __init__(
        self,
        store: Store,
        state_dir: StateDir,
        run_id: str,
        producer_id: str,
        old: OldStore,
        old_run: StoredRun | None,
        made: Rebuilt,
    ) -> None:
        self._store = store
        self._state_dir = state_dir
        self._old = old
        self._old_run = old_run
        self._made = made
        self._run = store.add_run(run_id, producer_id, old_run.key if old_run else None)
        self._batch = Batch(key=self._run.key)
        self._state = RunState()
        self._checksums = Checksums(0)
        self._conflicts: set[tuple[int, int]] = set()
        self._repeated = self._from_old = self._observed = 0
        self._offsets = dict(old_run.offsets) if old_run else {}
        self._rows = old.rows_of(old_run) if old_run else None

    def fill(self) -> None:
        """Write the run's rows."""
        with closing(RunJournal(self._state_dir, self._run.run_id)) as journal:
            try:
                if self._is_ours(journal):
                    self._read(journal, final=False)
                    if self._is_ended():
                        self._read(journal, final=True)
            except OSError as error:
                self._made.unreadable.append(f"a journal of run {self._run.run_id}: {error.strerror or error}")
        self._take_old(1 << 62)
        self._take_old_facts()
        self._observe()
        self._write(final=self._is_final())
        self._made.runs += 1
        self._made.old_runs += bool(self._from_old)
        self._made.old_events += self._from_old

    def _is_ours(self, journal: RunJournal) -> bool:
        if not journal.look() or self._old_run is None:
            return journal.is_there
        found = producer_of(journal_files(self._state_dir, self._run.run_id))
        if found not in (None, self._run.producer_id):
            self._made.unreadable.append(f"the journal of run {self._run.run_id} is another run's than the stored one")
            return False
        return True

    def _read(self, journal: RunJournal, *, final: bool) -> None:
        for step in journal.steps(self._state.seq, final=final):
            self._take(step)
            journal.offsets[step.file] = self._offsets[step.file] = step.end
            if len(self._batch) >= BATCH_EVENTS or self._batch.size >= BATCH_BYTES:
                self._write(final=False)

    def _take(self, step: Step) -> None:
        event, state = step.event, self._state
        if step.is_cut_off:
            pass  # the run ends where its journal does
        elif event is None:
            state.fold_bad_line()
        elif event.seq > state.seq:
            self._take_old(event.seq)
            self._batch.take([event], len(step.raw), state)
            self._checksums.add([event])
        elif self._checksum(event.seq) not in (None, event.crc):
            self._batch.take_conflict(event.seq, "journal", step.raw, state)
            self._conflicts.add((event.seq, crc32(step.raw)))
        else:
            self._repeated += 1

    def _take_old(self, before: int) -> None:
        """Take from the old store what comes before a seq and is in no journal."""
        if self._rows is None or self._state.seq + 1 >= before:
            return
        for event in self._rows.between(self._state.seq, before):
            self._batch.take([event], 0, self._state)
            self._checksums.add([event])
            self._from_old += 1
            if len(self._batch) >= BATCH_EVENTS:
                self._write(final=False)

    def _take_old_facts(self) -> None:
        """Take the old state where it rests on more than can be folded again, and what never was in a journal."""
        old, state = self._old_run, self._state
        if old is None:
            return
        conflicts = max(old.state.conflicts, state.conflicts)
        holes = state.holes
        if old.seq > state.seq:
            holes += old.seq - state.seq
            self._batch.add_hole(state.seq + 1, old.seq, old.state.updated)
        if holes > old.state.holes and old.seq >= state.seq:
            missing = holes - old.state.holes
            self._made.unreadable.append(f"{missing} events of run {old.run_id}: in no journal, and not to be read")
        if old.seq >= state.seq and (self._from_old or old.seq > state.seq):
            self._state = state = old.state
            state.holes = max(holes, state.holes)
        state.conflicts = conflicts
        self._batch.conflicts += [
            (self._run.key, seq, source, line)
            for seq, source, line in self._old.conflicts(old)
            if source == "socket" or (seq, crc32(line)) not in self._conflicts
        ]

    def _observe(self) -> None:
        old, path = self._old_run, self._state_dir.observed(self._run.run_id)
        if old is not None and (self._state is old.state or old.observed > size_of(path)):
            self._observed = old.observed
            for name in OBSERVED:
                setattr(self._state, name, getattr(old.state, name))
        for event, end in observations(path, self._observed):
            self._observed = end
            self._state.observe(event)

    def _is_ended(self) -> bool:
        identity = ProcessIdentity.from_payload(self._state.start.get("process"))
        return identity is not None and identity.liveness() is Liveness.GONE

    def _is_final(self) -> bool:
        state = self._state
        was_final = self._old_run is not None and self._old_run.final
        return was_final or state.complete is not None or (state.gone is not None and self._is_ended())

    def _checksum(self, seq: int) -> int | None:
        known = self._checksums.get(seq)
        return self._store.checksum(self._run.key, seq) if known is None else known

    def _write(self, *, final: bool) -> None:
        batch = self._batch
        self._made.events += len(batch.passed) + len(batch.results) + sum(row[2] != HOLE for row in batch.events)
        batch.close(
            seq=self._state.seq,
            offsets=self._offsets,
            observed=self._observed,
            final=final,
            ingest=self._ingest(),
            state=self._state,
        )
        self._store.write([batch])
        self._batch = Batch(key=self._run.key)

    def _ingest(self) -> dict[str, int]:
        old = self._old_run
        if old is None:
            return {**NO_INGEST, "from_journal": self._state.seq, "duplicates": self._repeated}
        known = {**NO_INGEST, **old.ingest}
        known["from_journal"] += max(self._state.seq - old.seq, 0)
        return known


def _put_in_place(store: Path, new: Path, *, keep: bool) -> Path | None:
    """Let the new store take the old one's name; return where the old one is, if it is to be kept."""
    kept = None
    wal, shm = _beside(store)
    if keep and store.exists():
        kept = _free_name(store)
        try:
            os.link(store, kept)
        except OSError:  # a file system without hard links
            os.rename(store, kept)
        if wal.exists():
            os.rename(wal, _beside(kept)[0])
    _remove(wal, shm)  # of a whole store the log is copied into it already
    sync_directory(store.parent)
    os.replace(new, store)
    sync_directory(store.parent)
    return kept


def put_aside(store: Path) -> Path:
    """Give a damaged store, and the log beside it, another name, so that a new one can be made; return that name."""
    kept = _free_name(store)
    wal, shm = _beside(store)
    if wal.exists():
        os.rename(wal, _beside(kept)[0])  # first: a new store must never find the log of another one
    _remove(shm)
    sync_directory(store.parent)
    os.rename(store, kept)
    sync_directory(store.parent)
    return kept


def _free_name(store: Path) -> Path:
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (f"store-{now}{suffix}{store.suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1_000))))
    return next(path for name in names if not (path := store.with_name(name)).exists())


def _new(state_dir: StateDir) -> Path:
    return state_dir.store.with_name(f"{state_dir.store.name}.new")


def _beside(store: Path) -> list[Path]:
    return [store.with_name(store.name + suffix) for suffix in _BESIDE]


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
