"""The store: its schema grows in named steps, and a commit is all or nothing."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.scripted import case, event, in_trio
from threepio_client.archive import Archive
from threepio_client.events import EventType
from threepio_client.line import decode
from threepio_client.paths import StateDir
from threepio_client.runstate import RunState
from threepiod import store as store_module
from threepiod.batch import Batch
from threepiod.committer import Committer
from threepiod.schema import MIGRATIONS, Migration
from threepiod.store import LOG_BYTES, DamagedStore, Store, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return StateDir(tmp_path).store


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    found = Store(path)
    yield found
    found.close()


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def batch(store: Store, run_id: str, lines: list[bytes]) -> Batch:
    """Return a batch of a new run's lines."""
    found = store.open_run(run_id, "producer")
    state = RunState()
    made = Batch(key=found.key)
    size = 0
    for line in lines:
        made.take([decode(line[:-1])], len(line), state)
        size += len(line)
    made.close(seq=state.seq, offsets={0: size}, observed=0, final=False, ingest={}, state=state)
    return made


def bytes_read() -> int:
    """Return what this process has read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_new_store_has_every_migration_by_name(store: Store, path: Path) -> None:
    assert rows(path, "SELECT name FROM migrations ORDER BY name") == [(step.name,) for step in MIGRATIONS]
    assert [step.name for step in MIGRATIONS] == sorted({step.name for step in MIGRATIONS})


def test_a_migration_that_breaks_leaves_nothing_of_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).close()
    broken = Migration(name="9998-two-steps", statements=("CREATE TABLE half (x)", "CREATE TABLE runs (x)"))
    monkeypatch.setattr(store_module, "MIGRATIONS", (*MIGRATIONS, broken))

    with pytest.raises(StoreError, match="cannot open the store"):
        Store(path)

    assert not rows(path, "SELECT name FROM sqlite_master WHERE name = 'half'")
    assert ("9998-two-steps",) not in rows(path, "SELECT name FROM migrations")
    mended = Migration(name="9998-two-steps", statements=("CREATE TABLE half (x)", "CREATE TABLE whole (x)"))
    monkeypatch.setattr(store_module, "MIGRATIONS", (*MIGRATIONS, mended))
    Store(path).close()
    assert len(rows(path, "SELECT name FROM sqlite_master WHERE name IN ('half', 'whole')")) == 2


def test_a_migration_is_applied_once_and_keeps_the_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Store(path)
    first.write([batch(first, "old", [case(1, "t.py::one")])])
    first.close()
    added = Migration(name="9999-a-column", statements=("ALTER TABLE runs ADD COLUMN note TEXT",))
    monkeypatch.setattr(store_module, "MIGRATIONS", (*MIGRATIONS, added))

    migrated, again = Store(path), Store(path)  # a second time it would be a duplicate column
    migrated.close()
    again.close()

    assert rows(path, "SELECT run_id, seq, note FROM runs") == [("old", 1, None)]
    copy = path.with_name(f"{path.name}.before-9999-a-column")
    assert (first.kept, migrated.kept, again.kept) == (None, copy, None)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert rows(copy, "SELECT name FROM migrations ORDER BY name") == [(step.name,) for step in MIGRATIONS]
    assert rows(copy, "SELECT run_id, seq FROM runs") == [("old", 1)]
    assert not list(path.parent.glob("*.part"))


def test_events_of_an_older_store_are_all_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(store_module, "MIGRATIONS", MIGRATIONS[:3])
        older = Store(path)
        for run_id in ("one", "other"):
            chunks = [event(seq, EventType.TESTS_COLLECTED, {"nodeids": ["x" * 5_000, run_id]}) for seq in range(1, 9)]
            older.write([batch(older, run_id, chunks)])
        older.close()
    stored = rows(path, "SELECT run, seq, type, timestamp, crc, payload FROM events ORDER BY run, seq")

    Store(path).close()

    assert len(stored) == 16
    assert rows(path, "SELECT run, seq, type, timestamp, crc, payload FROM events ORDER BY run, seq") == stored
    assert rows(path, "SELECT name FROM sqlite_master WHERE name LIKE 'events_%'") == []


def test_an_event_is_found_without_reading_what_others_say(store: Store, path: Path) -> None:
    chunk = {"nodeids": ["x" * 60_000] * 3}
    chunks = [event(seq, EventType.TESTS_COLLECTED, chunk) for seq in range(1, 41)]
    store.write([batch(store, "large", chunks)])
    store.close()

    with closing(sqlite3.connect(path)) as db:
        db.execute("SELECT seq FROM runs").fetchall()
        before = bytes_read()
        found = db.execute("SELECT type FROM events WHERE run = 1 AND seq = 30").fetchall()
        taken = bytes_read() - before

    assert found == [(EventType.TESTS_COLLECTED,)]
    assert 0 < taken < 100_000


def test_a_store_that_cannot_be_copied_is_not_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).close()
    before = path.read_bytes()
    added = Migration(name="9999-a-column", statements=("ALTER TABLE runs ADD COLUMN note TEXT",))
    monkeypatch.setattr(store_module, "MIGRATIONS", (*MIGRATIONS, added))

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot open the store .*No space left on device"):
        Store(path)

    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir() if "before" in found.name] == []


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO migrations VALUES ('7777-of-tomorrow', 'later')")
        db.commit()
    before = path.read_bytes()

    with pytest.raises(StoreError, match="newer threepiod") as caught:
        Store(path)

    assert "7777-of-tomorrow" in str(caught.value)
    assert "THREEPIO_STATE_DIR" in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"\0" * 4096], ids=["text", "zeros"])
def test_what_is_no_database_is_refused_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(DamagedStore) as caught:
        Store(path)

    assert f"cannot open the store {path}" in str(caught.value)
    assert path.read_bytes() == content


def test_a_store_that_could_not_be_opened_holds_no_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        store_module, "MIGRATIONS", (Migration(name="0000-broken", statements=("CREATE TABLE t (x)", "NOT SQL")),)
    )
    with pytest.raises(StoreError) as caught:
        Store(path)

    with closing(sqlite3.connect(path, timeout=0)) as db:
        db.execute("BEGIN EXCLUSIVE")
    assert caught.value.exit_code == 5


def test_a_commit_is_all_or_nothing(store: Store, path: Path) -> None:
    good = batch(store, "good", [case(1, "t.py::one"), event(2, "adapterStats", {})])
    bad = batch(store, "bad", [case(1, "t.py::one"), case(2, "t.py::two")])
    bad.passed.append(bad.passed[0])  # the same key again

    with pytest.raises(StoreError):
        store.write([good, bad])

    assert rows(path, "SELECT run_id, seq FROM runs ORDER BY run_id") == [("bad", 0), ("good", 0)]
    assert rows(path, "SELECT count(*) FROM results") == rows(path, "SELECT count(*) FROM events") == [(0,)]
    store.write([good])
    assert rows(path, "SELECT run_id, seq FROM runs WHERE seq > 0") == [("good", 2)]


def test_rows_and_position_of_a_run_are_stored_together(store: Store, path: Path) -> None:
    lines = [case(1, "t.py::one"), case(2, "t.py::two", "FAIL", error={"message": "no"}), event(3, "adapterStats", {})]

    store.write([batch(store, "run", lines)])

    found = store.find_run("run")
    assert found is not None
    assert (found.seq, found.offsets, found.state.counts["failed"]) == (3, {0: sum(map(len, lines))}, 1)
    stored = Archive(StateDir(path.parent)).stored_lines("run")
    assert {(seq, crc) for seq, crc, _ in stored} == {(e.seq, e.crc) for e in (decode(line[:-1]) for line in lines)}


def test_a_test_has_one_number_across_runs(store: Store, path: Path) -> None:
    for run_id in ("first", "second"):
        store.write([batch(store, run_id, [case(1, "t.py::same")])])

    assert rows(path, "SELECT count(*), count(DISTINCT test) FROM results") == [(2, 1)]


def test_what_a_foreign_writer_may_say_is_stored_or_refused_as_an_error_of_the_store(store: Store, path: Path) -> None:
    strange = [
        case(1, "t.py::one", worker={"a": 1}, duration=2**70),
        case(2, "t.py::two", phase=["x"], started="yesterday", countedAs={"a": 1}),
        case(3, "t.py::three", status=["x"]),
        event(4, "of another version", {"number": 2**80}),
    ]

    store.write([batch(store, "strange", strange)])

    assert rows(path, "SELECT seq FROM runs") == [(4,)]


def test_a_text_that_the_store_cannot_hold_is_an_error_of_the_store(store: Store) -> None:
    made = batch(store, "surrogate", [case(1, "t.py::one")])
    made.nodeids, made.passed = ["\ud800"], [("\ud800", *made.passed[0][1:])]

    with pytest.raises(StoreError):
        store.write([made])

    store.write([batch(store, "next", [case(1, "t.py::one")])])


class CountingStore(Store):
    """Notes how many runs each commit holds; the first one waits until it is told to go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.commits: list[int] = []

    def write(self, batches: list[Batch]) -> None:
        self.commits.append(len(batches))
        super().write(batches)


@in_trio
async def test_batches_of_several_runs_are_one_commit(path: Path) -> None:
    store = CountingStore(path)
    committer = Committer(store)
    batches = [batch(store, f"run-{number}", [case(1, "t.py::one")]) for number in range(8)]

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as waiting:
            for made in batches:
                waiting.start_soon(committer.commit, made)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(committer.serve)
        nursery.cancel_scope.cancel()

    assert store.commits == [8]
    assert rows(path, "SELECT count(*) FROM runs WHERE seq = 1") == [(8,)]
    store.close()


@in_trio
async def test_a_failed_commit_is_told_to_every_run_in_it_and_to_no_later_one(path: Path) -> None:
    store = CountingStore(path)
    committer = Committer(store)
    bad = batch(store, "bad", [case(1, "t.py::one")])
    bad.passed *= 2
    told: list[str] = []

    async def commit(name: str, made: Batch) -> None:
        try:
            await committer.commit(made)
            told.append(f"{name} stored")
        except StoreError:
            told.append(f"{name} failed")

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as waiting:
            waiting.start_soon(commit, "bad", bad)
            waiting.start_soon(commit, "other", batch(store, "other", [case(1, "t.py::one")]))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(committer.serve)
        await commit("later", batch(store, "later", [case(1, "t.py::one")]))
        nursery.cancel_scope.cancel()

    assert sorted(told) == ["bad failed", "later stored", "other failed"]
    store.close()


def big_batch(store: Store, run_id: str) -> Batch:
    """Return a batch that makes the write-ahead log long enough to be folded."""
    return batch(store, run_id, [case(n, f"t.py::test_{n}", output="x" * 60_000) for n in range(1, 100)])


def test_a_long_log_is_folded_into_the_store(store: Store, path: Path) -> None:
    store.write([big_batch(store, "run")])
    size = path.stat().st_size

    store.fold_log()

    assert path.stat().st_size > size + LOG_BYTES
    size = path.stat().st_size
    store.write([batch(store, "other", [case(1, "t.py::one")])])
    store.fold_log()
    assert path.stat().st_size == size


def test_a_log_for_which_there_was_no_room_is_folded_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_full = True

    class Full(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            if is_full and "wal_checkpoint" in statement:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(statement, *parameters)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Full))
    with closing(Store(path)) as store:
        store.write([big_batch(store, "run")])
        with pytest.raises(StoreError, match=r"cannot fold the log .* Make room"):
            store.fold_log()
        is_full = False
        store.write([big_batch(store, "more")])
        assert store.is_log_long
        store.fold_log()
        assert store.checkpoint()


def test_a_log_that_cannot_be_synced_is_told_and_not_folded_again(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Failing(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            if "wal_checkpoint" in statement:
                asked.append(statement)
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(statement, *parameters)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Failing))
    with closing(Store(path)) as store:
        store.write([big_batch(store, "run")])
        with pytest.raises(StoreError, match=r"cannot sync the store .*: disk I/O error"):
            store.fold_log()
        store.write([big_batch(store, "more")])
        store.fold_log()
        with pytest.raises(StoreError, match="not synced again"):
            store.checkpoint()

        assert len(asked) == 1
        assert [store.find_run(run_id) is not None for run_id in ("run", "more")] == [True, True]
