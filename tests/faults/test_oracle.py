"""Every check of the oracle goes red, on values, files and stores made by hand."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.faults.oracle import Entry, Journaled, Oracle, Reported, Stored, judge, open_store, read_journal, read_report
from tests.faults.producer import RECORD, Job, Kind, digest_of, payloads
from tests.place import Place
from tests.scripted import event, made_state_dir
from threepio_client.events import EventType
from threepio_client.paths import StateDir
from threepiod.batch import Batch
from threepiod.store import Store

D = [bytes([number]) * 16 for number in range(10)]
"""Digests."""
START = Entry(None, D[0])

SAID = Reported(run_id="r", attempted={7: D[1], 8: D[2], 9: D[3]}, returned={7, 8}, acked=2)
"""Killed while it emitted number 9, of which nothing is left."""
JOURNAL = Journaled(by_seq={1: START, 2: Entry(7, D[1]), 3: Entry(8, D[2])}, unreadable={"r.jsonl": 1})
STORE = Stored([(1, START), (2, Entry(7, D[1])), (3, Entry(8, D[2]))])


def test_a_run_that_was_killed_is_fine() -> None:
    assert judge(SAID, JOURNAL, STORE) == []


def test_a_run_that_left_nothing_is_fine() -> None:
    assert judge(Reported(run_id="r"), Journaled(), Stored([])) == []


def said(**changes: Any) -> Reported:
    return dataclasses.replace(SAID, **changes)


def journal(changed: dict[int, Entry | None], **more: Any) -> Journaled:
    by_seq = {seq: entry for seq, entry in {**JOURNAL.by_seq, **changed}.items() if entry is not None}
    return dataclasses.replace(JOURNAL, by_seq=by_seq, **more)


def store(changed: dict[int, Entry | None], *more: tuple[int, Entry], holes: int = 0) -> Stored:
    rows = {seq: entry for seq, entry in {**dict(STORE.rows), **changed}.items() if entry is not None}
    return Stored([*rows.items(), *more], holes)


@pytest.mark.parametrize(
    ("report", "found", "stored", "sentence"),
    [
        (said(acked=3), JOURNAL, store({3: None}), "1 acked and not stored (seq): 3"),
        (
            SAID,
            journal({3: None}),
            store({3: None}),
            "1 returned and not in the journal, 0 counted as lost (number): 8",
        ),
        (
            said(lost=1, returned={7, 8, 9}),
            journal({3: None}),
            store({3: None}),
            "2 returned and not in the journal, 1",
        ),
        (said(lost=1, said=False), journal({3: None}), store({3: None}), "1 returned and not in the journal"),
        (said(lost=1, said=False), JOURNAL, STORE, "1 counted as lost and not said"),
        (SAID, JOURNAL, store({4: Entry(99, D[4])}), "1 stored and never attempted (number): 99"),
        (SAID, journal({4: Entry(99, D[4])}), STORE, "1 in the journal and never attempted (number): 99"),
        (SAID, JOURNAL, store({3: Entry(8, D[9])}), "1 stored with other content than attempted (number): 8"),
        (SAID, journal({3: Entry(8, D[9])}), STORE, "1 in the journal with other content than attempted (number): 8"),
        (SAID, JOURNAL, store({1: Entry(None, D[9])}), "1 stored with other content than journaled (seq): 1"),
        (SAID, JOURNAL, store({}, (2, Entry(7, D[1]))), "1 stored twice (seq): 2"),
        (SAID, JOURNAL, store({4: Entry(8, D[2])}), "1 stored twice (number): 8"),
        (SAID, journal({4: Entry(8, D[2])}), STORE, "1 journaled twice (number): 8"),
        (SAID, journal({}, repeated=[2]), STORE, "1 twice in one file of the journal (seq): 2"),
        (SAID, journal({}, other=[2]), STORE, "1 twice in the journal with different content (seq): 2"),
        (SAID, journal({2: None}), STORE, "1 left out by the journal (seq): 2"),
        (SAID, JOURNAL, store({2: None}), "1 left out by the store (seq): 2"),
        (SAID, JOURNAL, store({3: None}), "1 journaled and not stored (seq): 3"),
        (SAID, journal({3: None}), STORE, "1 stored and not in the journal (seq): 3"),
        (SAID, JOURNAL, store({}, holes=1), "the store has 1 holes"),
        (SAID, journal({}, unreadable={"r.jsonl": 2}), STORE, "2 lines of r.jsonl cannot be read: one may be torn"),
    ],
)
def test_every_promise_can_be_seen_broken(report: Reported, found: Journaled, stored: Stored, sentence: str) -> None:
    assert any(sentence in failure for failure in judge(report, found, stored)), judge(report, found, stored)


def test_what_is_lost_counted_and_said_is_no_failure_of_the_journal() -> None:
    assert judge(said(lost=1, acked=1), journal({3: None}), store({3: None})) == []


def test_a_report_is_read_up_to_the_record_in_which_its_writer_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "r.report"
    records = [(Kind.ATTEMPTED, 5, D[1]), (Kind.RETURNED, 5, D[0]), (Kind.ACKED, 2, D[0]), (Kind.LOST_UNSAID, 1, D[0])]
    path.write_bytes(b"".join(RECORD.pack(*record) for record in records) + RECORD.pack(Kind.RETURNED, 6, D[0])[:-1])
    found = read_report(path, "r", 1)
    assert (found.attempted, found.returned, found.acked, found.closed) == ({5: D[1]}, {5}, 2, False)
    assert (found.lost, found.said) == (1, False)


def test_all_files_of_a_journal_are_one_set_by_seq(tmp_path: Path) -> None:
    start, first, second, other = (event(seq, "x", {"n": n}) for seq, n in ((1, 0), (2, 1), (3, 2), (2, 9)))
    (tmp_path / "r.jsonl").write_bytes(start + first + second[:20])
    (tmp_path / "r.1.jsonl").write_bytes(start + second)
    (tmp_path / "r.10.jsonl").write_bytes(start + other)
    (tmp_path / "r.observed.jsonl").write_bytes(event(9, "processGone", {}))
    (tmp_path / "r.x.1.jsonl").write_bytes(event(8, "x", {}))
    (tmp_path / "r2.jsonl").write_bytes(event(7, "x", {}))
    found = read_journal(tmp_path, "r")
    assert sorted(found.by_seq) == [1, 2, 3]
    assert found.by_seq[2].digest == digest_of("x", {"n": 1}), "the first readable one counts"
    assert (found.unreadable, found.repeated, found.other) == ({"r.jsonl": 1}, [], [2])


def test_a_seq_that_stands_twice_in_one_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_bytes(event(1, "x", {}) * 2 + b"garbage\n")
    found = read_journal(tmp_path, "r")
    assert (found.repeated, found.unreadable) == ([1], {"r.jsonl": 1})


JOB = Job(run_id="run1", index=1, report="", events=600, seed=3)


def test_the_store_gives_back_the_very_payloads(place: Place) -> None:
    """The product's own writer fills it; some lines are larger than 64 KiB."""
    made_state_dir(place.state_dir.path)
    sent = list(payloads(JOB))
    assert max(len(json.dumps(payload)) for payload in sent) > 64 * 1024
    fill(place.state_dir, sent)
    with open_store(place.state_dir.store) as reader:
        found = reader.run("run1")
        assert reader.count("run1", upto=600) == 600
        assert reader.ownerless() == 0
    assert dict(found.rows) == {
        seq: Entry(payload["number"], digest_of(EventType.TEST_CASE, payload)) for seq, payload in enumerate(sent, 1)
    }


def fill(state_dir: StateDir, sent: list[dict[str, Any]]) -> None:
    from threepio_client.journal import parse
    from threepio_client.runstate import RunState

    path = state_dir.journal("run1")
    lines = [event(seq, EventType.TEST_CASE, payload) for seq, payload in enumerate(sent, start=1)]
    path.write_bytes(b"".join(lines))
    writer = Store(state_dir.store)
    run = writer.open_run("run1", "p")
    batch, state = Batch(key=run.key), RunState()
    for line in lines:
        record = parse(line[:-1], 0)
        assert record.event is not None
        batch.take([record.event], len(line), state)
    batch.close(seq=len(lines), offsets={0: path.stat().st_size}, observed=0, final=True, ingest={}, state=RunState())
    writer.write([batch])
    writer.close()


@pytest.fixture
def filled(place: Place) -> tuple[Place, Oracle]:
    """A place with one run of five events that the oracle began, and all in order."""
    made_state_dir(place.state_dir.path)
    oracle = Oracle(place)
    job = oracle.new_job(5, seed=3)
    sent = list(payloads(job))
    fill(place.state_dir, sent)
    with open(job.report, "wb") as report:
        for payload in sent:
            report.write(RECORD.pack(Kind.ATTEMPTED, payload["number"], digest_of(EventType.TEST_CASE, payload)))
            report.write(RECORD.pack(Kind.RETURNED, payload["number"], D[0]))
        report.write(RECORD.pack(Kind.ACKED, 5, D[0]))
    return place, oracle


def change(place: Place, statement: str) -> None:
    db = sqlite3.connect(place.state_dir.store)
    with db:
        db.execute(statement)
    db.close()


def test_a_place_in_order_is_fine(filled: tuple[Place, Oracle]) -> None:
    _, oracle = filled
    assert oracle.wait_until_stored(1.0) == []
    assert oracle.check_acks(oracle.jobs.values()) == []
    assert oracle.check() == []
    assert oracle.counts == {"returned": 5, "stored": 5, "lost": 0, "doubled": 0, "torn": 0}


def test_an_ack_that_nothing_stands_behind_is_seen(filled: tuple[Place, Oracle]) -> None:
    place, oracle = filled
    change(place, "DELETE FROM results WHERE seq > 3")
    assert "2 acked and not stored when the daemon was dead" in oracle.check_acks(oracle.jobs.values())[0]
    assert any("2 acked and not stored (seq): 4, 5" in failure for failure in oracle.check())


def test_acks_without_a_store_are_seen(filled: tuple[Place, Oracle]) -> None:
    place, oracle = filled
    place.state_dir.store.unlink()
    assert "5 acked and not stored" in oracle.check_acks(oracle.jobs.values())[0]


def test_an_ack_that_comes_later_is_read_from_where_reading_stopped(filled: tuple[Place, Oracle]) -> None:
    _, oracle = filled
    (job,) = oracle.jobs.values()
    assert oracle.acked(job) == 5
    with open(job.report, "ab") as report:
        report.write(RECORD.pack(Kind.ACKED, 6, D[0])[:-1])
    assert oracle.acked(job) == 5
    with open(job.report, "ab") as report:
        report.write(b"\0")
    assert oracle.acked(job) == 6


def test_a_run_that_is_not_stored_to_its_end_is_seen(filled: tuple[Place, Oracle]) -> None:
    place, oracle = filled
    change(place, "UPDATE runs SET final = 0")
    assert "1 runs not stored to their end, and nothing stored for 0 s: run1" in oracle.wait_until_stored(0.0)[0]


def test_runs_that_nobody_began_are_seen(filled: tuple[Place, Oracle]) -> None:
    place, oracle = filled
    change(place, "UPDATE runs SET run_id = 'other'")
    assert any("1 runs are stored and were never begun: other" in failure for failure in oracle.check())


def test_rows_of_no_run_are_seen(filled: tuple[Place, Oracle]) -> None:
    place, oracle = filled
    change(place, "INSERT INTO events VALUES (99, 1, 'x', 0, 0, '{}')")
    assert any("1 rows of the store belong to no run" in failure for failure in oracle.check())


def test_what_the_product_itself_finds_is_said(filled: tuple[Place, Oracle]) -> None:
    place, oracle = filled
    change(place, "UPDATE results SET crc = crc + 1 WHERE seq = 2")  # the one thing that only verify looks at
    (failure,) = oracle.check()
    assert failure.startswith("threepio verify --all: not whole: run1")
