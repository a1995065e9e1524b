"""`ingest`, `memory` and `scale`: what is emitted is stored, and the numbers are of that."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import ingest, memory, scale
from benchmarks.__main__ import main
from benchmarks.emitting import WAITING, Emitted, emit
from benchmarks.ingest import Bare, bare_loop, summary
from benchmarks.measure import BenchmarkFailed
from benchmarks.memory import Memory
from benchmarks.scale import cut, flat, on_disk
from benchmarks.service import running_service
from benchmarks.table import MIB

EMITTED = Emitted(
    events=100_000,
    seconds=1.0,
    emitted_s=0.9,
    cpu_s=0.5,
    blocked_ms=0.0,
    spilled=0,
    unacked=0,
    peak_rss=0,
    daemon_cpu_s=0.8,
    daemon_after_s=0.2,
)


def test_what_is_emitted_is_stored_and_the_bare_loop_has_the_same_rows(tmp_path: Path) -> None:
    with running_service(Path(sys.executable), tmp_path) as service:
        found = emit(
            Path(sys.executable), service.environment | WAITING, service.pid, "run", tests=50, processes=2, failing=10
        )
        statuses = [service.run_status(f"run-{number}") for number in (0, 1)]
        service.stop()

    assert (found.events, found.spilled, found.unacked) == (2 * 55, 0, 0)  # and of run, collection and file
    assert 0 < found.emitted_s <= found.seconds < 60
    for status in statuses:
        assert status["events"]["stored"] == 55
        assert (status["state"], status["finished"], status["counts"]["failed"]) == ("failed", 50, 5)
    bare = bare_loop(tmp_path / "state", tmp_path / "bare.db")
    assert bare.rows == 2 * 55
    content = []
    for path in (tmp_path / "state/store.sqlite3", tmp_path / "bare.db"):
        with closing(sqlite3.connect(path)) as db:
            tables = ("tests", "results", "events")
            content.append([sorted(map(repr, db.execute(f"SELECT * FROM {table}"))) for table in tables])
    assert content[0] == content[1]
    assert on_disk(tmp_path / "state", 100)["bytes a test in the store"] > 50


def test_events_a_second_are_judged() -> None:
    fast, loops = EMITTED, [Bare(rows=100_000, seconds=0.3, cpu_s=0.25)]
    slow = Emitted(**{**EMITTED.__dict__, "seconds": 1.01})

    checks = ingest.checks_of({1: [fast], 8: [slow]}, loops)

    assert [(check.found, check.ok) for check in checks] == [
        ("100,000", True),
        ("4.00", None),
        ("99,010", False),
        ("4.00", None),
    ]


def test_a_profile_tells_a_function_itself_from_what_it_calls() -> None:
    said = summary("main (a.py:1);work (a.py:7) 6\nmain (a.py:2) 2\nmain (a.py:1);work (a.py:8);work (a.py:7) 2\n")

    assert [line.split() for line in said[2:4]] == [["80.0%", "work", "(a.py)"], ["20.0%", "main", "(a.py)"]]
    assert [line.split() for line in said[5:]] == [["100.0%", "main", "(a.py)"], ["80.0%", "work", "(a.py)"]]


def test_memory_is_flat_or_not() -> None:
    def of(*mebibytes: int) -> list[bool | None]:
        found = [Memory(events=1, runs=1, start=0, peak=size * MIB, end=0) for size in mebibytes]
        return [check.ok for check in memory.checks_of(found)]

    assert of(40, 44, 42) == [True, True]
    assert of(40, 45) == [True, False]
    assert of(65, 64) == [False, True]


def test_memory_is_that_of_a_daemon_that_stored_the_events(tmp_path: Path) -> None:
    output = tmp_path / "results.json"

    assert main(["memory", "--sizes", "100", "--output", str(output)]) == 0

    found = json.loads(output.read_text())["results"][0]["memory"]
    assert [(one["events"], one["runs"]) for one in found] == [(100, 1), (100, 8)]
    assert all(10 * MIB < one["start"] <= one["peak"] for one in found)


def test_an_interrupted_journal_is_stored_and_rebuilt(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results.json"

    code = main(["scale", "--parts", "recovery", "--probe", "50", "--output", str(output)])

    assert code == 0
    assert json.loads(output.read_text())["results"][0]["events"] == 54
    assert "interrupted journal" in capfd.readouterr().out


def test_an_interrupted_journal_ends_within_a_line(tmp_path: Path) -> None:
    journal = tmp_path / "run.jsonl"
    journal.write_text('{"seq":1}\n{"seq":2}\n{"seq":3,"eventType":"runComplete","payload":{"exitCode":0}}\n')

    assert cut(journal) == 2
    assert journal.read_text().startswith('{"seq":1}\n{"seq":2}\n{"seq":3,"eventType"')
    assert not journal.read_text().endswith("\n")
    with pytest.raises(BenchmarkFailed):
        cut(journal)


def test_costs_are_flat_within_a_fifth() -> None:
    assert [flat("", costs).ok for costs in ([10.0, 12.0], [10.0, 12.1])] == [True, False]
    assert scale.FLAT == 0.20
