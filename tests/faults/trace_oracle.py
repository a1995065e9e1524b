"""What must hold of a world after every step, and at the end of a trace once the faults are over.

The conditions are those of the event path's model. They are judged by those who never die: the list of what was
emitted, the bytes of the journals, what of them is synced, and the rows of the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.faults.disk import DAEMON
from tests.faults.world import RECEIVED_AT_ONCE, Producer, StoredRow, World
from threepio_client.archive import Archive
from threepio_client.errors import BadLine
from threepio_client.events import EventType
from threepio_client.line import Event, decode
from threepio_client.runstate import RunState, State
from threepio_client.verification import verify_run
from threepiod.batch import HOLE, Batch

SETTLED_S = 10.0
"""Virtual seconds after which a daemon without faults has taken and stored everything: dozens of its ticks and retries."""


class Violation(Exception):
    """Something does not hold.

    Attributes:
        kind: one word, by which a trace is made smaller.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Lines(NamedTuple):
    """A run's journal.

    Attributes:
        events: the good lines by seq, the first copy of each.
        durable: seq and checksum of the lines that a power cut would leave for certain.
        bad: lines that nobody can read.
    """

    events: dict[int, Event]
    durable: set[tuple[int, int]]
    bad: int


def read(world: World, run_id: str) -> Lines:
    """Read a run's journal, all files.

    Raises:
        Violation: two lines have one seq.
    """
    events: dict[int, Event] = {}
    durable: set[tuple[int, int]] = set()
    bad = 0
    for path in files_of(world, run_id):
        synced = world.disk.durable(path)
        end = 0
        for raw in path.read_bytes().split(b"\n")[:-1]:
            end += len(raw) + 1
            try:
                event = decode(raw)
            except BadLine:
                bad += 1
                continue
            if events.setdefault(event.seq, event).crc != event.crc:
                raise Violation("JOURNAL", f"run {run_id} has two events with seq {event.seq}")
            if end <= synced:
                durable.add((event.seq, event.crc))
    return Lines(events, durable, bad)


def files_of(world: World, run_id: str) -> Iterator[Path]:
    """Yield the files of a run's journal in their order."""
    found = {}
    for path in world.disk.files():
        name, _, number = path.name.removesuffix(".jsonl").partition(".")
        if name == run_id and number != "observed":
            found[int(number or 0)] = path
    for _, path in sorted(found.items()):
        yield path


def watch(world: World, batches: list[Batch]) -> None:
    """Judge a commit at the moment of it: called by the world's store."""
    try:
        _judge_commit(world, batches)
    except Violation as violation:
        world.problems.append(str(violation))


def _judge_commit(world: World, batches: list[Batch]) -> None:
    for batch in batches:
        if len(batch) > world.config.batch + 2:
            raise Violation("MEMORY", f"a batch of {len(batch)} events")
    for producer in world.producers:
        row = world.commits[-1].runs.get(producer.run_id)
        if row is None:
            continue
        at = 0
        lines = read(world, producer.run_id)
        for line in row.lines:
            if line.seq != at + 1:
                raise Violation("ORDER/ONCE", f"the store of run {producer.run_id} has {[x.seq for x in row.lines]}")
            at = line.last
            if line.type == HOLE or line.seq in producer.rotten or producer.is_doubtful:
                continue
            if (line.seq, line.crc) not in lines.durable:
                raise Violation(
                    "STORE-AHEAD", f"line {line.seq} of run {producer.run_id} is stored, and not synced in its journal"
                )
        if row.seq != at:
            raise Violation("ORDER/ONCE", f"run {producer.run_id} is stored up to {row.seq}, its lines up to {at}")
        if row.state == State.CRASHED and producer.is_alive:
            raise Violation("LIVE-DECLARED-DEAD", f"run {producer.run_id} is stored as crashed and lives")


def check_safety(world: World) -> None:
    """Raise Violation if a condition of every moment does not hold."""
    if world.problems:
        kind = world.problems[0].partition(":")[0]
        raise Violation(kind if kind.isupper() else "DAEMON", world.problems[0])
    stored = world.commits[-1].runs if world.commits else {}
    for producer in world.producers:
        row = stored.get(producer.run_id)
        link = producer.link
        if link is not None and link.acked > (row.seq if row is not None else 0):
            raise Violation("ACKED-LOST", f"run {producer.run_id}: {link.acked} acked, {row.seq if row else 0} stored")
        run = world.daemon.runs.get(producer.run_id) if world.daemon is not None else None
        if run is not None:
            if producer.is_alive and run.state.gone is not None:
                raise Violation("LIVE-DECLARED-DEAD", f"run {producer.run_id} is called gone and lives")
            if len(run._batch) > world.config.batch + 2:
                raise Violation("MEMORY", f"a batch of {len(run._batch)} events")
        _check_journal(world, producer)


def _check_journal(world: World, producer: Producer) -> None:
    lines = read(world, producer.run_id)
    texts = [str(event.payload["nodeid"]) for _, event in sorted(lines.events.items()) if "nodeid" in event.payload]
    if len(set(texts)) < len(texts):
        raise Violation("TWICE", f"run {producer.run_id} has an event twice in its journal: {texts}")
    if not set(texts) <= set(producer.attempted):
        raise Violation("INVENT", f"run {producer.run_id} has events that nobody emitted: {texts}")
    if texts != sorted(texts, key=producer.attempted.index):
        raise Violation("ORDER/ONCE", f"run {producer.run_id} has its events out of order: {texts}")
    if not producer.lost_power:
        missing = len(set(producer.returned) - set(texts)) - len(producer.rotten)
        if missing > producer.allowed:
            raise Violation(
                "RETURNED-NOT-JOURNALED",
                f"run {producer.run_id}: {missing} events whose emit returned are not in the journal, "
                f"the adapter counts {producer.allowed}",
            )


def check_settled(world: World, *, skip: frozenset[str] = frozenset()) -> None:
    """Raise Violation unless store and journal agree, and each verdict is right: for a daemon that had the time."""
    for producer in world.producers:
        if producer.run_id in skip:
            continue
        lines = read(world, producer.run_id)
        row = world.commits[-1].runs.get(producer.run_id)
        if not lines.events:
            continue
        have = {line.seq: line.crc for line in row.lines if line.type != HOLE} if row is not None else {}
        want = {seq: event.crc for seq, event in lines.events.items()}
        rotten = producer.rotten
        if {k: v for k, v in have.items() if k not in rotten} != {k: v for k, v in want.items() if k not in rotten}:
            raise Violation("STORE!=JOURNAL", f"run {producer.run_id}: journal {sorted(want)}, store {sorted(have)}")
        assert row is not None
        if row.seq < producer.acked:
            raise Violation("ACKED-LOST", f"run {producer.run_id}: {producer.acked} were acked, {row.seq} are stored")
        _check_verdict(producer, lines, row)
        state = RunState.from_snapshot(row.snapshot)
        if state.finished != sum(line.type == EventType.TEST_CASE for line in row.lines) or state.seq != row.seq:
            raise Violation("REDUCER", f"run {producer.run_id}: the stored state does not fit the stored lines")


def _check_verdict(producer: Producer, lines: Lines, row: StoredRow) -> None:
    found = row.state
    if producer.rotten:  # it may have been taken before it rotted
        cases = sum(line.type == EventType.TEST_CASE for line in row.lines)
        is_whole = cases == producer.tests and all(line.type != HOLE for line in row.lines)
        if found == State.PASSED and not (is_whole and row.lines[-1].type == EventType.RUN_COMPLETE):
            raise Violation("WRONG-VERDICT", f"run {producer.run_id} is green, and its lines are not all there")
        return
    complete = next((event for event in lines.events.values() if event.type == EventType.RUN_COMPLETE), None)
    cases = sum(event.type == EventType.TEST_CASE for event in lines.events.values())
    whole = set(lines.events) == set(range(1, max(lines.events) + 1)) and cases == producer.tests
    lost = complete is not None and complete.payload["stats"]["eventsLost"]
    if complete is not None:
        expected = State.PASSED if whole and not lines.bad and not lost else State.INCOMPLETE
    else:
        expected = State.RUNNING if producer.is_alive else State.CRASHED
    if found != expected:
        kind = "NO-VERDICT" if found == State.RUNNING else "WRONG-VERDICT"
        raise Violation(kind, f"run {producer.run_id} is {found}, and should be {expected}")


def finish(world: World) -> None:
    """End the faults, let everything end as it should, and check what is left."""
    _check_stuck(world)
    world.stuck.clear()
    world.store_faults.clear()
    world.disk.calls.clear()
    world.is_frozen = False
    world.latency = 0.0
    world.piece = RECEIVED_AT_ONCE
    world.start_daemon()
    world.pass_time(SETTLED_S)
    check_safety(world)
    check_settled(world)
    for producer in world.producers:
        adapter = producer.adapter
        if adapter is None:
            continue
        while producer.next <= producer.tests:
            used = adapter._budget.used
            world.emit(producer)
            if (
                adapter._budget.used - used > 0.24
                and not producer.allowed
                and not world.disk.has_failed(producer.run_id)
            ):
                raise Violation(
                    "NEVER-ACKED", f"run {producer.run_id}: an emit waited in vain for a daemon that is idle"
                )
            world.pass_time(0.3)
        wire = producer.wire
        is_heard = adapter.is_connected and adapter._budget.left > 0.2 and wire is not None and wire.daemon_open
        world.close(producer)
        check_safety(world)
        is_fit = not producer.allowed and not world.disk.has_failed(producer.run_id)
        if is_heard and is_fit and not producer.said_stored:
            trouble = adapter._link.trouble if adapter._link is not None else "no link"
            raise Violation("NEVER-ACKED", f"run {producer.run_id}: {trouble or adapter.complaints}")
    world.pass_time(SETTLED_S)
    check_safety(world)
    check_settled(world)
    _check_verification(world)


def _check_stuck(world: World) -> None:
    """A run whose file cannot be synced delays no other."""
    if world.stuck and world.daemon is not None and not world.is_frozen:
        calls = world.disk.calls[DAEMON]
        if not calls.full and calls.kill_in is None:
            world.store_faults.clear()
            world.latency = 0.0
            world.pass_time(SETTLED_S)
            check_safety(world)
            check_settled(world, skip=frozenset(world.stuck))


def _check_verification(world: World) -> None:
    """`verify` says of each run what the oracle says."""
    world.places.store.write_bytes(world.commits[-1].image)
    archive = Archive(world.places)
    for producer in world.producers:
        lines = read(world, producer.run_id)
        if not lines.events:
            continue
        state = world.commits[-1].runs[producer.run_id].state
        found = verify_run(archive, producer.run_id)
        if not producer.rotten and not lines.bad:
            gaps = max(lines.events) - len(lines.events)
            lost = RunState.from_snapshot(world.commits[-1].runs[producer.run_id].snapshot).events_lost
            complete = state == State.PASSED
            if found["whole"] != (not gaps and not lost) and (complete or not lost):
                raise Violation("VERIFY", f"run {producer.run_id}: {found['problems']}")
        if state == State.PASSED and not producer.rotten and not found["whole"]:
            raise Violation("VERIFY", f"run {producer.run_id} is green and not whole: {found['problems']}")
