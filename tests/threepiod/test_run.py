"""The work on one run, with a real store and real journals: nothing lost or doubled, nothing stored before it is synced."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import trio
import trio.testing

from tests.scripted import (
    case,
    event,
    flip_bit,
    frame_of,
    gone,
    in_trio,
    living,
    made_state_dir,
    run_lines,
    sleeper,
    until,
    write_journal,
)
from threepio_client.archive import Archive
from threepio_client.errors import RemoteProtocolError
from threepio_client.events import EventType, ObservationType
from threepio_client.journal import JournalError, append_observation
from threepio_client.line import decode
from threepio_client.process import Liveness
from threepio_client.protocol import Lines, Unjournaled
from threepio_client.runjournal import RunJournal
from threepio_client.runstate import State
from threepio_client.verification import verify_run
from threepiod import committer as committer_module
from threepiod import keeper as keeper_module
from threepiod import run as run_module
from threepiod.batch import Batch
from threepiod.committer import Committer
from threepiod.run import Run
from threepiod.store import Store, StoreError

TICK_S = 0.02


class ScriptedStore(Store):
    """A store whose next calls go as it is told.

    Attributes:
        faults: what the next writes do: `before` fails, `after` fails though it is applied, empty is fine.
        asked: how many writes began.
        blind: how many look-ups of the position fail.
        gate: writes wait until it is set.
        before_write: called with the batches of each write.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.faults: list[str] = []
        self.blind = 0
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()
        self.before_write: Callable[[list[Batch]], None] = lambda batches: None

    def write(self, batches: list[Batch]) -> None:
        self.asked += 1
        assert self.gate.wait(20)
        self.before_write(batches)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise StoreError("the disk is full, says the test")
        super().write(batches)
        if fault == "after":
            raise StoreError("the commit failed, says the test, yet it was applied")

    def find_run(self, run_id: str) -> Any:
        if self.blind:
            self.blind -= 1
            raise StoreError("the store cannot be read, says the test")
        return super().find_run(run_id)


class Adapter:
    """Takes acks, and checks each one against what a reader of the store sees at that moment."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.acks: list[int] = []
        self.is_drained = True

    def ack(self, seq: int) -> None:
        assert len(self.bench.stored()) >= seq, "acked and not stored"
        self.acks.append(seq)


class Bench:
    """One run in the daemon's hands."""

    def __init__(self, path: Path) -> None:
        self.state_dir = made_state_dir(path)
        self.store = ScriptedStore(self.state_dir.store)
        self.archive = Archive(self.state_dir)
        self.journal = self.state_dir.journal("run")

    @asynccontextmanager
    async def working(self, *, ticking: bool = True) -> AsyncIterator[Run]:
        committer = Committer(self.store)
        run = Run(self.store.open_run("run", "producer"), self.state_dir, committer)

        async def tick() -> None:
            while ticking:
                await trio.sleep(TICK_S)
                run.tick()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.serve)
            nursery.start_soon(tick)
            nursery.start_soon(run.serve)
            yield run
            nursery.cancel_scope.cancel()

    def write(self, *lines: bytes) -> None:
        write_journal(self.state_dir, "run", lines)

    def stored(self) -> list[int]:
        return sorted(seq for seq, _, _ in self.archive.stored_lines("run"))

    def verify(self) -> dict[str, Any]:
        return verify_run(self.archive, "run")

    def is_whole(self, events: int) -> bool:
        found = self.verify()
        return bool(found["whole"]) and found["journal_events"] == found["stored_events"] == events


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(run_module, "RETRY_S", 0.02)
    made = Bench(tmp_path / "state")
    with closing(made.store):
        yield made


async def ticks(run: Run) -> None:
    """Let the run look again, some times over, at what there is."""
    for _ in range(4):
        run.tick()
        await trio.sleep(TICK_S)


# The two ways in


@in_trio
async def test_a_journal_is_stored_from_its_beginning_to_its_end(bench: Bench) -> None:
    bench.write(*run_lines("run", 50))

    async with bench.working(ticking=False) as run:
        await until(lambda: run.is_over)

    assert bench.is_whole(53)
    assert run.ingest == {"from_socket": 0, "from_journal": 53, "duplicates": 0}
    assert run.state.verdict().state is State.PASSED


@in_trio
async def test_lines_from_the_socket_are_stored_and_acked(bench: Bench) -> None:
    lines = run_lines("run", 20, identity=living())
    adapter = Adapter(bench)

    async with bench.working(ticking=False) as run:
        run.attach(adapter)
        for seq, line in enumerate(lines, start=1):
            bench.write(line)
            run.offer(frame_of(lines, seq))
        await until(lambda: run.is_over)

    assert adapter.acks[-1] == len(lines)
    assert adapter.acks == sorted(adapter.acks)
    assert bench.is_whole(len(lines))
    assert run.ingest == {"from_socket": 23, "from_journal": 0, "duplicates": 0}


@in_trio
async def test_a_line_that_comes_again_is_dropped(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=living())
    bench.write(*lines)

    async with bench.working(ticking=False) as run:
        run.offer(frame_of(lines, 1, 4))
        run.offer(frame_of(lines, 2, 3))
        run.offer(frame_of(lines, 3, 6))  # the first two are duplicates, the others are new
        await until(lambda: run.is_over)

    assert bench.is_whole(8)
    assert run.ingest["duplicates"] == 5
    assert run.ingest["from_socket"] == 8


@in_trio
async def test_a_line_beyond_the_next_one_has_the_journal_read(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=living())

    async with bench.working(ticking=False) as run:
        bench.write(*lines[:1])
        run.offer(frame_of(lines, 1))
        bench.write(*lines[1:])
        run.offer(frame_of(lines, 8))
        await until(lambda: run.is_over)

    assert bench.is_whole(8)
    assert run.ingest == {"from_socket": 1, "from_journal": 7, "duplicates": 0}


@in_trio
async def test_what_something_else_wrote_between_two_lines_is_a_hole_over_the_socket_too(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=living())
    garbage = b"a test wrote this\n"

    async with bench.working(ticking=False) as run:
        bench.write(*lines[:4])
        run.offer(frame_of(lines, 1, 4))
        await until(lambda: run.cursor == 4)
        bench.write(garbage, *lines[4:])
        later = frame_of(lines, 5, 8)
        run.offer(later._replace(end=later.end + len(garbage)))
        await until(lambda: run.is_over)

    assert bench.stored() == list(range(1, 9))
    assert run.state.verdict().state is State.INCOMPLETE
    verified = bench.verify()
    assert (verified["whole"], verified["corrupt"]) == (False, 1)


@in_trio
async def test_the_tick_notices_what_did_not_come_over_the_socket(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=living())

    async with bench.working() as run:
        bench.write(*lines[:1])
        run.offer(frame_of(lines, 1))
        bench.write(*lines[1:])  # spilled: no message tells of it
        await until(lambda: run.is_over)

    assert bench.is_whole(8)


@in_trio
async def test_a_bad_line_from_the_socket_costs_the_connection_and_not_the_lines_of_the_journal(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=living())
    bench.write(*lines)
    spoiled = [*lines[:2], lines[2].replace(b"test_0", b"test_X"), *lines[3:]]

    async with bench.working() as run:
        with pytest.raises(RemoteProtocolError, match="line 3 is bad") as caught:
            run.offer(frame_of(spoiled, 1, 4))
        await until(lambda: run.is_over)

    assert caught.value.code == "bad-line"
    assert bench.is_whole(8)
    assert run.state.verdict().state is State.PASSED


@in_trio
async def test_a_line_that_is_not_the_one_it_is_sent_as_costs_the_connection(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=living())
    bench.write(*lines)

    async with bench.working() as run:
        run.offer(frame_of(lines, 1))
        with pytest.raises(RemoteProtocolError, match="line 2 says that it is 4"):
            run.offer(frame_of([lines[0], lines[3]], 2))
        await until(lambda: run.is_over)

    assert bench.is_whole(8)


@in_trio
async def test_a_run_goes_on_where_its_store_ends(bench: Bench) -> None:
    lines = run_lines("run", 30, identity=living())
    bench.write(*lines[:10])
    async with bench.working() as run:
        await until(lambda: run.stored == 10)
    bench.write(*lines[10:])

    async with bench.working() as run:  # a new daemon
        assert run.cursor == 10
        await until(lambda: run.is_over)

    assert bench.is_whole(33)
    assert run.ingest["duplicates"] == 0


# What a journal may look like


@in_trio
async def test_half_a_line_is_not_there_yet_while_its_writer_lives(bench: Bench) -> None:
    lines = run_lines("run", 3, identity=living())
    bench.write(*lines[:3], lines[3][:20])

    async with bench.working() as run:
        await until(lambda: run.stored == 3)
        await ticks(run)
        assert (run.cursor, run.state.bad_lines) == (3, 0)
        bench.write(lines[3][20:], *lines[4:])
        await until(lambda: run.is_over)

    assert bench.is_whole(6)
    assert run.state.verdict().state is State.PASSED


@in_trio
async def test_half_a_line_is_a_torn_tail_once_its_writer_is_gone(bench: Bench) -> None:
    with sleeper() as (identity, kill):
        lines = run_lines("run", 3, identity=identity)
        bench.write(*lines[:4], lines[4][:20])
        async with bench.working() as run:
            await until(lambda: run.stored == 4)
            assert run.state.verdict().state is State.RUNNING
            kill()
            await until(lambda: run.is_over)

    verdict = run.state.verdict()
    assert (verdict.state, verdict.kind) == (State.CRASHED, "gone")
    assert run.state.bad_lines == 0
    assert run.state.never_ran == 1
    assert bench.stored() == [1, 2, 3, 4]
    assert bench.verify()["torn_bytes"] == 20


@in_trio
async def test_a_bad_last_line_is_judged_once_its_writer_is_gone(bench: Bench) -> None:
    with sleeper() as (identity, kill):
        lines = run_lines("run", 3, identity=identity)
        bench.write(*lines[:4], lines[4][:20] + b"\n")
        async with bench.working() as run:
            await until(lambda: run.stored == 4)
            await ticks(run)
            assert run.state.bad_lines == 0
            kill()
            await until(lambda: run.is_over)

    assert run.state.bad_lines == 1
    assert run.state.verdict().state is State.CRASHED


@in_trio
async def test_a_bad_line_before_good_ones_is_a_hole_and_never_green(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=living())
    bench.write(*lines)
    flip_bit(bench.journal, sum(map(len, lines[:3])) + 40)

    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert bench.stored() == [1, 2, 3, 5, 6, 7, 8]
    verdict = run.state.verdict()
    assert verdict.state is State.INCOMPLETE
    assert "cannot be read" in verdict.text or "have an outcome" in verdict.text
    with closing(sqlite3.connect(bench.state_dir.store)) as db:
        assert db.execute("SELECT seq FROM events WHERE type = 'hole'").fetchall() == [(4,)]
    verified = bench.verify()
    assert (verified["whole"], verified["corrupt"]) == (False, 1)
    assert any("line 4 " in problem for problem in verified["problems"])


@in_trio
async def test_a_bad_line_that_counted_no_test_is_never_green_either(bench: Bench) -> None:
    lines = run_lines("run", 2, identity=living(), exit_code=None)
    lines += [event(5, EventType.ADAPTER_STATS, {}), *run_lines("run", 3)[-1:]]
    assert decode(lines[5][:-1]).seq == 6
    bench.write(*lines[:4], b"x" * 30 + b"\n", lines[5])

    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert (run.state.finished, run.state.collected) == (2, 2)
    assert run.state.verdict().state is State.INCOMPLETE


@pytest.mark.parametrize(
    "body",
    [
        b'{"seq":4,"eventType":"testCase","payload":{"nodeid":"\\ud800","status":"PASS"},"timestamp":1.0',
        b'{"seq":4,"eventType":"testCase","payload":{"nodeid":"\\uDC00","status":"PASS"},"timestamp":1.0',
        b'{"seq":99999999999999999999,"eventType":"testCase","payload":{},"timestamp":1.0',
        b'{"seq":4,"eventType":"testCase","payload":{},"timestamp":1e999',
    ],
    ids=["high surrogate", "low surrogate", "seq", "timestamp"],
)
@in_trio
async def test_a_line_that_no_store_can_hold_is_a_hole_and_ends_no_work(bench: Bench, body: bytes) -> None:
    lines = run_lines("run", 5, identity=living())
    bench.write(*lines[:3], b'%b,"crc":"%08x"}\n' % (body, crc32(body)), *lines[4:])

    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert bench.stored() == [1, 2, 3, 5, 6, 7, 8]
    assert run.state.verdict().state is State.INCOMPLETE


@in_trio
async def test_a_line_of_an_unknown_type_is_stored_and_counted(bench: Bench) -> None:
    lines = run_lines("run", 0, identity=living(), exit_code=None)
    bench.write(*lines, event(3, "fromTheFuture", {"a": 1}))

    async with bench.working() as run:
        await until(lambda: run.stored == 3)

    assert run.state.unknown == 1
    assert bench.is_whole(3)


@in_trio
async def test_a_long_journal_is_read_in_bounded_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "BATCH_EVENTS", 40)
    sizes: list[int] = []
    bench.store.before_write = lambda batches: sizes.extend(map(len, batches))
    bench.write(*run_lines("run", 500, identity=living()))

    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert bench.is_whole(503)
    assert max(sizes) <= 40


# Failed commits


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
@in_trio
async def test_a_failed_commit_loses_nothing_and_doubles_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: str, at: int
) -> None:
    monkeypatch.setattr(run_module, "BATCH_EVENTS", 40)
    lines = run_lines("run", 60, identity=living())
    adapter = Adapter(bench)
    bench.store.faults = [""] * (at - 1) + [fault]

    async with bench.working() as run:
        run.attach(adapter)
        for seq, line in enumerate(lines, start=1):
            bench.write(line)
            if seq % 3:  # every third one is spilled
                run.offer(frame_of(lines, seq))
            await trio.sleep(0.001)
        await until(lambda: run.is_over)

    assert not bench.store.faults
    assert bench.is_whole(63)
    assert adapter.acks[-1] == 63
    assert run.state.verdict().state is State.PASSED
    assert run.state.counts["passed"] == 60
    assert run.trouble == ""
    assert run.ingest["from_socket"] + run.ingest["from_journal"] == 63


@in_trio
async def test_a_failed_commit_whose_outcome_cannot_be_asked_either_loses_nothing(bench: Bench) -> None:
    lines = run_lines("run", 20, identity=living())
    bench.write(*lines[:10])
    async with bench.working() as run:
        await until(lambda: run.stored == 10)
        bench.store.faults, bench.store.blind = ["before"], 2
        bench.write(*lines[10:])
        for seq in range(11, 24):
            run.offer(frame_of(lines, seq))
        await until(lambda: run.is_over)

    assert bench.store.blind == 0
    assert bench.is_whole(23)
    assert run.state.verdict().state is State.PASSED


@in_trio
async def test_while_the_store_fails_the_trouble_is_said_and_nothing_is_acked(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=living())
    adapter = Adapter(bench)
    bench.store.faults = ["before"] * 5
    bench.write(*lines)

    async with bench.working() as run:
        run.attach(adapter)
        await until(lambda: run.trouble)
        assert "the disk is full, says the test" in run.trouble
        assert "run" in run.trouble
        assert not adapter.acks
        await until(lambda: run.is_over)

    assert run.trouble == ""
    assert bench.is_whole(8)


@in_trio
async def test_a_journal_that_cannot_be_synced_is_not_acked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run_lines("run", 5, identity=living())
    adapter = Adapter(bench)

    def fail(journal: RunJournal, number: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(RunJournal, "sync", fail)
    async with bench.working() as run:
        run.attach(adapter)
        bench.write(*lines)
        run.offer(frame_of(lines, 1, 8))
        await until(lambda: run.trouble)
        await ticks(run)

    assert not adapter.acks
    assert bench.stored() == []
    assert "Input/output error" in run.trouble


class Syncs:
    """Counts the syncs of each file of the journal, and fails those that it is told to.

    Attributes:
        failing: numbers of the files whose next sync fails.
        counts: syncs that were asked for, by file.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, what: str = "sync") -> None:
        self.failing: set[int] = set()
        self.counts: Counter[int] = Counter()
        really_sync = getattr(RunJournal, what)

        def sync(journal: RunJournal, number: int) -> None:
            self.counts[number] += 1
            if number in self.failing:
                self.failing.discard(number)
                raise OSError(5, "Input/output error")
            really_sync(journal, number)

        monkeypatch.setattr(RunJournal, what, sync)


@pytest.mark.parametrize("what", ["sync", "sync_name"])
@pytest.mark.parametrize("fails", [{0}, {0, 1}, {0, 1, 2}])
@in_trio
async def test_what_a_failed_sync_was_to_cover_is_written_again_elsewhere_before_it_is_acked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fails: set[int], what: str
) -> None:
    lines = run_lines("run", 40, identity=living())
    adapter = Adapter(bench)
    syncs = Syncs(monkeypatch)
    failing = Syncs(monkeypatch, what) if what != "sync" else syncs
    async with bench.working() as run:
        run.attach(adapter)
        bench.write(*lines[:10])
        run.offer(frame_of(lines, 1, 10))
        await until(lambda: run.stored == 10)
        assert syncs.counts == {0: 1}
        if what == "sync_name":
            run._keeper._named.clear()
        failing.failing = set(fails)
        bench.write(*lines[10:])
        run.offer(frame_of(lines, 11, 20))
        await until(lambda: run.is_over)

    assert syncs.counts[0] == 2  # what a later sync of that file says means nothing
    assert set(syncs.counts) == {*fails, max(fails) + 1}
    assert bench.is_whole(len(lines))
    own = bench.state_dir.journal("run", max(fails) + 1)
    kept = [json.loads(line)["seq"] for line in own.read_bytes().splitlines()]
    assert kept[0] == 1
    assert set(kept) == {1, *range(11, len(lines) + 1)}
    assert own.read_bytes().startswith(lines[0])


@pytest.mark.parametrize("is_synced", [True, False])
@pytest.mark.parametrize("with_directory", [True, False])
@in_trio
async def test_a_run_whose_journal_is_removed_is_stored_whole_all_the_same(
    bench: Bench, with_directory: bool, is_synced: bool
) -> None:
    lines = run_lines("run", 40, identity=living())
    adapter = Adapter(bench)
    async with bench.working() as run:
        run.attach(adapter)
        bench.write(*lines[:10])
        run.offer(frame_of(lines, 1, 5))
        if is_synced:
            await until(lambda: run.stored >= 5)
        bench.journal.unlink()
        if with_directory:
            bench.journal.parent.rmdir()
        run.offer(frame_of(lines, 6, 20))
        run.offer(frame_of(lines, 26, len(lines) - 25))
        await until(lambda: run.is_over)

    assert bench.stored() == list(range(1, len(lines) + 1))


@pytest.mark.parametrize("with_directory", [True, False])
@in_trio
async def test_a_daemon_that_comes_after_the_journal_was_removed_journals_the_lines_itself(
    bench: Bench, with_directory: bool
) -> None:
    lines = run_lines("run", 40, identity=living())
    async with bench.working() as run:
        run.attach(Adapter(bench))
        bench.write(*lines[:10])
        await until(lambda: run.stored == 10)
    bench.journal.unlink()
    if with_directory:
        bench.journal.parent.rmdir()
    async with bench.working() as run:
        run.attach(Adapter(bench))
        run.offer(frame_of(lines, 11, len(lines) - 10))
        await until(lambda: run.is_over)

    assert bench.stored() == list(range(1, len(lines) + 1))
    own = bench.state_dir.journal("run", 1).read_bytes()
    assert own == lines[0] + b"".join(lines[10:])


@in_trio
async def test_lines_that_the_adapter_could_not_journal_are_journaled_before_they_are_taken(bench: Bench) -> None:
    lines = run_lines("run", 40, identity=living())
    adapter = Adapter(bench)
    async with bench.working() as run:
        run.attach(adapter)
        bench.write(*lines[:10])
        run.offer(frame_of(lines, 1, 5))  # five are spilled
        run.offer_unjournaled(Unjournaled(first_seq=11, lines=[line[:-1] for line in lines[10:]]))
        await until(lambda: run.is_over)

    assert adapter.acks[-1] == len(lines)
    assert bench.is_whole(len(lines))
    assert bench.state_dir.journal("run", 1).read_bytes().splitlines()[-1] == lines[-1][:-1]


@in_trio
async def test_lines_that_nobody_can_journal_are_not_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run_lines("run", 10, identity=living())
    adapter = Adapter(bench)

    def fail(*_: object) -> None:
        raise JournalError("cannot make the journal: No space left on device")

    monkeypatch.setattr(keeper_module, "make_next_file", fail)
    async with bench.working() as run:
        run.attach(adapter)
        bench.write(*lines[:5])
        await until(lambda: run.stored == 5)
        run.offer_unjournaled(Unjournaled(first_seq=6, lines=[lines[5][:-1]]))
        assert "No space left on device" in run.trouble
        await ticks(run)

    assert bench.stored() == [1, 2, 3, 4, 5]
    assert adapter.acks[-1] == 5


@in_trio
async def test_a_journal_of_several_files_is_one(bench: Bench) -> None:
    lines = run_lines("run", 40)
    bench.write(*lines[:20], lines[20][:30])
    bench.state_dir.journal("run", 1).write_bytes(lines[0] + b"".join(lines[15:30]))
    bench.state_dir.journal("run", 2).write_bytes(lines[0] + b"".join(lines[30:]))
    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert bench.is_whole(len(lines))
    assert run.state.conflicts == run.state.holes == run.state.bad_lines == 0
    assert run.state.verdict().state is State.PASSED


@in_trio
async def test_a_run_that_a_power_cut_ended_is_whole_up_to_the_first_gap(bench: Bench) -> None:
    lines = run_lines("run", 40, exit_code=None)
    data = bytearray(b"".join(lines))
    data[len(data) // 2 : len(data) // 2 + 512] = bytes(512)
    bench.journal.write_bytes(data)
    kept = bytes(data).split(b"\0")[0].count(b"\n")
    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert run.state.verdict().state is State.CRASHED
    assert bench.stored() == list(range(1, kept + 1))
    assert run.state.holes == run.state.bad_lines == 0
    found = bench.verify()
    assert found["whole"]
    assert any("the machine went down" in text for text in found["problems"])


@in_trio
async def test_a_line_that_rotted_is_taken_from_another_file(bench: Bench) -> None:
    lines = run_lines("run", 10)
    bench.write(*lines)
    bench.state_dir.journal("run", 1).write_bytes(lines[0] + b"".join(lines[3:7]))
    flip_bit(bench.journal, sum(map(len, lines[:4])) + 20)
    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert bench.stored() == list(range(1, len(lines) + 1))
    assert (run.state.holes, run.state.bad_lines) == (0, 1)


@pytest.mark.parametrize("way", ["socket", "socket, long ago", "journal", "journal, long ago"])
@in_trio
async def test_a_line_that_comes_again_with_other_content_is_kept_apart_and_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if "long ago" in way:
        monkeypatch.setattr("threepiod.checksums.CHECKSUMS", 4)
    lines = run_lines("run", 30, identity=living())
    other = case(5, "test_it.py::test_2", "FAIL")
    adapter = Adapter(bench)
    async with bench.working() as run:
        run.attach(adapter)
        bench.write(*lines[:20])
        await until(lambda: run.stored == 20)
        if way == "socket":
            with pytest.raises(RemoteProtocolError, match="line 5 came before, with other content") as caught:
                run.offer(Lines(file=0, end=10, first_seq=5, lines=[other[:-1]]))
            assert caught.value.code == "conflict"
        elif way.startswith("journal"):
            bench.write(other)
        else:
            run.offer(Lines(file=0, end=10, first_seq=5, lines=[other[:-1]]))
        await until(lambda: run.state.conflicts == 1)
        bench.write(*lines[20:])
        await until(lambda: run.is_over)

    assert run.state.verdict().state is State.INCOMPLETE
    assert "came twice with different content" in run.state.verdict().text
    assert bench.stored() == list(range(1, len(lines) + 1))
    with closing(sqlite3.connect(bench.state_dir.store)) as store:
        assert store.execute("SELECT seq, source, line FROM conflicts").fetchall() == [
            (5, way.partition(",")[0], other[:-1])
        ]


@pytest.mark.parametrize("left_out", [0, 10], ids=["all stored", "one not stored"])
@in_trio
async def test_what_comes_again_after_the_daemon_was_started_anew_is_no_conflict(bench: Bench, left_out: int) -> None:
    lines = run_lines("run", 30, identity=living())
    async with bench.working() as run:
        bench.write(*(line for seq, line in enumerate(lines[:20], start=1) if seq != left_out))
        await until(lambda: run.stored == 20)

    async with bench.working() as run:
        run.offer(frame_of(lines, 5, 20))
        bench.write(*lines[20:])
        await until(lambda: run.is_over)

    assert run.state.conflicts == 0
    assert run.ingest["duplicates"] == 16
    assert bench.stored() == [seq for seq in range(1, len(lines) + 1) if seq != left_out]


# Order


@in_trio
async def test_the_store_is_never_ahead_of_the_synced_journal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run_lines("run", 60, identity=living())
    synced = 0
    really_sync = RunJournal.sync

    def sync(journal: RunJournal, number: int) -> None:
        nonlocal synced
        size = bench.state_dir.journal("run").stat().st_size
        really_sync(journal, number)
        synced = size

    def check(batches: list[Batch]) -> None:
        for batch in batches:
            assert not len(batch) or json.loads(batch.offsets)["0"] <= synced, "stored before it was synced"

    monkeypatch.setattr(RunJournal, "sync", sync)
    bench.store.before_write = check
    async with bench.working() as run:
        run.attach(Adapter(bench))
        for seq, line in enumerate(lines, start=1):
            bench.write(line)
            if seq % 4:
                run.offer(frame_of(lines, seq))
            if seq % 7 == 0:
                await trio.sleep(0.01)
        await until(lambda: run.is_over)

    assert bench.is_whole(63)


# Backpressure


@in_trio
async def test_a_full_batch_makes_every_connection_wait_for_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "BATCH_EVENTS", 10)
    lines = run_lines("run", 27, identity=living())
    bench.store.gate.clear()
    went_on: list[str] = []

    async with bench.working(ticking=False) as run, trio.open_nursery() as nursery:

        async def connection(name: str) -> None:
            await run.room()
            went_on.append(name)

        bench.write(*lines)
        run.offer(frame_of(lines, 1, 10))
        await until(lambda: bench.store.asked)  # that batch is on its way into the store, which does not move
        run.offer(frame_of(lines, 11, 10))
        for name in ("old", "new"):
            nursery.start_soon(connection, name)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert went_on == []

        bench.store.gate.set()
        await until(lambda: len(went_on) == 2)
        run.offer(frame_of(lines, 21, 10))
        await until(lambda: run.is_over)

    assert bench.is_whole(30)


@in_trio
async def test_journals_of_many_runs_are_not_all_in_memory_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Committer):
        times = 0

        @property
        def is_full(self) -> bool:
            self.times += 1
            return super().is_full

    monkeypatch.setattr(committer_module, "TAKEN_BYTES", 1_000)
    names = [f"run-{number}" for number in range(6)]
    for name in names:
        write_journal(bench.state_dir, name, run_lines(name, 50))
    bench.store.gate.clear()
    committer = Asked(bench.store)
    runs = [Run(bench.store.open_run(name, "producer"), bench.state_dir, committer) for name in names]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.serve)
        for run in runs:
            nursery.start_soon(run.serve)
        await until(lambda: bench.store.asked)
        asked = committer.times
        await until(lambda: committer.times > asked + 50)
        assert sum(run.cursor > 0 for run in runs) <= 2  # another one may just have been reading

        bench.store.gate.set()
        await until(lambda: all(run.is_over for run in runs))
        nursery.cancel_scope.cancel()

    assert committer.taken == 0


@pytest.mark.parametrize("fault", ["sync", "commit"])
@in_trio
async def test_what_a_failed_sync_or_commit_drops_takes_no_room_from_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    lines = run_lines("run", 27, identity=living())
    began: list[int] = []
    go_on = threading.Event()
    really_sync = RunJournal.sync

    def sync(journal: RunJournal, number: int) -> None:
        began.append(number)
        assert go_on.wait(20)
        if fault == "sync" and len(began) == 1:
            raise OSError(5, "Input/output error")
        really_sync(journal, number)

    monkeypatch.setattr(RunJournal, "sync", sync)
    if fault == "commit":
        bench.store.faults = ["before"]
    async with bench.working(ticking=False) as run:
        bench.write(*lines[:10])
        run.offer(frame_of(lines, 1, 10))
        await until(lambda: began)  # this batch waits for the disk, and the next one gathers meanwhile
        bench.write(*lines[10:])
        run.offer(frame_of(lines, 11, 20))
        cursor = run.cursor
        go_on.set()
        await until(lambda: run.is_over)

        assert cursor == len(lines)
        assert run._committer.taken == 0
    assert not bench.store.faults
    assert bench.is_whole(len(lines))


@in_trio
async def test_the_end_of_a_process_that_cannot_be_seen_from_here_is_not_waited_for(bench: Bench) -> None:
    bench.write(*run_lines("run", 2, identity=living()._replace(pid_namespace="another")))

    async with bench.working() as run:
        await until(lambda: run.is_over)
        with trio.fail_after(10):
            assert await run.late_end() == {}


@pytest.mark.parametrize("where", ["_read_some", "_keeper.sync", "_told"])
@in_trio
async def test_what_was_taken_of_a_run_whose_work_ends_by_an_error_takes_no_room_from_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("says the test")

    async def work(run: Run) -> None:
        with pytest.raises(ExceptionGroup):
            await run.serve()

    lines = run_lines("run", 20, identity=living())
    committer = Committer(bench.store)
    run = Run(bench.store.open_run("run", "producer"), bench.state_dir, committer)
    bench.write(*lines[:10])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.serve)
        nursery.start_soon(work, run)
        await until(lambda: run.stored == 10)
        owner, _, name = where.rpartition(".")
        monkeypatch.setattr(getattr(run, owner) if owner else run, name, fail)
        bench.write(*lines[10:])
        run.offer(frame_of(lines, 11, 10))
        assert (run.cursor, committer.taken > 0) == (20, True)
        await run.over.wait()
        nursery.cancel_scope.cancel()

    assert committer.taken == 0


@in_trio
async def test_a_batch_with_room_makes_nobody_wait(bench: Bench) -> None:
    async with bench.working() as run:
        with trio.fail_after(1):
            await run.room()


# The end


@in_trio
async def test_a_process_that_is_gone_has_its_journal_read_before_the_verdict(bench: Bench) -> None:
    with sleeper() as (identity, kill):
        lines = run_lines("run", 2_000, identity=identity)
        bench.write(*lines[:5])
        async with bench.working(ticking=False) as run:
            run.read_journal()
            await until(lambda: run.stored == 5)
            bench.write(*lines[5:])  # nobody tells of it, and the process ends
            kill()
            await until(lambda: run.is_over)

    assert run.state.verdict().state is State.PASSED
    assert bench.is_whole(2_003)
    assert not bench.state_dir.observed("run").exists()


def test_a_tick_asks_for_no_less_than_was_asked_for_when_the_process_ended(bench: Bench) -> None:
    lines = run_lines("run", 10)
    run = Run(bench.store.open_run("run", "producer"), bench.state_dir, Committer(bench.store))
    bench.write(*lines[:6])
    run.tick()
    bench.write(*lines[6:])
    run.read_journal()  # the process is gone: read to the end, then judge
    with closing(run.journal):
        run.tick()  # knows what was there a tick ago

        assert run.journal.targets == {0: sum(map(len, lines))}


@in_trio
async def test_an_exit_that_is_told_early_does_not_make_a_complete_run_look_crashed(bench: Bench) -> None:
    with sleeper() as (identity, kill):
        lines = run_lines("run", 3_000, identity=identity)
        states: set[State] = set()
        bench.write(*lines[:5])
        async with bench.working(ticking=False) as run:
            await until(lambda: run.stored == 5)
            bench.store.before_write = lambda batches: states.update(State(batch.state) for batch in batches)
            bench.write(*lines[5:])
            kill()
            await run.observe(ObservationType.EXIT_STATUS, {"pid": identity.pid, "exitCode": 0})
            states.add(run.state.verdict().state)
            await until(lambda: run.is_over)

    assert State.CRASHED not in states
    assert run.state.verdict().state is State.PASSED
    assert run.state.exit_code == 0
    assert bench.is_whole(3_003)


@in_trio
async def test_an_exit_in_mid_run_is_a_crash_with_its_code(bench: Bench) -> None:
    with sleeper() as (identity, kill):
        bench.write(*run_lines("run", 5, identity=identity, exit_code=None))
        async with bench.working() as run:
            await until(lambda: run.stored == 7)
            kill()
            await run.observe(ObservationType.EXIT_STATUS, {"pid": identity.pid, "exitCode": 0})
            await until(lambda: run.is_over)

    verdict = run.state.verdict()
    assert (verdict.state, verdict.kind) == (State.CRASHED, "exit")
    assert bench.archive.view("run")["state"] == "crashed"


@in_trio
async def test_an_observation_of_before_the_start_is_folded_in(bench: Bench) -> None:
    bench.write(*run_lines("run", 5, exit_code=None))
    append_observation(
        bench.state_dir.observed("run"), ObservationType.EXIT_STATUS, {"pid": gone().pid, "signal": 9}, 1.0
    )

    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert run.state.verdict().text.startswith("the process was killed by SIGKILL")


@in_trio
async def test_an_observation_that_comes_together_with_a_failed_commit_still_counts(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=living(), exit_code=None)
    bench.write(*lines)
    async with bench.working(ticking=False) as run:
        await until(lambda: run.stored == 7)
        bench.store.faults = ["before"]
        await run.observe(ObservationType.EXIT_STATUS, {"pid": living().pid, "exitCode": 3})
        await until(lambda: not bench.store.faults)
        bench.write(case(8, "test_it.py::test_next"))
        run.read_journal()
        await until(lambda: run.stored == 8)

        assert run.state.exit_code == 3
        assert run.trouble == ""


@in_trio
async def test_a_death_that_cannot_be_written_down_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "RETRY_S", 0.01)
    bench.write(*run_lines("run", 5, exit_code=None))
    full = [True]

    def append(*arguments: Any) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append_observation(*arguments)

    monkeypatch.setattr(run_module, "append_observation", append)

    async with bench.working() as run:
        await until(lambda: "cannot write that its process is gone: No space left" in run.trouble)
        assert not run.is_over
        full.clear()
        await until(lambda: run.is_over)

    assert bench.archive.view("run")["state"] == "crashed"
    assert run.trouble == ""


@in_trio
async def test_a_run_that_was_wholly_stored_is_pronounced_dead_by_the_next_daemon(bench: Bench) -> None:
    with sleeper() as (identity, kill):
        bench.write(*run_lines("run", 5, identity=identity, exit_code=None))
        async with bench.working() as run:
            await until(lambda: run.stored == 7)
        kill()

    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert run.state.verdict().state is State.CRASHED


@in_trio
async def test_a_process_that_is_gone_before_its_first_line_leaves_a_run_that_is_over(bench: Bench) -> None:
    bench.journal.touch()
    async with bench.working() as run:
        run.attach(Adapter(bench), gone())
        await until(lambda: run.is_over)

    verdict = run.state.verdict()
    assert verdict.state is State.CRASHED
    assert "before its first event" in verdict.text


@in_trio
async def test_a_run_whose_process_cannot_be_seen_is_not_pronounced_dead(bench: Bench) -> None:
    lines = run_lines("run", 5, exit_code=None)
    start = decode(lines[0][:-1]).payload
    start["process"]["pid_namespace"] = "pid:[1]"
    bench.write(event(1, EventType.RUN_START, start), *lines[1:])

    async with bench.working() as run:
        await until(lambda: run.stored == 7)
        await ticks(run)
        assert run.liveness is Liveness.UNKNOWN
        assert run.state.gone is None
        assert not run.is_over

    assert bench.archive.view("run")["state"] == "detached"


@in_trio
async def test_a_reused_pid_is_not_the_run(bench: Bench) -> None:
    lines = run_lines("run", 5, identity=gone(), exit_code=None)  # our own pid, with another start
    bench.write(*lines)

    async with bench.working() as run:
        await until(lambda: run.is_over)

    assert run.state.verdict().state is State.CRASHED


@pytest.mark.parametrize("way", ["offer", "offer_unjournaled"])
@in_trio
async def test_new_lines_of_a_run_that_is_over_take_no_room_from_others(bench: Bench, way: str) -> None:
    lines = run_lines("run", 5, identity=living())
    late = case(len(lines) + 1, "test_it.py::test_late")
    bench.write(*lines)
    async with bench.working(ticking=False) as run:
        await run.over.wait()

        frame = frame_of([*lines, late], len(lines), 2)
        unjournaled = Unjournaled(first_seq=frame.first_seq, lines=frame.lines)
        offer = partial(run.offer, frame) if way == "offer" else partial(run.offer_unjournaled, unjournaled)
        with pytest.raises(RemoteProtocolError, match="the work on this run has ended") as caught:
            offer()
        run.offer(frame_of(lines, 1, len(lines)))  # what came before it was over is still on its way

        assert caught.value.code == "run-over"
        assert run._committer.taken == 0
        assert run.ingest["duplicates"] == 1 + len(lines)
    assert bench.is_whole(len(lines))


@in_trio
async def test_what_follows_runcomplete_changes_no_outcome(bench: Bench) -> None:
    lines = run_lines("run", 2)
    bench.write(*lines, case(len(lines) + 1, "test_it.py::test_late", "FAIL"))

    async with bench.working() as run:
        await until(lambda: run.is_over and not run.has_work)

    assert run.state.verdict().state is State.PASSED
