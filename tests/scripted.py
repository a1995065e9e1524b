"""Runs made by hand: lines, journals and processes for tests that need no pytest behind them."""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec

import trio

from threepio_client import process
from threepio_client.events import EventType, Status
from threepio_client.line import encode
from threepio_client.paths import StateDir
from threepio_client.process import ProcessIdentity
from threepio_client.protocol import Lines

STARTED = 1_700_000_000.0
PATIENCE_S = 20.0
"""Longer than anything here takes on a busy machine; a test that waits this long has failed."""

P = ParamSpec("P")


def in_trio(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test under trio, at most PATIENCE_S long."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def limited() -> None:
            with trio.fail_after(PATIENCE_S):
                await test(*args, **kwargs)

        trio.run(limited)

    return run


async def until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds; `in_trio` ends a test that waits too long."""
    while not condition():
        await trio.sleep(0.005)


def made_state_dir(path: Path) -> StateDir:
    """Make the directories that daemon and adapter make at their start."""
    state_dir = StateDir(path)
    for directory in (state_dir.path, state_dir.journals, state_dir.logs):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return state_dir


def living() -> ProcessIdentity:
    """Return the identity of this process: one that lives as long as the test."""
    return process.current()


def gone() -> ProcessIdentity:
    """Return the identity of a process that is gone, whose pid belongs to somebody else by now."""
    return process.current()._replace(start_ticks=1)


@contextmanager
def sleeper() -> Iterator[tuple[ProcessIdentity, Callable[[], None]]]:
    """Give the identity of a process that lives until the second value is called."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        found = process._state_and_start(child.pid)
        assert found is not None
        yield process.current()._replace(pid=child.pid, start_ticks=found[1]), child.kill
    finally:
        child.kill()
        child.communicate()


def event(seq: int, event_type: str, payload: dict[str, Any]) -> bytes:
    """Return one line with its newline."""
    return encode(seq, event_type, payload, STARTED + seq / 1000)


def case(seq: int, nodeid: str, status: object = Status.PASS, **more: Any) -> bytes:
    """Return the line of a testCase; of one that passed and has no more to say, as adapters write it."""
    name = {"testName": nodeid.rpartition("::")[2], "parentNames": [nodeid.partition("::")[0]], "nodeid": nodeid}
    result = {"status": status, "phase": "call", "started": STARTED + seq / 1000, "duration": 1.5}
    return event(seq, EventType.TEST_CASE, {**name, **result, **more})


def run_lines(
    run_id: str,
    tests: int,
    *,
    identity: ProcessIdentity | None = None,
    producer: str = "producer",
    exit_code: int | None = 0,
    nodeids: Iterable[str] | None = None,
) -> list[bytes]:
    """Return the lines of a run: start, collection, its tests and - unless `exit_code` is None - its end.

    Args:
        run_id: the run's id.
        tests: how many tests passed.
        identity: the process that wrote them, by default one that is gone.
        producer: the producer id.
        exit_code: the runner's exit code.
        nodeids: names of the tests.
    """
    names = list(nodeids) if nodeids is not None else [f"test_it.py::test_{number}" for number in range(tests)]
    start = {
        "schemaVersion": 1,
        "runId": run_id,
        "producerId": producer,
        "process": (identity or gone()).to_payload(),
        "rootdir": "/somewhere",
        "argv": ["-q"],
    }
    lines = [
        event(1, EventType.RUN_START, start),
        event(2, EventType.COLLECTION_FINISH, {"collected": len(names), "deselected": 0}),
    ]
    lines += [case(number, name) for number, name in enumerate(names, start=3)]
    if exit_code is not None:
        end = {"exitCode": exit_code, "totals": {"passed": len(names)}, "deselected": 0, "stopped": None, "stats": {}}
        lines.append(event(len(lines) + 1, EventType.RUN_COMPLETE, end))
    return lines


def write_journal(state_dir: StateDir, run_id: str, lines: Iterable[bytes]) -> Path:
    """Append lines to a run's journal and return its path."""
    path = state_dir.journal(run_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab") as file:
        for line in lines:
            file.write(line)
    return path


def frame_of(lines: list[bytes], first: int, count: int = 1) -> Lines:
    """Return the message that carries `count` lines of a run, from seq `first`."""
    end = sum(len(line) for line in lines[: first - 1 + count])
    return Lines(
        file=0, end=end, first_seq=first, lines=[line.rstrip(b"\n") for line in lines[first - 1 : first - 1 + count]]
    )


def flip_bit(path: Path, offset: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x01
    path.write_bytes(data)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
