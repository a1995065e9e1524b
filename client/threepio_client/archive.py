"""What is known of runs from the store and the journals, with or without a daemon.

Reads only: the store through read-only connections, and of each journal what lies beyond the stored seq. Used by the
daemon for its queries and by the commands where there is no daemon; never imported in the tested process.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from threepio_client import clock
from threepio_client.badresults import IS_BAD, TAKEN_BACK, BadResults, bad_result, collection_error
from threepio_client.errors import NoPlace, UnreadableStore
from threepio_client.events import EventType, ObservationType, Payload
from threepio_client.files import foreign
from threepio_client.here import newest
from threepio_client.line import Event
from threepio_client.observed import gone_payload, last_seen, now_page, observations
from threepio_client.paths import StateDir
from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.runfiles import find_run, is_of_another, journal_files, runs_of, started_by, was_abandoned
from threepio_client.runjournal import RunJournal, Step
from threepio_client.runstate import RunState
from threepio_client.selection import Selection, Selector
from threepio_client.views import Facts, status_view

if TYPE_CHECKING:
    from threepio_client.nowpage import InFlight

BUSY_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRun:
    """A row of the table `runs`.

    Attributes:
        key: the run's number in the store.
        run_id, producer_id: the run's identity.
        seq: the last event stored.
        offsets: bytes of each file of the journal up to it, by number.
        observed: bytes of the observation file that are in `state`.
        final: whether nothing more is expected.
        ingest: counters of how its lines came: see docs/protocol.md.
        state: the reducer's state at `seq`.
    """

    key: int
    run_id: str
    producer_id: str
    seq: int
    offsets: dict[int, int]
    observed: int
    final: bool
    ingest: dict[str, int]
    state: RunState


RUN_COLUMNS: Final = "id, run_id, producer_id, seq, offsets, observed, final, ingest, snapshot"


def offsets_of(text: str) -> dict[int, int]:
    """Return what the column `offsets` holds."""
    return {int(number): offset for number, offset in json.loads(text).items()}


def stored_run(row: tuple[Any, ...]) -> StoredRun:
    """Return the run of a row of RUN_COLUMNS."""
    key, run_id, producer_id, seq, offsets, observed, final, ingest, snapshot = row
    return StoredRun(
        key=key,
        run_id=run_id,
        producer_id=producer_id,
        seq=seq,
        offsets=offsets_of(offsets),
        observed=observed,
        final=bool(final),
        ingest=json.loads(ingest),
        state=RunState.from_snapshot(json.loads(snapshot)),
    )


def latest_first(started: dict[str, float]) -> list[str]:
    """Return the ids of runs that began at these times in the order in which they are shown."""
    return sorted(started, key=lambda run_id: (started[run_id], run_id), reverse=True)


class OverRun(NamedTuple):
    """A run of which nothing more is expected.

    Attributes:
        key, run_id, producer_id, seq, offsets: as in `StoredRun`.
        ended: time of its last event, or when its process was gone if that is later, seconds since the epoch.
        is_being_removed: whether that was begun; it may have been cut short.
    """

    key: int
    run_id: str
    producer_id: str
    seq: int
    offsets: dict[int, int]
    ended: float
    is_being_removed: bool


@dataclass(kw_only=True, slots=True)
class KnownRun:
    """A run as far as its files tell.

    Attributes:
        run_id: the run's id.
        state: store and journal folded together, observations included.
        stored: the last event that is stored.
        journaled: the last whole line of the journal.
        liveness: whether its process still runs.
        in_flight: what the now page says; only of a run that is not over.
        torn: bytes of a line that was begun and not finished, where the writer is gone.
        ingest: how its lines came into the store.
    """

    run_id: str
    state: RunState
    stored: int = 0
    journaled: int = 0
    liveness: Liveness = Liveness.UNKNOWN
    in_flight: list[InFlight] = field(default_factory=list)
    torn: int = 0
    ingest: dict[str, int] = field(default_factory=dict)


def _stored_part(run_id: str, stored: StoredRun | None) -> KnownRun:
    """Return what the store knows of a run."""
    if stored is None:
        return KnownRun(run_id=run_id, state=RunState())
    return KnownRun(run_id=run_id, state=stored.state, stored=stored.seq, ingest=dict(stored.ingest))


def unreadable(error: OSError) -> str:
    """Return what to say of a journal that we may not read."""
    return f"the journal {error.filename} cannot be read: {error.strerror}"


class Archive:
    """Store and journals of one state directory.

    Attributes:
        trouble: why the store or a journal could not be read, empty if they could or there are none.
    """

    def __init__(self, state_dir: StateDir, *, stays_open: bool = False) -> None:
        """Begin to read.

        Args:
            state_dir: where store and journals are.
            stays_open: the store is opened once for all that is asked, in one thread, until `close`.
        """
        self.state_dir = state_dir
        self.trouble = ""
        self._stays_open = stays_open
        self._opened: tuple[tuple[int, int], sqlite3.Connection] | None = None

    def close(self) -> None:
        """Close the store, if it stayed open."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def run_ids(self) -> list[str]:
        """Return the ids of all runs, the latest first."""
        return latest_first(self.started())

    def started(self) -> dict[str, float]:
        """Return when each run began, by its id, in seconds since the epoch."""
        started: dict[str, float] = {}
        with self.reading() as store:
            if store is not None:
                started = dict(store.execute("SELECT run_id, started FROM runs"))
        known = {run_id for run_id, at in started.items() if at}
        for run_id, files in self._files(known).items():
            if run_id in known:
                continue
            journal = files[min(files)]
            if why := foreign(journal):
                whose = "was the state directory copied, or a suite started by sudo? Then chown it"
                self.trouble = self.trouble or f"the journal {journal} is not read, because {why}: {whose}"
            else:
                started[run_id] = started_by(journal)
        return started

    def find(self, reference: str, here: str = "") -> str:
        """Return the run id that a reference means: an id, a unique prefix of one, or `latest`.

        Args:
            reference: what was given.
            here: directory in which it was; empty: `latest` is of any.

        Raises:
            NoSuchRun: there is no such run, or several.
            NoPlace: the state directory cannot be read.
        """
        if reference != "latest" and self.stored(reference) is not None:
            return reference  # nearly always, where it is a program that asks
        run_ids = self.run_ids()
        if reference == "latest" and run_ids:
            return newest(run_ids, self.start_of, here)
        return find_run(self.state_dir, run_ids, reference)

    def start_of(self, run_id: str) -> Payload:
        """Return a run's runStart; empty where nobody can tell it, and whoever asks for more is told why."""
        try:
            return self.beginning(run_id).start
        except OSError:
            return {}

    def is_over(self, run_id: str) -> bool:
        """Return whether the store has all that there is of a run."""
        stored = self.stored(run_id)
        return stored is not None and stored.final

    def is_alive(self, run_id: str) -> bool:
        """Return whether a run's process is there, as far as can be seen from here; its journal is not read for that."""
        if self.is_over(run_id):
            return False
        try:
            identity = ProcessIdentity.from_payload(self.beginning(run_id).start.get("process"))
        except OSError:
            return False
        return identity is not None and identity.liveness() is Liveness.ALIVE

    def stored(self, run_id: str) -> StoredRun | None:
        """Return what the store has of a run, or None: also where there is a journal of another run of this id.

        The journal of the stored one was removed then, and its id was used again; the later one is meant.
        """
        with self.reading() as store:
            if store is not None:
                row = store.execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE run_id = ?", (run_id,)).fetchone()
                if row is not None:
                    found = stored_run(row)
                    return None if self._has_other_journal(run_id, found.producer_id) else found
        return None

    def _has_other_journal(self, run_id: str, producer_id: str) -> bool:
        """Return whether the journal of this id is of another run than the one that is stored under it."""
        path = self.state_dir.journal(run_id)  # what is compressed was stored
        if not path.exists() or not producer_id or not is_of_another({0: path}, producer_id):
            return False
        self.trouble = (
            f"the store has another run {run_id}, whose journal is gone: what is said is of the one in {path}"
        )
        return True

    def runs_over(self) -> list[OverRun]:
        """Return the runs of the store that are over, in the order of their numbers."""
        with self.reading() as store:
            if store is None:
                return []
            rows = store.execute(
                "SELECT id, run_id, producer_id, seq, offsets, json_extract(snapshot, '$.updated'), "
                "json_extract(snapshot, '$.gone'), json_extract(snapshot, '$.isBeingRemoved') "
                "FROM runs WHERE final ORDER BY id"
            )
            return [
                OverRun(
                    key, run_id, producer, seq, offsets_of(offsets), max(updated or 0.0, gone or 0.0), bool(removed)
                )
                for key, run_id, producer, seq, offsets, updated, gone, removed in rows
            ]

    def beginning(self, run_id: str) -> RunState:
        """Return a run's state as far as store, first line and observations tell: when, where and of what it is a run.

        What follows in the journal is not read, so this costs the same whatever the run's size. Of a journal that we may
        not read nothing is told, and `trouble` says so: it must not keep others from being told of.

        Raises:
            OSError: its journal cannot be read, for another reason.
        """
        stored = self.stored(run_id)
        state = stored.state if stored is not None else RunState()
        if not state.start:
            try:
                for step in self.steps(run_id, stored):
                    if step.event is not None:
                        state.fold(step.event)
                    if state.start:
                        break
            except PermissionError as error:
                self.trouble = unreadable(error)
        self._observe(state, run_id, stored)
        return state

    def of_rootdir(self, rootdir: object, run_ids: Iterable[str]) -> Iterator[tuple[str, RunState]]:
        """Yield those of these runs that are of a rootdir, each with its `beginning`; raises OSError as that does."""
        for run_id in run_ids:
            state = self.beginning(run_id)
            if state.start.get("rootdir") == rootdir:
                yield run_id, state

    def _observe(self, state: RunState, run_id: str, stored: StoredRun | None) -> None:
        """Fold the observations that lie beyond the store."""
        for event, _ in observations(self.state_dir.observed(run_id), stored.observed if stored else 0):
            state.observe(event)

    def run(self, run_id: str, also: Callable[[Event], None] | None = None) -> KnownRun:
        """Return what is known of a run; where its process is gone, with the observation that it is.

        Args:
            run_id: the run.
            also: is given every event that lies beyond the store, so that who wants them does not read them again.
        """
        stored = self.stored(run_id)
        known = _stored_part(run_id, stored)
        state = known.state
        if stored is None or not stored.final:
            for step in self.steps(run_id, stored):
                if step.event is not None:
                    state.fold(step.event)
                    if also is not None:
                        also(step.event)
                elif not step.is_cut_off:
                    state.fold_bad_line()
        known.journaled = state.seq
        self._observe(state, run_id, stored)
        if state.complete is None:
            self._look_at_process(known)
        return known

    def view(self, run_id: str, source: str = "journal", also: Callable[[Event], None] | None = None) -> dict[str, Any]:
        """Return the status answer for a run, as `source` (`daemon` or `journal`) gives it; `also` as for `run`.

        Raises:
            OSError: its journal cannot be read. Where we may not, and nobody wants the events, the answer says so instead.
        """
        why = ""
        try:
            known = self.run(run_id, also)
        except PermissionError as error:
            if also is not None:
                raise
            # How it stands is asked of many at once: of this one the store may know something, and why not more is said.
            self.trouble = why = unreadable(error)
            known = _stored_part(run_id, self.stored(run_id))
        return status_view(
            known.state,
            Facts(
                run_id=run_id,
                now=clock.wall(),
                source=source,
                journaled=known.journaled,
                received=known.stored,
                stored=known.stored,
                detached=known.liveness is Liveness.UNKNOWN,
                in_flight=known.in_flight,
                torn=known.torn,
                ingest=known.ingest,
                unreadable=why,
            ),
        )

    def failures(self, run_id: str) -> dict[str, Any]:
        """Return `status` and `failures` of a run, with the journal read once."""
        found = BadResults()
        view = self.view(run_id, also=found.take)
        return {"status": view, "failures": self._with_stored(run_id, found)}

    def bad_results(self, run_id: str) -> list[dict[str, Any]]:
        """Return what failed or broke in a run, in the order in which it happened: see docs/json.md, `failures`."""
        found = BadResults()
        stored = self.stored(run_id)
        for event in self.beyond(run_id, stored):
            found.take(event)
        return self._with_stored(run_id, found)

    def _with_stored(self, run_id: str, found: BadResults) -> list[dict[str, Any]]:
        """Return the bad results of the store and those beyond it; it is asked last, so that none is in neither."""
        stored = self.stored(run_id)
        with self.reading() as store:
            if store is not None and stored is not None:
                rows = store.execute(
                    "SELECT t.nodeid, r.seq, r.status, r.phase, r.duration, r.worker, r.details FROM results r "
                    f"JOIN tests t ON t.id = r.test WHERE r.run = ? AND r.{IS_BAD}",
                    (stored.key,),
                )
                for nodeid, seq, status, phase, duration, worker, details in rows:
                    shown = json.loads(details) if details else {}
                    found.add(bad_result(nodeid, seq, status, phase, duration, worker, shown))
                collection = store.execute(
                    "SELECT seq, payload FROM events WHERE run = ? AND type = ?",
                    (stored.key, EventType.COLLECTION_ERROR),
                )
                for seq, payload in collection:
                    found.add(collection_error(seq, json.loads(payload)))
                if found.has_subtests:
                    for seq, nodeid, counts in store.execute(TAKEN_BACK, {"run": stored.key}):
                        found.take_back(seq, nodeid, json.loads(counts))
        return found.in_order()

    def selection(self, run_id: str) -> Selection:
        """Return what of a run is worth running again.

        Raises:
            OSError: its journal cannot be read.
        """
        stored = self.stored(run_id)
        selector = Selector()
        with self.reading() as store:
            if store is not None and stored is not None:
                upto = (stored.key, stored.seq)  # what came since is read from the journal
                for event_type, payload in store.execute(
                    "SELECT type, payload FROM events WHERE run = ? AND seq <= ? ORDER BY seq", upto
                ):
                    selector.take(event_type, json.loads(payload))
                for nodeid, status, phase, worker, details in store.execute(
                    "SELECT t.nodeid, r.status, r.phase, r.worker, r.details FROM results r "
                    "JOIN tests t ON t.id = r.test WHERE r.run = ? AND r.seq <= ? ORDER BY r.test, r.seq",
                    upto,
                ):
                    more = json.loads(details) if details and '"subtest"' in details else {}
                    one = {"nodeid": nodeid, "status": status, "phase": phase, "worker": worker}
                    selector.take(EventType.TEST_CASE, {**more, **one})
        state = stored.state if stored is not None else RunState()
        for event in self.beyond(run_id, stored):
            state.fold(event)
            selector.take_event(event)
        return selector.result(self.state_dir, run_id, state)

    def stored_lines(self, run_id: str) -> list[tuple[int, int, str]]:
        """Return (seq, crc, event type) of every event that the store has of a run, holes left out."""
        stored = self.stored(run_id)
        with self.reading() as store:
            if store is None or stored is None:
                return []
            return store.execute(
                "SELECT seq, crc, 'testCase' FROM results WHERE run = ? "
                "UNION ALL SELECT seq, crc, type FROM events WHERE run = ? AND type <> 'hole'",
                (stored.key, stored.key),
            ).fetchall()

    def _look_at_process(self, known: KnownRun) -> None:
        state = known.state
        identity = ProcessIdentity.from_payload(state.start.get("process"))
        if identity is not None:
            known.liveness = identity.liveness()
        elif self._was_abandoned(known.run_id, state):
            known.liveness = Liveness.GONE
        else:
            known.liveness = Liveness.UNKNOWN
        known.in_flight = now_page(self.state_dir, known.run_id).slots
        if known.liveness is Liveness.GONE or state.gone is not None:  # or its parent told how it ended
            known.torn = self.torn(known.run_id)
            if not state.process_gone:
                payload = gone_payload(state, last_seen(self.state_dir, state, known.run_id))
                state.observe(Event(1, ObservationType.PROCESS_GONE, payload, state.updated, 0))

    def _was_abandoned(self, run_id: str, state: RunState) -> bool:
        try:
            return not state.start and was_abandoned(journal_files(self.state_dir, run_id))
        except OSError:
            return False

    @contextmanager
    def reading(self, *, in_any_thread: bool = False) -> Iterator[sqlite3.Connection | None]:
        """Open the store for reading; None where there is none, or where `trouble` says why it cannot be read.

        Args:
            in_any_thread: the connection may be used in several threads, in one at a time.
        """
        store = self._open(in_any_thread=in_any_thread)
        if store is None:
            yield None
            return
        try:
            yield store
        except (sqlite3.Error, ValueError, TypeError, AttributeError) as error:  # the last three: its JSON is damaged
            raise UnreadableStore(
                f"the store {self.state_dir.store} is damaged ({error}). Make it again from the journals: "
                "threepiod stop, threepiod rebuild, threepiod start"
            ) from error
        finally:
            if not self._stays_open:
                store.close()

    def _open(self, *, in_any_thread: bool) -> sqlite3.Connection | None:
        path = self.state_dir.store
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.trouble = f"the store {path} is not read: {error.strerror}; this answer comes from the journals alone"
            return None
        file = found.st_dev, found.st_ino
        if self._opened is not None:
            if self._opened[0] == file:
                return self._opened[1]
            self.close()  # it was made anew
        if why := foreign(path):
            self.trouble = f"the store {path} is not read, because {why}; this answer comes from the journals alone"
            return None
        store = None
        try:
            store = sqlite3.connect(
                f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=not in_any_thread
            )
            store.execute("SELECT offsets FROM runs LIMIT 1").fetchone()  # also: is it of this version?
        except (sqlite3.Error, UnicodeError) as error:  # the latter: a message that quotes damaged text
            if store is not None:
                store.close()
            is_older = str(error).startswith(("no such column", "no such table: runs"))
            why = "is of an older version, threepiod restart mends that" if is_older else f"cannot be read ({error})"
            self.trouble = f"the store {path} {why}; this answer comes from the journals alone"
            return None
        if self._stays_open:
            self._opened = file, store
        return store

    def _files(self, without: Collection[str]) -> dict[str, dict[int, Path]]:
        try:
            return runs_of(self.state_dir, without)
        except FileNotFoundError:
            return {}
        except OSError as error:
            place = self.state_dir.journals
            raise NoPlace(
                f"cannot read {place}: {error.strerror}. Set THREEPIO_STATE_DIR to the right directory"
            ) from error

    def torn(self, run_id: str) -> int:
        """Return the bytes of lines of a run's journal that were begun and not finished; 0 if it cannot be read."""
        with closing(RunJournal(self.state_dir, run_id)) as journal:
            try:
                journal.look()
            except OSError:
                return 0
            return journal.torn()

    def beyond(self, run_id: str, stored: StoredRun | None, about: str = "") -> Iterator[Event]:
        """Yield the events of a run's journal beyond what is stored; none of a run of which nothing more is expected.

        Args:
            run_id: the run.
            stored: what the store has of it.
            about: a node id; only events that have it are wanted.
        """
        if stored is None or not stored.final:
            for step in self.steps(run_id, stored, about):
                if step.event is not None:
                    yield step.event

    def steps(self, run_id: str, stored: StoredRun | None, about: str = "") -> Iterator[Step]:
        """Yield the lines of a run's journal beyond what is stored, as far as it goes now; `about` as for `beyond`."""
        with closing(RunJournal(self.state_dir, run_id, stored.offsets if stored else None)) as journal:
            until = journal.look()
            yield from journal.steps(stored.seq if stored else 0, final=True, until=until, about=about)
