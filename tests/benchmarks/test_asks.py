from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.asks import judge_asks, percentile
from benchmarks.journal import Journal, read_journal
from benchmarks.reportlog import Timeline


def _row(asked: float, stored: int, in_flight: list[dict[str, str]], **more: Any) -> str:
    status = {
        "finished": 0,
        "collected": None,
        "counts": {"passed": stored},
        "events": {"journaled": 9, "received": 9, "stored": stored},
        "in_flight": in_flight,
    }
    row = {"asked": asked, "answered": asked + 0.01, "daemon_ms": 2.0, "pace": "even", "status": status}
    return json.dumps(row | more) + "\n"


def _journal(**facts: Any) -> Journal:
    values = vars(read_journal([])) | facts
    return Journal(**values)


def test_answers_are_judged(tmp_path: Path) -> None:
    timeline = Timeline()
    for nodeid, begin in (("a", 10.0), ("b", 11.0)):
        for i, when in enumerate(("setup", "call", "teardown")):
            timeline.add({"nodeid": nodeid, "when": when, "start": begin + i * 0.3, "stop": begin + i * 0.3 + 0.3})
    rows = [
        _row(9.0, 1, []),
        _row(10.4, 2, [{"nodeid": "a", "phase": "call"}]),
        _row(10.5, 1, [{"nodeid": "b", "phase": "call"}]),
        _row(11.1, 3, []),
        _row(11.2, 4, [{"nodeid": "b", "phase": "teardown"}], daemon_ms=60.0),
        _row(12.1, 4, [], pace="closing"),
        _row(12.3, 5, [], pace="closing"),
        '{"cut',
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(rows))
    asks = judge_asks(path, _journal(last_seq=5, complete_at=12.0), timeline)
    assert (asks.asked, asks.asked_closing, asks.daemon_p99, asks.daemon_max) == (5, 2, 60.0, 60.0)
    assert asks.went_back == 2  # counts.passed and events.stored in the third answer
    assert (asks.named, asks.named_wrong, asks.phase_wrong, asks.not_named) == (3, 1, 2, 1)
    assert asks.stored_after_least is not None
    assert math.isclose(asks.stored_after_least, 0.1, abs_tol=1e-9)
    assert asks.stored_after_most is not None
    assert math.isclose(asks.stored_after_most, 0.31, abs_tol=1e-9)
    assert asks.sample is not None


def test_without_times_nothing_is_said_of_tests_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(_row(1.0, 1, [{"nodeid": "a", "phase": "call"}]))
    asks = judge_asks(path, _journal(last_seq=5), None)
    assert (asks.named, asks.named_wrong, asks.not_named, asks.stored_after_most) == (None, None, None, None)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([float(n) for n in range(1, 101)], 99) == 99.0
    assert percentile([3.0, 1.0], 99) == 3.0
    assert math.isnan(percentile([], 99))
