"""A run's journal read with plain JSON: what is in it, whether it is whole, and what it says of each test.

The journal is what threepiod wrote; the reading is independent of threepiod's code, checksums included.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.outcomes import Counts
from benchmarks.reportlog import Outcome

_CATEGORY_OF: Final = {
    "PASS": "passed",
    "FAIL": "failed",
    "SKIP": "skipped",
    "XFAIL": "xfailed",
    "XPASS": "xpassed",
    "ERROR": "errors",
    "RERUN": "rerun",
}

_CRC_KEY: Final = b',"crc":"'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Journal:
    """What a run's journal says.

    Attributes:
        lines: good lines with a number that no earlier line had.
        last_seq: the largest number of a line.
        bad: lines with a wrong checksum, that are not JSON, or that have no newline.
        repeated: lines with the number of an earlier line.
        skipped_numbers: numbers up to `last_seq` that no line has.
        counts: from the testCase lines and collection errors; warnings and deselected tests as runComplete states them.
        collected: as collectionFinish states it.
        named_at_collection: how many different node ids were announced as collected.
        outcomes: how often each test was counted in each category.
        collection_outcomes: the same for what failed or was skipped at collection.
        complete_seq, complete_at: number of the runComplete line and its time in seconds since the epoch.
        spilled: events that were not sent, as runComplete states it.
        event_types: lines by event type.
    """

    lines: int
    last_seq: int
    bad: int
    repeated: int
    skipped_numbers: int
    counts: Counts
    collected: int | None
    named_at_collection: int
    outcomes: Counter[Outcome]
    collection_outcomes: Counter[Outcome]
    complete_seq: int | None
    complete_at: float | None
    spilled: int | None
    event_types: dict[str, int]


def journal_files(journals: Path, run: str) -> list[Path]:
    """The files of a run's journal in their order: `<run>.jsonl`, `<run>.1.jsonl` and so on."""
    files = [journals / f"{run}.jsonl"]
    while (further := journals / f"{run}.{len(files)}.jsonl").exists():
        files.append(further)
    return files


def parse_journal_line(raw: bytes) -> dict[str, Any] | None:
    """The event on a line with its newline, or None if the line is cut, changed or no event."""
    head, key, tail = raw.rpartition(_CRC_KEY)
    if not key or not raw.endswith(b'"}\n') or tail[:-3] != b"%08x" % zlib.crc32(head):
        return None
    try:
        event = json.loads(raw)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def read_journal(files: list[Path]) -> Journal:
    """Read a run's journal, its files in order; of lines with one number the first counts."""
    reader = _Reader()
    for raw in _lines(files):
        event = parse_journal_line(raw)
        if event is None:
            reader.bad += 1
        else:
            reader.take(event)
    return reader.result()


def _lines(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            yield from file


class _Reader:
    def __init__(self) -> None:
        self.bad = 0
        self._repeated = 0
        self._seen = bytearray()
        self._types: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._outcomes: Counter[Outcome] = Counter()
        self._collection: Counter[Outcome] = Counter()
        self._collected: int | None = None
        self._named: set[str] = set()
        self._complete: dict[str, Any] | None = None

    def take(self, event: dict[str, Any]) -> None:
        seq: int = event["seq"]
        if seq >= len(self._seen):
            self._seen.extend(bytes(seq + 1 - len(self._seen)))
        if self._seen[seq]:
            self._repeated += 1
            return
        self._seen[seq] = 1
        kind, payload = event["eventType"], event["payload"]
        self._types[kind] += 1
        if kind == "testCase":
            category = payload.get("countedAs") or _CATEGORY_OF[payload["status"]]  # the former: subtests
            self._count(payload, category, payload.get("phase") == "collect")
        elif kind == "collectionError":
            self._count(payload, "errors", True)
        elif kind == "testsCollected":
            self._named.update(payload["nodeids"])
        elif kind == "collectionFinish":
            self._collected = payload["collected"]
        elif kind == "runComplete":
            self._complete = event

    def _count(self, payload: dict[str, Any], category: str, at_collection: bool) -> None:
        self._counts[category] += 1
        (self._collection if at_collection else self._outcomes)[payload.get("nodeid", ""), category] += 1

    def result(self) -> Journal:
        complete = self._complete or {"payload": {}}
        payload = complete["payload"]
        stats = payload.get("stats", {})
        said = {"warnings": stats.get("warnings", 0), "deselected": payload.get("deselected", 0)}
        lines = sum(self._types.values())
        last_seq = max(len(self._seen) - 1, 0)
        return Journal(
            lines=lines,
            last_seq=last_seq,
            bad=self.bad,
            repeated=self._repeated,
            skipped_numbers=last_seq - lines,
            counts=Counts.of({**self._counts, **said}),
            collected=self._collected,
            named_at_collection=len(self._named),
            outcomes=self._outcomes,
            collection_outcomes=self._collection,
            complete_seq=complete.get("seq"),
            complete_at=complete.get("timestamp"),
            spilled=stats.get("spilled"),
            event_types=dict(self._types),
        )
