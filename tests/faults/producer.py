"""A producer: a process that drives the real adapter and tells the oracle what it does. Made to be killed.

    python -m tests.faults.producer              a parent that forks one producer for each line of JSON on its stdin
    python -m tests.faults.producer --one JOB    one producer, in this process

Owned here: the events, and the report: records of one size in a file of its own for each run, one `writev` a record. What
was written to a file survives SIGKILL, so the oracle reads it afterwards and nobody has to read along. (`writev`, because
faults are injected into `write`.) The parent makes a process cost 2 ms instead of 200.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import signal
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from threepio_client.adapter import Adapter
from threepio_client.events import EventType, Payload, Status
from threepio_client.settings import load

RECORD: Final = struct.Struct("<B7xQ16s")
DIGEST_SIZE: Final = 16
NO_DIGEST: Final = bytes(DIGEST_SIZE)
NUMBERS_A_RUN: Final = 2**32
"""A number tells its run: run index * NUMBERS_A_RUN + 0, 1, 2 ..."""

_TEXT_SIZE: Final = 128 * 1024
_FIELD: Final = 40_000
"""Characters in one field: below the limit at which the adapter cuts it, so that the payload stays as it was made."""


class Kind(IntEnum):
    """What a record says, and what its number is."""

    ATTEMPTED = 1
    """`emit` is about to be called: the payload's number and digest."""
    RETURNED = 2
    """`emit` has returned: the payload's number."""
    ACKED = 3
    """The adapter knows of an ack up to this seq."""
    LOST = 4
    """The adapter counts so many events as lost, and has said so."""
    LOST_UNSAID = 5
    """The adapter counts so many events as lost, and has not said so."""
    CLOSED = 6
    """`close` has returned: 1 if it said that all of the run is stored, else 0."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one producer is to do.

    Attributes:
        run_id: the id its run is to have.
        index: the run's index, which its numbers begin with.
        report: file for the records.
        events: how many testCases.
        seed: of sizes and texts.
        burst: events between two pauses.
        pause_s: how long a pause is.
        environ: settings beside those of the place.
    """

    run_id: str
    index: int
    report: str
    events: int
    seed: int
    burst: int = 50
    pause_s: float = 0.0
    environ: dict[str, str] = field(default_factory=dict)


def digest_of(event_type: str, payload: Payload) -> bytes:
    """Return the digest of what an event says, however it was encoded."""
    text = json.dumps([event_type, payload], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_SIZE).digest()


@functools.cache
def _text() -> str:
    return "".join(random.Random(0).choices('abcdefghij klmnop"\\\n\té\u2028ÿ漢😀', k=_TEXT_SIZE))


def payloads(job: Job) -> Iterator[Payload]:
    """Yield the testCases of a job: most are tiny, some have some KiB, one in 500 is larger than 64 KiB."""
    rng = random.Random(job.seed)
    text = _text()
    file = f"test_{rng.randrange(4)}.py"
    for at in range(job.events):
        name = f"test_it[{at % 1000}]"
        dice = rng.random()
        size = (
            rng.randrange(100)
            if dice < 0.9
            else rng.randrange(6_000)
            if dice < 0.998
            else rng.randrange(70_000, 90_000)
        )
        begin = rng.randrange(_TEXT_SIZE - size)
        yield {
            "testName": name,
            "parentNames": [file],
            "nodeid": f"{file}::{name}",
            "status": Status.PASS.value,
            "phase": "call",
            "started": 1_700_000_000.0 + at,
            "duration": rng.random(),
            "worker": None,
            "number": job.index * NUMBERS_A_RUN + at,
            "output": [text[cut : min(cut + _FIELD, begin + size)] for cut in range(begin, begin + size, _FIELD)],
        }


def produce(job: Job) -> None:
    """Be the producer of one run, from its first event to its last."""
    report = os.open(job.report, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def tell(kind: Kind, number: int, digest: bytes = NO_DIGEST) -> None:
        os.writev(report, [RECORD.pack(kind, number, digest)])

    adapter = Adapter(load({**os.environ, **job.environ, "THREEPIO_RUN_ID": job.run_id}), {"argv": ["producer"]})
    if adapter.run_id != job.run_id:
        raise RuntimeError(f"the run is to be {job.run_id}, and is {adapter.run_id}")
    acked = lost = 0

    def tell_news() -> None:
        nonlocal acked, lost
        stats = adapter.stats()
        if stats["acked"] > acked:
            acked = stats["acked"]
            tell(Kind.ACKED, acked)
        if stats["eventsLost"] > lost:
            lost = stats["eventsLost"]
            tell(Kind.LOST if adapter.complaints else Kind.LOST_UNSAID, lost)

    for at, payload in enumerate(payloads(job), start=1):
        tell(Kind.ATTEMPTED, payload["number"], digest_of(EventType.TEST_CASE, payload))
        adapter.emit(EventType.TEST_CASE, payload)
        tell(Kind.RETURNED, payload["number"])
        tell_news()
        if job.pause_s and at % job.burst == 0:
            time.sleep(job.pause_s)
    is_stored = adapter.close({"exitCode": 0, "totals": {"passed": job.events}, "stopped": None})
    tell_news()
    tell(Kind.CLOSED, int(is_stored))
    os.close(report)


def _fork(job: Job) -> int:
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    status = 1
    try:
        produce(job)
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(arguments: list[str]) -> None:
    """Produce one run, or fork a producer for each line of stdin and answer with its pid."""
    if arguments[:1] == ["--one"]:
        produce(job_of(arguments[1]))
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the oracle watches them through a pidfd
    _text()  # made once for all of them
    print("ready", flush=True)
    for line in sys.stdin:
        print(_fork(job_of(line)), flush=True)


def job_of(text: str) -> Job:
    """Return the job of a line of JSON."""
    fields: dict[str, Any] = json.loads(text)
    return Job(**fields)


def report_path(directory: Path, run_id: str) -> Path:
    """Return where the report of a run lies."""
    return directory / f"{run_id}.report"


if __name__ == "__main__":
    main(sys.argv[1:])
