"""Batch: what one transaction adds to one run, as rows. The one way from a line to the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from threepio_client.events import BAD, EventType, Payload
from threepio_client.line import Event, Passed, PassedRow
from threepio_client.runstate import RunState

HOLE: Final = "hole"
"""Type of the row that stands for lines of the journal that nobody can read."""
GROUP_EVENTS: Final = (str(EventType.GROUP_START), str(EventType.GROUP_RESULT), str(EventType.COLLECTION_ERROR))
"""What tells of groups."""
CONFLICTS_KEPT: Final = 100
"""Conflicting lines of a run that are kept, 512 KiB each at most; all are counted."""
_IN_COLUMNS: Final = frozenset(
    {"testName", "parentNames", "nodeid", "status", "phase", "started", "duration", "worker"}
)
"""Payload keys of a testCase that have a column, or that the node id says."""


class Failure(NamedTuple):
    """What the cause of a failure is told by.

    Attributes:
        seq, phase, nodeid: of its event.
        error: its `errorType`, `location` and `message`, empty where they are not known.
    """

    seq: int
    phase: str
    nodeid: str
    error: dict[str, str]


@dataclass(kw_only=True, slots=True)
class Batch:
    """What one transaction adds to one run.

    Attributes:
        key: the run's number in the store.
        seq, offsets, observed, final, ingest: as in `StoredRun`, after this batch, as columns hold them.
        started, state, snapshot: when the run began, in which `State` it is, and its `RunState` as JSON.
        nodeids: the tests of `passed` and `results`, as they came.
        passed: of tests that passed.
        results: of other outcomes: node id, seq, status, phase, started, duration, worker, crc, details.
        events: of what else happened: key, seq, type, timestamp, crc, payload.
        groups: of those in GROUP_EVENTS: seq, type, the group.
        failures: of those in `results` that failed or broke.
        conflicts: key, seq, source, line.
        size: bytes of the lines in it.
    """

    key: int
    nodeids: list[str] = field(default_factory=list)
    passed: list[PassedRow] = field(default_factory=list)
    results: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    groups: list[tuple[int, str, str]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    conflicts: list[tuple[Any, ...]] = field(default_factory=list)
    size: int = 0
    seq: int = 0
    offsets: str = "{}"
    observed: int = 0
    final: bool = False
    ingest: str = "{}"
    started: float = 0.0
    state: str = "running"
    snapshot: str = "{}"

    def __len__(self) -> int:
        return len(self.passed) + len(self.results) + len(self.events)

    def take(self, events: Iterable[Event], size: int, state: RunState) -> None:
        """Add the next events that there are of the run, of `size` bytes of lines, and fold them into the run's state.

        Those between one and the next, or the state's last one and the first, cannot be read.
        """
        self.size += size
        nodeids, passed = self.nodeids, self.passed
        for event in events:
            if event.seq > state.seq + 1:
                self.add_hole(state.seq + 1, event.seq - 1, event.timestamp)
            state.fold(event)
            if type(event) is Passed:  # nearly all are: no call for them
                row = event.row
                nodeids.append(row[0])
                passed.append(row)
            else:
                self._add(event)

    def take_conflict(self, seq: int, source: str, line: bytes, state: RunState) -> None:
        """Add a line that came with the seq of another one; `source` is `socket` or `journal`."""
        if state.conflicts < CONFLICTS_KEPT:
            self.conflicts.append((self.key, seq, source, line))
        state.fold_conflict()

    def _add(self, event: Event) -> None:
        payload = event.payload
        nodeid, status = payload.get("nodeid"), payload.get("status")
        if event.type == EventType.TEST_CASE and isinstance(nodeid, str) and isinstance(status, str):
            self.nodeids.append(nodeid)
            self.results.append(
                (
                    nodeid,
                    event.seq,
                    status,
                    _plain(payload.get("phase")),
                    _plain(payload.get("started")),
                    _plain(payload.get("duration")),
                    _plain(payload.get("worker")),
                    event.crc,
                    _details(payload),
                )
            )
            if status in BAD:
                self.failures.append(failure_of(event.seq, payload.get("phase"), nodeid, payload.get("error")))
        else:
            self.events.append((self.key, event.seq, event.type, event.timestamp, event.crc, _json(payload)))
            if event.type in GROUP_EVENTS:
                self.groups.append((event.seq, event.type, group_of(event.type, payload)))

    def add_hole(self, first: int, last: int, timestamp: float) -> None:
        """Add that the lines `first` to `last` cannot be read."""
        self.events.append((self.key, first, HOLE, timestamp, 0, _json({"last": last, "reason": "unreadable"})))

    def close(
        self, *, seq: int, offsets: dict[int, int], observed: int, final: bool, ingest: Payload, state: RunState
    ) -> None:
        """State where the run stands after this batch."""
        self.seq, self.observed, self.final = seq, observed, final
        self.offsets = _json(offsets)
        self.ingest = _json(ingest)
        self.started = state.started
        self.state = state.verdict().state
        self.snapshot = _json(state.to_snapshot())


def group_of(event_type: str, payload: Payload) -> str:
    """Return the group that an event of GROUP_EVENTS tells of."""
    if event_type == EventType.COLLECTION_ERROR:
        return str(payload.get("nodeid")).partition("::")[0]
    return str(payload.get("groupName"))


def failure_of(seq: int, phase: object, nodeid: str, error: object) -> Failure:
    """Return what the cause of a failure is told by, of its event; whatever a foreign writer takes for an error."""
    said = error if isinstance(error, dict) else {}
    return Failure(
        seq, str(phase), nodeid, {name: str(said.get(name, "")) for name in ("errorType", "location", "message")}
    )


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _details(payload: Payload) -> str | None:
    if payload.keys() <= _IN_COLUMNS:
        return None
    return _json({key: value for key, value in payload.items() if key not in _IN_COLUMNS})


def _plain(value: Any) -> Any:
    """Return what a column can hold: a foreign writer may have put anything there."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else _json(value)
