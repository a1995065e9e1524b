"""What the preloaded library noted (`shim.c`): the changes, syncs and messages of all processes, in one order."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from threepio_client.protocol import Ack, ByeAck, Hello, Welcome, from_array
from threepio_client.wire import FrameReader

CREATE: Final = "C"
MKDIR: Final = "M"
WRITE: Final = "W"
TRUNCATE: Final = "T"
SYNC_BEGIN: Final = "B"
SYNC_END: Final = "E"
RENAME: Final = "R"
UNLINK: Final = "U"
_ACCEPT: Final = "A"
_SEND: Final = "S"
_RECEIVE: Final = "G"


class Step(NamedTuple):
    """One record.

    Attributes:
        kind: one of the letters above.
        pid, fd: the process and its descriptor.
        inode: the file's.
        offset: where a write began; the size after a truncate.
        result: what the call returned.
        path: the file's path; of a rename, the old one.
        data: bytes written, or the new path of a rename.
    """

    kind: str
    pid: int
    fd: int
    inode: int
    offset: int
    result: int
    path: str
    data: bytes


def read_steps(path: Path) -> list[Step]:
    """Return all records; one that was begun last and is cut off is left out."""
    data = path.read_bytes()
    steps = []
    at = 0
    while (newline := data.find(b"\n", at)) >= 0:
        kind, pid, fd, inode, offset, result, size, name = data[at:newline].decode().split(" ", 7)
        at = newline + 1 + int(size)
        if at > len(data):
            break
        body = data[newline + 1 : at]
        steps.append(Step(kind, int(pid), int(fd), int(inode), int(offset), int(result), name, body))
    return steps


class AckSent(NamedTuple):
    """The daemon told an adapter that everything up to `seq` is stored and synced.

    Attributes:
        at: place in the steps.
        run_id: the run.
        seq: the seq.
    """

    at: int
    run_id: str
    seq: int


def acks_sent(steps: list[Step], daemon_pids: set[int]) -> list[AckSent]:
    """Return the acks that left a daemon, in order."""
    found = []
    heard: dict[tuple[int, int], FrameReader] = {}
    said: dict[tuple[int, int], FrameReader] = {}
    runs: dict[tuple[int, int], str] = {}
    for index, step in enumerate(steps):
        key = (step.pid, step.fd)
        if step.kind == _ACCEPT and step.pid in daemon_pids:
            heard[key], said[key] = FrameReader(), FrameReader()
        elif step.kind == _RECEIVE and key in heard:
            for array in heard[key].feed(step.data):
                message = from_array(array)
                if isinstance(message, Hello):
                    runs[key] = str(message.run.get("run_id", ""))
        elif step.kind == _SEND and key in said:
            for array in said[key].feed(step.data):
                message = from_array(array)
                if isinstance(message, Ack | ByeAck):
                    found.append(AckSent(index, runs[key], message.seq))
                elif isinstance(message, Welcome) and runs[key]:
                    found.append(AckSent(index, runs[key], message.cursor))
    return found


def acks_of_syncs(steps: list[Step], pid: int) -> list[AckSent]:
    """Return what a process without a daemon may rely on: a sync of its journal that returned covers the lines before it."""
    found = []
    lines = covered = 0
    for index, step in enumerate(steps):
        if step.pid == pid and step.path.endswith(".jsonl"):
            if step.kind == WRITE:
                lines += step.data.count(b"\n")
            elif step.kind == SYNC_BEGIN:
                covered = lines
            elif step.kind == SYNC_END and step.result == 0:
                run_id = step.path.rpartition("/")[2].removesuffix(".jsonl")
                found.append(AckSent(index, run_id, covered))
    return found
