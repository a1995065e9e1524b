"""Verification: what the journal lacks, what the store lacks or has otherwise, and what the runner counted otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from threepio_client import process, verification
from threepio_client.archive import Archive
from threepio_client.journal import parse
from threepio_client.line import Event, decode, encode
from threepio_client.paths import StateDir
from threepio_client.runstate import RunState
from threepio_client.verification import settle_and_verify, verify_run
from threepiod.batch import Batch
from threepiod.store import Store

RUN = "run"
TOTALS = {"passed": 2, "failed": 1, "error": 1, "subtests failed": 0, "warnings": 0, "of a plugin": 9}


def case(number: int, status: str, phase: str = "call") -> tuple[str, dict[str, Any]]:
    return "testCase", {"nodeid": f"test_it.py::test_{number}", "status": status, "phase": phase}


FACTS: list[tuple[str, dict[str, Any]]] = [
    ("runStart", {"runId": RUN, "process": {"pid": 1, "start_ticks": 1, "boot_id": "b", "pid_namespace": "n"}}),
    ("collectionFinish", {"collected": 4, "deselected": 0}),
    case(1, "PASS"),
    case(2, "PASS"),
    case(3, "FAIL"),
    case(4, "ERROR", "setup"),
    ("runComplete", {"exitCode": 1, "totals": TOTALS, "stats": {"eventsLost": 0}}),
]


def lines_of(facts: Iterable[tuple[str, dict[str, Any]]]) -> list[bytes]:
    return [encode(seq, kind, payload, 1000.0 + seq) for seq, (kind, payload) in enumerate(facts, start=1)]


LINES = lines_of(FACTS)


class Kept:
    """A run whose journal and whose rows in the store a test chooses."""

    def __init__(self, path: Path) -> None:
        self.state_dir = StateDir(path)
        self.state_dir.journals.mkdir()

    def journal(self, lines: Iterable[bytes]) -> None:
        self.state_dir.journal(RUN).write_bytes(b"".join(lines))

    def store(self, lines: Iterable[bytes]) -> None:
        events = [decode(line.rstrip(b"\n")) for line in lines]
        store = Store(self.state_dir.store)
        batch = Batch(key=store.open_run(RUN, "producer").key)
        state = RunState()
        batch.take(events, 0, state)
        batch.close(seq=state.seq, offsets={}, observed=0, final=state.complete is not None, ingest={}, state=state)
        store.write([batch])
        store.close()

    def verify(self) -> dict[str, Any]:
        return verify_run(Archive(self.state_dir), RUN)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def numbers(result: dict[str, Any]) -> dict[str, int]:
    """Return what is not as it should be."""
    names = ("missing", "duplicates", "corrupt", "conflicts", "pending", "torn_bytes", "events_lost")
    return {name: result[name] for name in names if result[name]}


def test_a_whole_run_is_whole(kept: Kept) -> None:
    kept.journal(LINES)
    kept.store(LINES)

    result = kept.verify()

    assert result["whole"]
    assert numbers(result) == {}
    assert (result["journal_events"], result["stored_events"]) == (7, 7)
    assert result["by_type"] == {
        "collectionFinish": {"journal": 1, "stored": 1},
        "runComplete": {"journal": 1, "stored": 1},
        "runStart": {"journal": 1, "stored": 1},
        "testCase": {"journal": 4, "stored": 4},
    }
    assert result["problems"] == []


@pytest.mark.parametrize("left_out", range(len(LINES)))
def test_an_event_that_is_not_stored_is_missing(kept: Kept, left_out: int) -> None:
    kept.journal(LINES)
    kept.store(LINES[:left_out] + LINES[left_out + 1 :])

    result = kept.verify()

    assert not result["whole"]
    assert numbers(result) == {"missing": 1}
    assert result["problems"] == ["1 events of the journal are not stored"]


def test_without_a_store_everything_is_missing_and_what_to_do_is_said(kept: Kept) -> None:
    kept.journal(LINES)

    result = kept.verify()

    assert numbers(result) == {"missing": 7}
    assert "threepiod start" in result["problems"][0]


@pytest.mark.parametrize("left_out", range(len(LINES) - 1))
def test_an_event_that_the_journal_lacks_is_missing(kept: Kept, left_out: int) -> None:
    lines = LINES[:left_out] + LINES[left_out + 1 :]
    kept.journal(lines)
    kept.store(lines)

    result = kept.verify()

    assert not result["whole"]
    assert result["missing"] >= 1
    assert "1 events up to number 7 are not in the journal" in result["problems"]


@pytest.mark.parametrize("left_out", range(len(LINES) - 1))
def test_an_event_that_only_the_journal_lacks_is_missing_once(kept: Kept, left_out: int) -> None:
    kept.journal(LINES[:left_out] + LINES[left_out + 1 :])
    kept.store(LINES)

    problems = kept.verify()["problems"]

    assert "1 events up to number 7 are not in the journal" in problems
    assert not [problem for problem in problems if "stored" in problem]


@pytest.mark.parametrize("number", [1, 3, 7])
def test_a_corrupt_line_is_told_with_its_number(kept: Kept, number: int) -> None:
    kept.store(LINES)
    kept.journal(
        line.replace(b'"timestamp":1', b'"timestamp":2') if n == number else line for n, line in enumerate(LINES, 1)
    )

    result = kept.verify()

    assert not result["whole"]
    assert result["corrupt"] == 1
    (problem,) = [text for text in result["problems"] if "corrupt" in text]
    assert problem.startswith(f"line {number} of {RUN}.jsonl is corrupt: ")
    assert "checksum" in problem


def test_a_stored_event_whose_line_is_the_last_and_corrupt_is_not_missing_too(kept: Kept) -> None:
    kept.store(LINES[:6])
    kept.journal([*LINES[:5], LINES[5].replace(b'"timestamp":1', b'"timestamp":2')])

    assert numbers(kept.verify()) == {"corrupt": 1}


def test_a_repeated_line_is_a_duplicate_and_other_content_is_told(kept: Kept) -> None:
    kept.store(LINES)
    kept.journal([*LINES[:3], LINES[2], encode(3, *case(9, "FAIL"), 5.0), *LINES[3:]])

    result = kept.verify()

    assert not result["whole"]
    assert numbers(result) == {"duplicates": 1, "conflicts": 1}
    assert result["problems"] == [
        f"line 4 of {RUN}.jsonl has seq 3 again",
        f"line 5 of {RUN}.jsonl has seq 3 again, with other content",
    ]


def test_a_line_that_comes_again_with_other_content_alone_makes_a_run_not_whole(kept: Kept) -> None:
    kept.store(LINES)
    kept.journal([*LINES[:3], encode(3, *case(9, "FAIL"), 5.0), *LINES[3:]])

    result = kept.verify()

    assert not result["whole"]
    assert numbers(result) == {"conflicts": 1}


def test_a_stored_event_of_other_content_is_missing(kept: Kept) -> None:
    kept.journal(LINES)
    kept.store([*LINES[:3], encode(4, *case(2, "PASS"), 5.0), *LINES[4:]])

    result = kept.verify()

    assert numbers(result) == {"missing": 1}
    assert result["problems"] == ["1 events are stored with other content than the journal's"]


def test_a_stored_event_that_the_journal_does_not_have_is_told(kept: Kept) -> None:
    kept.journal(LINES)
    kept.store([*LINES, encode(8, "adapterStats", {}, 5.0)])

    result = kept.verify()

    assert numbers(result) == {"missing": 1}
    assert result["problems"] == ["1 events are stored that the journal does not have"]


@pytest.mark.parametrize(
    ("totals", "missing", "problems"),
    [
        ({"passed": 5}, 3, ["the runner counted 5 passed, the journal has 2"]),
        ({"error": 0}, 1, ["the runner counted 0 error, the journal has 1"]),
        (
            {"subtests failed": 1, "failed": 2},
            2,
            [
                "the runner counted 1 subtests failed, the journal has 0",
                "the runner counted 2 failed, the journal has 1",
            ],
        ),
        ({"passed": 2, "failed": 2}, 1, ["the runner counted 2 failed, the journal has 1"]),
        ({"of a plugin": 3}, 0, []),
        (
            {"passed": 1, "slow": 1},
            0,
            ["note: the runner counted 1 slow, in words of its own: here they count by their outcome"],
        ),
        (
            {"passed": 1, "failed": 0, "slow": 1},
            1,
            ["the runner counted 0 failed, the journal has 1", "the runner counted 1 passed, the journal has 2"],
        ),
        ({"retried": 2}, 2, ["the runner counted 2 retried, the journal has 0"]),
        ({"passed": 3, "slow": 1}, 1, ["the runner counted 3 passed, the journal has 2"]),
        ("nonsense", 0, []),
        ({"passed": "two", "failed": 1}, 0, []),
    ],
)
def test_the_runner_s_own_totals_are_compared(kept: Kept, totals: object, missing: int, problems: list[str]) -> None:
    lines = lines_of([*FACTS[:-1], ("runComplete", {"exitCode": 1, "totals": totals})])
    kept.journal(lines)
    kept.store(lines)

    result = kept.verify()

    assert result["missing"] == missing
    assert sorted(result["problems"]) == problems
    assert result["whole"] == (not missing)


def test_a_run_that_lost_events_is_not_whole(kept: Kept) -> None:
    lines = lines_of([*FACTS[:-1], ("runComplete", {"exitCode": 1, "totals": TOTALS, "stats": {"eventsLost": 2}})])
    kept.journal(lines)
    kept.store(lines)

    result = kept.verify()

    assert not result["whole"]
    assert numbers(result) == {"events_lost": 2}
    assert result["problems"] == ["2 events lost, because nothing could be written"]


def test_a_run_that_was_cut_short_is_whole_as_far_as_it_goes(kept: Kept) -> None:
    kept.journal([*LINES[:4], LINES[4][:20]])
    kept.store(LINES[:4])

    result = kept.verify()

    assert result["whole"]
    assert numbers(result) == {"torn_bytes": 20}
    assert [problem.split()[:3] for problem in result["problems"]] == [
        ["note:", "the", "run"],
        ["note:", "20", "bytes"],
    ]


@pytest.mark.parametrize("stored", [0, 2, len(LINES)], ids=["not stored", "in part", "all"])
def test_a_run_whose_journal_cannot_be_read_is_not_whole(kept: Kept, stored: int) -> None:
    kept.state_dir.journal(RUN).symlink_to("/dev/null")  # which no journal is
    if stored:
        kept.store(LINES[:stored])

    result = kept.verify()

    assert not result["whole"]
    assert numbers(result) == {}
    (problem,) = result["problems"]
    assert f"the journal {kept.state_dir.journal(RUN)} cannot be read" in problem


def test_what_a_live_run_wrote_last_is_pending_and_not_missing(kept: Kept) -> None:
    start = ("runStart", {"runId": RUN, "process": process.current().to_payload()})
    lines = lines_of([start, *FACTS[1:-1]])
    kept.journal(lines)
    kept.store(lines[:4])

    result = kept.verify()

    assert result["whole"]
    assert numbers(result) == {"pending": 2}
    assert result["problems"] == []


def test_a_line_that_a_live_run_s_store_skipped_is_missing(kept: Kept) -> None:
    start = ("runStart", {"runId": RUN, "process": process.current().to_payload()})
    lines = lines_of([start, *FACTS[1:-1]])
    kept.journal(lines)
    kept.store([lines[0], *lines[2:]])

    assert numbers(kept.verify()) == {"missing": 1}


class Settling:
    """Stands in for the time and for a store that fills while one looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, missing: Callable[[float], int]) -> None:
        self.now = 50.0
        self._missing = missing
        self.looks = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)
        monkeypatch.setattr(verification, "verify_run", self._verify)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _verify(self, archive: Archive, run_id: str) -> dict[str, Any]:
        self.looks += 1
        return {"missing": self._missing(self.now - 50.0)}


def test_a_daemon_gets_some_time_to_store_what_is_there(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(kept.state_dir)

    settling = Settling(monkeypatch, lambda passed: 0 if passed > 1.0 else 3)
    assert settle_and_verify(archive, RUN, wait=True) == {"missing": 0}
    assert 1.0 < settling.now - 50.0 < 2.0

    settling = Settling(monkeypatch, lambda passed: 3)
    assert settle_and_verify(archive, RUN, wait=True) == {"missing": 3}
    assert verification.SETTLE_S < settling.now - 50.0 < verification.SETTLE_S + 1.0

    settling = Settling(monkeypatch, lambda passed: 3)
    assert settle_and_verify(archive, RUN, wait=False) == {"missing": 3}
    assert settling.looks < 3  # the deadline is now; whether it has passed, the clock's grain decides
    settling = Settling(monkeypatch, lambda passed: 0)
    assert settle_and_verify(archive, RUN, wait=True) == {"missing": 0}
    assert settling.looks == 1


def test_the_lines_of_these_tests_are_good() -> None:
    assert all(isinstance(parse(line[:-1], 0).event, Event) for line in LINES)
