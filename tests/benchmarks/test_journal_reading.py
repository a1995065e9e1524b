from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from benchmarks.journal import journal_files, read_journal
from benchmarks.outcomes import Counts


def _line(seq: int, kind: str, **payload: Any) -> bytes:
    event = {"seq": seq, "eventType": kind, "payload": payload, "timestamp": 100.0 + seq}
    head = json.dumps(event, separators=(",", ":"))[:-1].encode()
    return head + b',"crc":"%08x"}\n' % zlib.crc32(head)


def _case(seq: int, nodeid: str, status: str, phase: str = "call", **more: Any) -> bytes:
    return _line(seq, "testCase", nodeid=nodeid, status=status, phase=phase, **more)


def test_a_whole_journal(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = [
        _line(1, "runStart"),
        _case(2, "a.py", "SKIP", "collect"),
        _line(3, "collectionError", nodeid="b.py"),
        _line(4, "testsCollected", nodeids=["t", "u"]),
        _line(5, "collectionFinish", collected=2, deselected=1),
        _case(6, "t", "PASS"),
        _case(7, "t", "ERROR", "teardown"),
        _case(8, "u", "FAIL", subtest={"message": "i=1"}, countedAs="subtests_failed"),
        _case(9, "u", "XFAIL"),
        _line(10, "runComplete", exitCode=1, deselected=1, stats={"spilled": 4, "warnings": 2}),
    ]
    path.write_bytes(b"".join(lines))
    journal = read_journal(journal_files(tmp_path, "r"))
    assert (journal.lines, journal.last_seq, journal.bad, journal.repeated, journal.skipped_numbers) == (
        10,
        10,
        0,
        0,
        0,
    )
    assert journal.counts == Counts(
        passed=1, skipped=1, errors=2, xfailed=1, deselected=1, warnings=2, subtests_failed=1
    )
    assert (journal.collected, journal.named_at_collection, journal.spilled) == (2, 2, 4)
    assert (journal.complete_seq, journal.complete_at) == (10, 110.0)
    assert journal.outcomes == {
        ("t", "passed"): 1,
        ("t", "errors"): 1,
        ("u", "subtests_failed"): 1,
        ("u", "xfailed"): 1,
    }
    assert journal.collection_outcomes == {("a.py", "skipped"): 1, ("b.py", "errors"): 1}


def test_damage_is_counted(tmp_path: Path) -> None:
    changed = _case(2, "t", "PASS").replace(b"PASS", b"FAIL")
    (tmp_path / "r.jsonl").write_bytes(
        _line(1, "runStart") + changed + _case(5, "t", "PASS") + _case(6, "u", "PASS")[:-1]
    )
    (tmp_path / "r.1.jsonl").write_bytes(_line(1, "runStart") + _case(3, "u", "PASS"))
    journal = read_journal(journal_files(tmp_path, "r"))
    assert (journal.lines, journal.last_seq, journal.bad, journal.repeated, journal.skipped_numbers) == (3, 5, 2, 1, 2)
    assert journal.complete_at is None
