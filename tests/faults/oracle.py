"""The oracle: what must hold whatever was killed. It lives in a process that is never killed.

It knows from the producers' reports what was attempted, what `emit` returned for and what was acked, reads journals and
store by itself, and compares. `judge` is all of it for one run, on plain values; every promise that did not hold becomes
a sentence with its numbers. Not here: starting and killing (`scene.py`).
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.commands import call_threepio
from tests.faults.producer import NUMBERS_A_RUN, RECORD, Job, Kind, digest_of, report_path
from tests.place import Place
from threepio_client.errors import BadLine
from threepio_client.events import EventType
from threepio_client.line import decode
from threepio_client.paths import StateDir

SHOWN: Final = 5
"""Numbers that a sentence names at most."""


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What one producer said.

    Attributes:
        run_id, index: its run.
        attempted: number -> digest of what was to be emitted.
        returned: numbers for which `emit` returned.
        acked: highest seq of which the adapter knew that it was acked.
        lost: events that the adapter counted as lost.
        said: whether it said so as well.
        closed: whether it came to its end.
        is_stored: whether it was told then that all of the run is stored.
    """

    run_id: str
    index: int = 0
    attempted: dict[int, bytes] = field(default_factory=dict)
    returned: Collection[int] = ()
    acked: int = 0
    lost: int = 0
    said: bool = True
    closed: bool = False
    is_stored: bool = False


class Entry(NamedTuple):
    """What an event says: the number of a testCase of a producer, else None, and the digest."""

    number: int | None
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class Journaled:
    """What the files of a run's journal hold.

    Attributes:
        by_seq: of equal seqs the first readable.
        unreadable: file name -> lines in it that cannot be read, an unfinished last one included.
        repeated: seqs that stand twice in one file.
        other: seqs that stand twice with different content.
    """

    by_seq: dict[int, Entry] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    repeated: list[int] = field(default_factory=list)
    other: list[int] = field(default_factory=list)


class Stored(NamedTuple):
    """What the store holds of a run: its rows, and the ranges that it calls holes."""

    rows: list[tuple[int, Entry]]
    holes: int = 0


def judge(said: Reported, journal: Journaled, stored: Stored) -> list[str]:
    """Return a sentence for each promise that did not hold for a run that everybody is done with."""
    failures: list[str] = []

    def must_be_empty(what: str, found: Iterable[int]) -> None:
        numbers = sorted(found)
        if numbers:
            more = ", ..." if len(numbers) > SHOWN else ""
            shown = ", ".join(str(number) for number in numbers[:SHOWN])
            failures.append(f"run {said.run_id}: {len(numbers)} {what}: {shown}{more}")

    rows = dict(stored.rows)
    in_journal = {entry.number: entry.digest for entry in journal.by_seq.values() if entry.number is not None}
    in_store = {entry.number: entry.digest for entry in rows.values() if entry.number is not None}
    must_be_empty("acked and not stored (seq)", set(range(1, said.acked + 1)) - rows.keys())
    missing = set(said.returned) - in_journal.keys()
    if len(missing) > said.lost or (missing and not said.said):
        must_be_empty(f"returned and not in the journal, {said.lost} counted as lost (number)", missing)
    if said.lost and not said.said:
        failures.append(f"run {said.run_id}: {said.lost} counted as lost and not said")
    must_be_empty("stored and never attempted (number)", in_store.keys() - said.attempted.keys())
    must_be_empty("in the journal and never attempted (number)", in_journal.keys() - said.attempted.keys())
    must_be_empty(
        "stored with other content than attempted (number)",
        (number for number, digest in in_store.items() if said.attempted.get(number, digest) != digest),
    )
    must_be_empty(
        "in the journal with other content than attempted (number)",
        (number for number, digest in in_journal.items() if said.attempted.get(number, digest) != digest),
    )
    must_be_empty("stored twice (seq)", _doubled(seq for seq, _ in stored.rows))
    must_be_empty("stored twice (number)", _doubled(entry.number for _, entry in stored.rows))
    must_be_empty("journaled twice (number)", _doubled(entry.number for entry in journal.by_seq.values()))
    must_be_empty("twice in one file of the journal (seq)", journal.repeated)
    must_be_empty("twice in the journal with different content (seq)", journal.other)
    must_be_empty("left out by the journal (seq)", _gaps(journal.by_seq))
    must_be_empty("left out by the store (seq)", _gaps(rows))
    must_be_empty("journaled and not stored (seq)", journal.by_seq.keys() - rows.keys())
    must_be_empty("stored and not in the journal (seq)", rows.keys() - journal.by_seq.keys())
    must_be_empty(
        "stored with other content than journaled (seq)",
        (seq for seq, entry in rows.items() if journal.by_seq.get(seq, entry) != entry),
    )
    if stored.holes:
        failures.append(f"run {said.run_id}: the store has {stored.holes} holes")
    for name, count in journal.unreadable.items():
        if count > 1:
            failures.append(f"run {said.run_id}: {count} lines of {name} cannot be read: one may be torn")
    return failures


def _doubled(values: Iterable[int | None]) -> list[int]:
    return [value for value, count in Counter(values).items() if value is not None and count > 1]


def _gaps(seqs: Collection[int]) -> set[int]:
    return set(range(1, max(seqs, default=0) + 1)).difference(seqs)


def read_report(path: Path, run_id: str, index: int) -> Reported:
    """Return what the report of a run says; a record that its writer was killed in is not there yet."""
    data = path.read_bytes() if path.exists() else b""
    attempted: dict[int, bytes] = {}
    returned: set[int] = set()
    acked = lost = 0
    said, closed, is_stored = True, False, False
    for kind, number, digest in RECORD.iter_unpack(data[: len(data) - len(data) % RECORD.size]):
        match Kind(kind):
            case Kind.ATTEMPTED:
                attempted[number] = digest
            case Kind.RETURNED:
                returned.add(number)
            case Kind.ACKED:
                acked = max(acked, number)
            case Kind.LOST | Kind.LOST_UNSAID:
                lost = number
                said = kind == Kind.LOST
            case Kind.CLOSED:
                closed, is_stored = True, bool(number)
    return Reported(
        run_id=run_id,
        index=index,
        attempted=attempted,
        returned=returned,
        acked=acked,
        lost=lost,
        said=said,
        closed=closed,
        is_stored=is_stored,
    )


def journal_files(journals: Path, run_id: str) -> list[Path]:
    """Return the files of a run's journal in their order: `<run>.jsonl`, `<run>.1.jsonl` ..., compressed or not."""
    name = re.compile(re.escape(run_id) + r"(?:\.([0-9]+))?\.jsonl(?:\.gz)?")
    found = [(match, path) for path in journals.glob("*.jsonl*") if (match := name.fullmatch(path.name))]
    return [path for _, path in sorted((int(match[1] or 0), path) for match, path in found)]


def read_journal(journals: Path, run_id: str) -> Journaled:
    """Return what all files of a run's journal hold, each line decoded."""
    found = Journaled()
    for path in journal_files(journals, run_id):
        here: set[int] = set()
        data = path.read_bytes()  # compressed ten minutes after its run
        *lines, tail = (gzip.decompress(data) if path.suffix == ".gz" else data).split(b"\n")
        unreadable = int(tail != b"")
        for line in lines:
            try:
                event = decode(line)
            except BadLine:
                unreadable += 1
                continue
            entry = _entry(event.type, event.payload)
            if event.seq in here:
                found.repeated.append(event.seq)
            here.add(event.seq)
            if found.by_seq.setdefault(event.seq, entry) != entry:
                found.other.append(event.seq)
        if unreadable:
            found.unreadable[path.name] = unreadable
    return found


def _entry(event_type: str, payload: dict[str, Any]) -> Entry:
    number = payload.get("number") if event_type == EventType.TEST_CASE else None
    return Entry(number, digest_of(event_type, payload))


class StoreReader:
    """The store's rows, read by SQL of the oracle's own."""

    def __init__(self, db: sqlite3.Connection | None) -> None:
        self._db = db

    def runs(self) -> dict[str, tuple[int, int, bool]]:
        """Return run id -> (key, seq, final)."""
        return {
            run: (key, seq, bool(final))
            for run, key, seq, final in self._all("SELECT run_id, id, seq, final FROM runs")
        }

    def run(self, run_id: str) -> Stored:
        """Return the rows of a run."""
        key = self.runs().get(run_id, (-1, 0, False))[0]
        rows: list[tuple[int, Entry]] = []
        holes = 0
        for seq, kind, payload in self._all("SELECT seq, type, payload FROM events WHERE run = ?", key):
            if kind == "hole":
                holes += 1
            else:
                rows.append((seq, _entry(kind, json.loads(payload))))
        for seq, nodeid, status, phase, started, duration, worker, details in self._all(
            "SELECT r.seq, t.nodeid, r.status, r.phase, r.started, r.duration, r.worker, r.details FROM results r "
            "LEFT JOIN tests t ON t.id = r.test WHERE r.run = ?",
            key,
        ):
            file, _, name = nodeid.partition("::")
            payload = {"testName": name, "parentNames": [file], "nodeid": nodeid, "status": status, "phase": phase}
            payload |= {"started": started, "duration": duration, "worker": worker, **json.loads(details or "{}")}
            rows.append((seq, _entry(EventType.TEST_CASE, payload)))
        return Stored(rows, holes)

    def count(self, run_id: str, upto: int) -> int:
        """Return how many of the seqs up to one are stored."""
        key = self.runs().get(run_id, (-1, 0, False))[0]
        query = "SELECT seq FROM {} WHERE run = ? AND seq <= ?"
        both = f"{query.format('results')} UNION {query.format('events')}"
        return int(self._all(f"SELECT count(*) FROM ({both})", key, upto, key, upto)[0][0]) if self._db else 0

    def ownerless(self) -> int:
        """Return how many rows belong to no run."""
        count = "SELECT count(*) FROM {} WHERE run NOT IN (SELECT id FROM runs)"
        return sum(int(self._all(count.format(table))[0][0]) for table in ("results", "events")) if self._db else 0

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the store's content by table, runs and tests by name: what a second recovery must give again.

        Not in it: `ingest`, which counts by which way the lines came.
        """
        return {
            "runs": self._all(
                "SELECT run_id, producer_id, seq, offsets, observed, started, state, final, snapshot FROM runs ORDER BY 1"
            ),
            "results": self._all(
                "SELECT u.run_id, t.nodeid, r.seq, r.status, r.phase, r.started, r.duration, r.worker, r.crc, r.details "
                "FROM results r LEFT JOIN runs u ON u.id = r.run LEFT JOIN tests t ON t.id = r.test ORDER BY 1, 3"
            ),
            "events": self._all(
                "SELECT u.run_id, e.seq, e.type, e.timestamp, e.crc, e.payload "
                "FROM events e LEFT JOIN runs u ON u.id = e.run ORDER BY 1, 2"
            ),
        }

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._db.execute(query, values).fetchall() if self._db is not None else []


@contextmanager
def open_store(path: Path) -> Iterator[StoreReader]:
    """Open the store for reading; one whose first migration is not committed yet holds nothing."""
    if not path.exists():
        yield StoreReader(None)
        return
    with tempfile.TemporaryDirectory() as directory:
        if path.with_name(path.name + "-journal").exists():
            # A write of a store that is no WAL yet was cut off: only who may write can open it, so we look at a copy.
            for file in path.parent.glob(path.name + "*"):
                shutil.copy(file, directory)
            path = Path(directory, path.name)
            address = path.as_uri()
        else:
            address = f"{path.as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=10.0)) as db:
            has_tables = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone()
            yield StoreReader(db if has_tables else None)


class Oracle:
    """Watches the runs of one place.

    Attributes:
        jobs: every run that was begun, by id.
        reports: where the producers' reports lie.
        counts: of `check`: events `returned`, `stored`, `lost` (returned and not stored), `doubled`, and files `torn`.
    """

    def __init__(self, place: Place) -> None:
        self.jobs: dict[str, Job] = {}
        self.reports = place.path / "reports"
        self.reports.mkdir(exist_ok=True)
        self._place = place
        self.counts: Counter[str] = Counter()
        self._acked: dict[str, tuple[int, int]] = {}

    @property
    def state_dir(self) -> StateDir:
        """The state directory that is watched now."""
        return self._place.state_dir

    def new_job(self, events: int, seed: int, *, burst: int = 50, pause_s: float = 0.0, **environ: str) -> Job:
        """Return the job of a run that the oracle watches from now on."""
        index = len(self.jobs) + 1
        run_id = f"run{index}"
        job = Job(
            run_id=run_id,
            index=index,
            report=str(report_path(self.reports, run_id)),
            events=events,
            seed=seed,
            burst=burst,
            pause_s=pause_s,
            environ=environ,
        )
        self.jobs[run_id] = job
        return job

    def reported(self, job: Job) -> Reported:
        """Return what a producer has said."""
        return read_report(Path(job.report), job.run_id, job.index)

    def acked(self, job: Job) -> int:
        """Return the highest seq of which a producer has said up to now that it is acked. Reads only what is new."""
        offset, acked = self._acked.get(job.run_id, (0, 0))
        if Path(job.report).exists():
            with open(job.report, "rb") as file:
                file.seek(offset)
                data = file.read()
            data = data[: len(data) - len(data) % RECORD.size]
            acks = [number for kind, number, _ in RECORD.iter_unpack(data) if kind == Kind.ACKED]
            self._acked[job.run_id] = (offset + len(data), acked := max(acks, default=acked))
        return acked

    def check_acks(self, jobs: Iterable[Job]) -> list[str]:
        """Return what is acked and not stored at this moment: asked while the daemon is dead and nothing can mend it."""
        failures = []
        with open_store(self.state_dir.store) as store:
            for job in jobs:
                acked = self.acked(job)
                found = store.count(job.run_id, acked)
                if found != acked:
                    failures.append(
                        f"run {job.run_id}: {acked - found} acked and not stored when the daemon was dead (acked: {acked})"
                    )
        return failures

    def wait_until_stored(self, timeout_s: float) -> list[str]:
        """Return once all that is in the journals is stored and every run is over, or nothing was stored for a time.

        The producers are gone.
        """
        deadline = time.monotonic() + timeout_s
        waiting = set(self.jobs)
        before = -1
        while waiting:
            with open_store(self.state_dir.store) as store:
                found = store.runs()
            waiting -= {run_id for run_id in waiting if self._is_over(run_id, found.get(run_id))}
            progress = sum(seq for _, seq, _ in found.values()) - len(waiting)
            if progress != before:
                before, deadline = progress, time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                shown = ", ".join(sorted(waiting)[:SHOWN])
                return [f"{len(waiting)} runs not stored to their end, and nothing stored for {timeout_s:g} s: {shown}"]
            time.sleep(0.01)
        return []

    def _is_over(self, run_id: str, found: tuple[int, int, bool] | None) -> bool:
        if found is not None and found[2]:
            return True
        files = journal_files(self.state_dir.journals, run_id)
        return not any(b"\n" in path.read_bytes() for path in files)  # killed before its first line: nothing to store

    def check(self) -> list[str]:
        """Return every promise that did not hold, for runs that are over and stored."""
        failures = []
        with open_store(self.state_dir.store) as store:
            strange = store.runs().keys() - self.jobs.keys()
            if strange:
                failures.append(
                    f"{len(strange)} runs are stored and were never begun: {', '.join(sorted(strange)[:SHOWN])}"
                )
            if ownerless := store.ownerless():
                failures.append(f"{ownerless} rows of the store belong to no run")
            for job in self.jobs.values():
                said, stored = self.reported(job), store.run(job.run_id)
                journal = read_journal(self.state_dir.journals, job.run_id)
                failures += judge(said, journal, stored)
                self._count(said, journal, stored)
                failures += [
                    f"run {job.run_id}: number {number} is not its own"
                    for number in said.attempted
                    if number // NUMBERS_A_RUN != job.index
                ][:1]
        return failures + self._verify()

    def _count(self, said: Reported, journal: Journaled, stored: Stored) -> None:
        numbers = {entry.number for _, entry in stored.rows if entry.number is not None}
        self.counts["returned"] += len(said.returned)
        self.counts["stored"] += len(numbers)
        self.counts["lost"] += len(set(said.returned) - numbers)
        self.counts["doubled"] += sum(entry.number is not None for _, entry in stored.rows) - len(numbers)
        self.counts["torn"] += len(journal.unreadable)

    def figures(self) -> str:
        """Return the counts of `check` in words."""
        return "{returned:,} events emitted: lost {lost}, doubled {doubled}".format_map(self.counts)

    def _verify(self) -> list[str]:
        """Ask the product for its own proof."""
        done = call_threepio(self._place, "verify", "--all", "--json")
        runs = json.loads(done.stdout)["runs"]
        not_whole = [f"{run['run_id']} ({'; '.join(run['problems'])})" for run in runs if not run["whole"]]
        failures = [f"threepio verify --all: not whole: {', '.join(not_whole[:SHOWN])}"] if not_whole else []
        if done.exit_code != 0 and not not_whole:
            failures.append(f"threepio verify --all: exit code {done.exit_code}: {done.stderr}")
        return failures
