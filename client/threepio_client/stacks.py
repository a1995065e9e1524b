"""The Python stacks of a process, asked from outside: by the process itself where it agreed to, else by py-spy.

A process that agreed (THREEPIO_STACKS=1) writes its stacks into a file of the state directory when it gets SIGNAL: every
thread's by faulthandler, which works within a C function too, and the tasks of an event loop, which no thread's stack shows.
A suite could notice that; it cannot notice py-spy, which only reads the process's memory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from threepio_client.process import Liveness, ProcessIdentity

SIGNAL: Final = int(getattr(signal, "SIGRTMIN", 34)) + 11
"""A real-time signal: no program sends one by itself, and they have no other meaning."""
END: Final = "threepio: end of stacks"
"""The last line of an answer. It is missing where the main thread is within a C function."""
ANSWER_S: Final = 3.0
"""How long to wait for a process that agreed."""
QUIET_S: Final = 0.5
"""An answer that has not grown for so long is whole."""
TOOL_TIMEOUT_S: Final = 20.0
TRIES: Final = 3
"""py-spy reads a process that runs on, so a stack may be torn: it says so, and is asked again."""

_DESCRIPTOR: Final = "threepio: descriptor "
_TITLE: Final = re.compile(r"(Current thread|Thread|Task) (.*?) ?\(most recent call first\):")
_FRAME: Final = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')


class Frame(NamedTuple):
    """A line that a stack is at."""

    file: str
    line: int
    function: str


class Stack(NamedTuple):
    """A thread or a task.

    Attributes:
        kind: `thread` or `task`.
        name: its name, or its number where that is all that is known.
        active: whether it uses a processor; None where that is not known.
        frames: the innermost call first.
    """

    kind: str
    name: str
    active: bool | None
    frames: list[Frame]


class CannotTell(Exception):
    """There is no answer; the text says why, and what to do."""


def of_process(process: ProcessIdentity, agreed: Path) -> list[Stack]:
    """Return the stacks of a process: the main thread first, then tasks, then other threads.

    Args:
        process: which one; another process that has its pid by now is left alone.
        agreed: the file into which it writes them if it agreed.

    Raises:
        CannotTell: neither way works.
    """
    liveness = process.liveness()
    if liveness is Liveness.GONE:
        raise CannotTell("it has ended")
    if liveness is Liveness.UNKNOWN:
        raise CannotTell("it cannot be seen from here: ask where it runs, in the same container")
    try:
        answer = _ask(process.pid, agreed) if _can_be_asked(process.pid, agreed) else ""
    except OSError:
        answer = ""  # it ended or took its file back just now, or it is another user's
    return sorted(parse(answer) if answer else _spy(process.pid), key=_rank)


def first_line(descriptor: int) -> bytes:
    """Return what a process that agreed writes into its file at first: through which descriptor it will write."""
    return f"{_DESCRIPTOR}{descriptor}\n".encode()


def parse(text: str) -> list[Stack]:
    """Return the stacks of an answer: the form is faulthandler's."""
    found: list[Stack] = []
    for line in text.splitlines():
        title, frame = _TITLE.match(line), _FRAME.match(line)
        if title is not None:
            # Only the thread that was interrupted is called current: signals are delivered to the main thread first.
            name = "MainThread" if title[1] == "Current thread" else title[2]
            found.append(Stack("task" if title[1] == "Task" else "thread", name, None, []))
        elif frame is not None and found:
            found[-1].frames.append(Frame(frame[1], int(frame[2]) if frame[2].isdigit() else 0, frame[3]))
    return found


def _rank(stack: Stack) -> int:
    return 0 if stack.name == "MainThread" else 1 if stack.kind == "task" else 2


def _ask(pid: int, agreed: Path) -> str:
    """Send SIGNAL; return what the process has written then, empty if it writes nothing."""
    start = size = agreed.stat().st_size
    os.kill(pid, SIGNAL)
    deadline = time.monotonic() + ANSWER_S
    grown_at = time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.02)
        now = agreed.stat().st_size
        if now != size:
            size, grown_at = now, time.monotonic()
        with agreed.open("rb") as file:
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
        if text.endswith(END + "\n") or (text and time.monotonic() - grown_at > QUIET_S):
            return text
    return ""


def _can_be_asked(pid: int, agreed: Path) -> bool:
    """Return whether SIGNAL does to a process what it agreed to, and nothing else.

    Without a handler the signal would kill it. A suite may have closed all descriptors: then the number that faulthandler
    keeps may be another file's by now, and the stacks would be written into that one.

    Raises:
        OSError: that cannot be seen.
    """
    with agreed.open() as file:
        number = file.readline().removeprefix(_DESCRIPTOR).strip()
    if not number.isdigit() or not agreed.samefile(f"/proc/{pid}/fd/{number}"):
        return False
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (SIGNAL - 1) & 1)


def _find_tool() -> str | None:
    return shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))


def _spy(pid: int) -> list[Stack]:
    tool = _find_tool()
    if tool is None:
        raise CannotTell(
            "py-spy is not installed: pip install py-spy. Or start the tests with THREEPIO_STACKS=1: they tell by themselves"
        )
    why = ""
    for _ in range(TRIES):
        try:
            done = subprocess.run(
                [tool, "dump", "--json", "--nonblocking", "--pid", str(pid)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TOOL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CannotTell(f"py-spy gave no answer within {TOOL_TIMEOUT_S:g} s") from None
        if done.returncode == 0:
            return [_thread(found) for found in json.loads(done.stdout)]
        why = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "it does not say why")
        if "Permission" in done.stderr or "Operation not permitted" in done.stderr:
            raise CannotTell(
                "this system does not let py-spy look at other processes (sysctl kernel.yama.ptrace_scope). Start the tests "
                "with THREEPIO_STACKS=1, then they tell by themselves; or ask as root"
            )
    raise CannotTell(f"py-spy cannot tell: {why}")


def _thread(found: dict[str, Any]) -> Stack:
    frames = [Frame(frame["filename"], frame["line"], frame["name"]) for frame in found["frames"]]
    return Stack("thread", found["thread_name"] or f"thread {found['os_thread_id']}", found["active"], frames)
