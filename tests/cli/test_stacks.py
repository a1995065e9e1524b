"""`threepio stacks`: the line of a hang is named, in one process and with workers; the suite goes on as if not asked."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.commands import Call
from tests.place import Place, wait_until
from threepio_client import stacks as stacks_of

CONFTEST = """
import collections, functools, mmap, os, signal
HERE = os.path.dirname(os.path.abspath(__file__))

class Released(Exception):
    pass

def release(number, frame):
    raise Released

def at_it():
    '''Say that the hang begins in the next line.'''
    signal.signal(signal.SIGUSR1, release)
    open(f"{HERE}/at-it", "w").close()
"""
TESTS = """
import asyncio, collections, functools, mmap, threading, time
import pytest
from conftest import HERE, Released, at_it

def test_before():
    pass

def test_after():
    pass

def test_other():  # so that the one that hangs is not the first worker's
    pass
"""
HANGS = {
    "deadlock": """
def test_hangs():
    lock = threading.Lock()
    with pytest.raises(Released), lock:
        at_it()
        lock.acquire()  # HERE
""",
    "sleep": """
def test_hangs():
    with pytest.raises(Released):
        at_it()
        time.sleep(3600)  # HERE
""",
    # No Python code runs, no signal is handled, no other thread gets the lock, until somebody outside writes a byte.
    "C loop": """
def test_hangs():
    with open(f"{HERE}/byte", "r+b") as file:
        page = mmap.mmap(file.fileno(), 1)
    look = functools.partial(page.__getitem__, 0)
    at_it()
    collections.deque(iter(look, 1), maxlen=0)  # HERE
""",
    "asyncio": """
async def wait_for_ever():
    at_it()
    await asyncio.Event().wait()  # HERE: task

def test_hangs():
    with pytest.raises(Released):
        asyncio.run(wait_for_ever())  # HERE
""",
}


class Hanging:
    """A suite one of whose tests hangs until it is released."""

    def __init__(self, place: Place, kind: str, *arguments: str, **environ: str) -> None:
        self.kind = kind
        self.path = place.path / "suite"
        self.path.mkdir()
        (self.path / "conftest.py").write_text(CONFTEST)
        (self.path / "test_it.py").write_text(TESTS + HANGS[kind])
        (self.path / "byte").write_bytes(b"\0")
        lines = (self.path / "test_it.py").read_text().splitlines()
        self.lines = {
            text.partition("  # ")[2]: number for number, text in enumerate(lines, start=1) if "# HERE" in text
        }
        where = (f"--rootdir={self.path}", str(self.path))
        self.process = place.start_pytest("-p", "no:faulthandler", *arguments, *where, THREEPIO_RUN_ID="run", **environ)
        wait_until((self.path / "at-it").exists)

    def finish(self, pid: int) -> str:
        """Release the test; return what pytest said at its end."""
        with (self.path / "byte").open("r+b") as file, mmap.mmap(file.fileno(), 1) as page:
            page[0] = 1
        if self.kind != "C loop":
            os.kill(pid, signal.SIGUSR1)
        output, _ = self.process.communicate(timeout=30)
        return output


@contextmanager
def hanging(place: Place, kind: str, *arguments: str, **environ: str) -> Iterator[Hanging]:
    found = Hanging(place, kind, *arguments, **environ)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
            found.process.communicate()


def where_is(place: Place, call: Call, frame: tuple[str, int], depth: int = 1) -> dict[str, Any]:
    """Ask until the hang has begun; return the process that is at that file and line, and which stack says so.

    Args:
        place, call: where to ask, and how.
        frame: file and line.
        depth: how many of the innermost frames are looked at.
    """
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        answer = call(place, "stacks", "run", "--json")
        processes = json.loads(answer.stdout)["processes"]
        if answer.exit_code != 0:
            return False  # the other worker is just ending its session
        for process in processes:
            for stack in process["stacks"]:
                if frame in [(found["file"], found["line"]) for found in stack["frames"][:depth]]:
                    found.append({**process, "stack": stack})
                    return True
        return False

    wait_until(is_there)
    return found[0]


WORKERS = {"one process": (), "-n 2": ("-n", "2")}
WAYS = {"py-spy": {}, "agreed": {"THREEPIO_STACKS": "1"}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", HANGS)
def test_the_line_of_a_hang_is_named_and_the_suite_goes_on(
    place: Place, call: Call, kind: str, workers: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "agreed":
        monkeypatch.setattr(stacks_of, "_find_tool", lambda: None)
    with hanging(place, kind, *WORKERS[workers], **WAYS[way]) as it:
        file = str(it.path / "test_it.py")
        at = it.lines.get("HERE: task") if way == "agreed" else None
        depth = 1 if kind != "asyncio" else 2 if at else 10  # the loop, or Event.wait, is called there
        process = where_is(place, call, (file, at or it.lines["HERE"]), depth)
        text = call(place, "stacks", "run").stdout
        output = it.finish(process["pid"])

    assert process["in_flight"]["nodeid"] == "test_it.py::test_hangs"
    assert (process["worker"] is None) == (workers == "one process")
    assert process["stack"]["kind"] == ("task" if at else "thread")
    assert at or process["stack"]["name"] == "MainThread"
    assert f"test_it.py:{at or it.lines['HERE']} in " in text
    assert "no test in flight" not in text.splitlines()[0]  # who is idle comes last
    assert ("an event loop: start the tests with THREEPIO_STACKS=1" in text) == (kind == "asyncio" and way == "py-spy")
    assert it.process.returncode == 0, output
    assert "4 passed" in output
    assert "THREEPIO_STACKS" not in output
    assert not list((place.state_dir.path / "stacks").glob("*"))


HOSTILE = {
    "takes the handler back": "signal.signal(stacks.SIGNAL, signal.SIG_DFL)",
    "ignores the signal": "signal.signal(stacks.SIGNAL, signal.SIG_IGN)",
    # Not the lowest ones: the way to the controller and the terminal are there, and the suite is to go on.
    "closes all descriptors": "os.closerange(150, 4096)",
    "has a file of its own there": "os.closerange(150, 4096); "
    "files = [open(f'{HERE}/own-{number}', 'w') for number in range(250)]",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_suite_that_took_back_what_it_agreed_to_is_not_asked(
    place: Place, call: Call, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.environ["THREEPIO_STACKS"] = "1"
    body = f"def test_hangs():\n    import os, signal\n    from threepio_client import stacks\n    {HOSTILE[what]}\n"
    monkeypatch.setitem(HANGS, "hostile", body + HANGS["sleep"].partition(":\n")[2])
    with hanging(place, "hostile") as it:
        place_of = (str(it.path / "test_it.py"), it.lines["HERE"])
        process = where_is(place, call, place_of)  # by py-spy
        output = it.finish(process["pid"])

    assert "4 passed" in output
    assert it.process.returncode == 0
    assert all(path.stat().st_size == 0 for path in it.path.glob("own-*"))


# What cannot be told


def test_a_run_that_is_over_has_no_stacks(place: Place, call: Call) -> None:
    place.pytest("-q", str(place.suite("def test_one(): pass")), THREEPIO_RUN_ID="run")

    answer = call(place, "stacks", "run")

    assert answer.exit_code == 1
    assert answer.stderr == "threepio: the run run is over (passed): it has no stacks any more\n"
    assert call(place, "stacks", "nosuch").exit_code == 4


def test_without_py_spy_it_says_what_to_install(place: Place, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks_of, "_find_tool", lambda: None)
    with hanging(place, "sleep") as it:
        answer = call(place, "stacks", "run")
        it.finish(it.process.pid)

    assert answer.exit_code == 1
    assert "test_it.py::test_hangs (call, for" in answer.stdout
    assert (
        "no stacks: py-spy is not installed: pip install 'threepiod[stacks]'. Or start the tests with THREEPIO_STACKS=1"
        in answer.stdout
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_process_is_not_looked_into() -> None:
    script = """
import os, sys
from pathlib import Path
from threepio_client import stacks
from threepio_client.process import identity_of
identity = identity_of(os.getppid())
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    print(stacks.of_process(identity, Path("/nonexistent/agreed")))
except stacks.CannotTell as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("this system does not let py-spy look at other processes")
