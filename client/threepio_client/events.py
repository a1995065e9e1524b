"""The vocabulary: names of events, statuses and phases, the parts of a node id, and the limits of one event.

Not here: how an event is encoded (`line.py`) and what a sequence of events means (`runstate.py`).
The names are 3pio's, so that its readers still understand a journal; `docs/protocol.md` lists what was added.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

SCHEMA_VERSION: Final = 1

FIELD_LIMIT: Final = 64 * 1024
"""Characters of one text field; a longer text is cut in the middle. 944 pandas failures: the longest is 31 KiB."""

LINE_LIMIT: Final = 512 * 1024
"""Bytes of one line. Half of the largest frame, so that a line always fits into one."""

COLLECTED_CHUNK: Final = 60 * 1024
"""Bytes of node ids, as JSON may have to write them, in one testsCollected event, unless it has only one: a payload that is
longer than a field may be is looked at text by text."""

Payload = dict[str, Any]


class EventType(StrEnum):
    """What an event says. Readers count and pass over types that they do not know."""

    __hash__ = str.__hash__  # the one of Enum is written in Python, and a test has a dozen look-ups

    RUN_START = "runStart"
    COLLECTION_START = "collectionStart"
    COLLECTION_ERROR = "collectionError"
    COLLECTION_FINISH = "collectionFinish"
    TESTS_COLLECTED = "testsCollected"
    GROUP_DISCOVERED = "testGroupDiscovered"
    GROUP_START = "testGroupStart"
    GROUP_RESULT = "testGroupResult"
    TEST_CASE = "testCase"
    TEST_TEARDOWN = "testTeardown"
    WORKER_START = "workerStart"
    WORKER_GONE = "workerGone"
    ADAPTER_STATS = "adapterStats"
    RUN_COMPLETE = "runComplete"


class ObservationType(StrEnum):
    """A fact from outside the run's own journal; lines of `<run id>.observed.jsonl`."""

    PROCESS_GONE = "processGone"
    """The producer's process has ended and its journal was read to the end. Payload: `pid`."""

    EXIT_STATUS = "exitStatus"
    """How the process ended, by its parent or by the kernel. Payload: `pid`, `exitCode` or `signal`, `outOfMemory`."""

    RUNNER_END = "runnerEnd"
    """With what code the runner ended, where it was another one than it had said with runComplete. Payload: `exitCode`."""

    FAULT_TRACE = "faultTrace"
    """What a dying process said of itself, found in its output. Payload: `text`."""

    WORK_TREE = "workTree"
    """The checkout that was tested, when the run began and when it was over. Payload: `when` (start, end), `commit`,
    `dirty` (tracked files differ from it), `changed` (since the run began), `digest` (of all that differs)."""


class Status(StrEnum):
    """The outcome of one testCase."""

    __hash__ = str.__hash__  # the one of Enum is written in Python, and a test has a dozen look-ups

    PASS = "PASS"
    FAIL = "FAIL"
    SKIP = "SKIP"
    XFAIL = "XFAIL"
    XPASS = "XPASS"
    ERROR = "ERROR"
    RERUN = "RERUN"


BAD: Final = (Status.FAIL, Status.ERROR)
"""In this order they stand in an index of the store: a query for them uses it if it has them so, too."""


class Phase(StrEnum):
    """The part of a test - or of the session - that an event or a now-page slot speaks of."""

    __hash__ = str.__hash__  # the one of Enum is written in Python, and a test has a dozen look-ups

    COLLECT = "collect"
    SETUP = "setup"
    CALL = "call"
    TEARDOWN = "teardown"
    SESSION_END = "session end"


DECIDING: Final = frozenset({Phase.SETUP, Phase.CALL})
"""Phases in which a test comes to its outcome; its teardown can only add to that."""


def nodeids_in(payload: Payload) -> list[str]:
    """Return the node ids of a testsCollected; a foreign writer may have put anything there."""
    found = payload.get("nodeids")
    return [nodeid for nodeid in found if isinstance(nodeid, str)] if isinstance(found, list) else []


def split_nodeid(nodeid: str) -> tuple[list[str], str]:
    """Return (names of the parents, own name) of a node id where the node itself is in another process.

    Parameters stand in the last bracket and may hold `::` themselves, so the split ends at the first bracket that
    follows the file.
    """
    file, found, rest = nodeid.partition("::")
    if not found:
        return [], nodeid
    head, bracket, parameters = rest.partition("[")
    *classes, name = head.split("::")
    return [file, *classes], name + bracket + parameters
