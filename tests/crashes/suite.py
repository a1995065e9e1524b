"""The suite that dies. Just before it does it writes down, with plain Python, who it is and what pytest says it is doing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

CONFTEST: Final = '''
import json, os, signal, time
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
HOW = os.environ["CRASH_HOW"]
PLACE = os.environ["CRASH_PLACE"]
WHO = os.environ["CRASH_WHO"]


finished = []


def pytest_runtest_logreport(report):
    if report.when == "call":
        finished.append(report.nodeid)


def eat():
    kept = []
    while True:
        kept.append(b"x" * (8 << 20))


def say(nodeid, phase):
    words = {
        "pid": os.getpid(),
        "worker": os.environ.get("PYTEST_XDIST_WORKER"),
        "nodeid": nodeid,
        "phase": phase,
        "finished": len(finished),
    }
    descriptor = os.open(f"{HERE}/last-words", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, json.dumps(words).encode() + b"\\n")
    os.close(descriptor)


def current():
    """Return what pytest itself says: `test_b.py::test_dies (setup)`."""
    nodeid, _, phase = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")
    return nodeid, phase.strip("()")


def die(place, nodeid=None, phase=None):
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if place != PLACE or is_worker != (WHO != "process"):
        return
    say(*(current() if nodeid is None else (nodeid, phase)))
    if WHO == "controller":
        parent = os.getppid()
        os.kill(parent, signal.SIGKILL)
        while True:
            time.sleep(1)  # what is in flight stays in flight, until execnet ends this worker
    {
        "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "SIGSEGV": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "exit 0": lambda: os._exit(0),
        "exit 3": lambda: os._exit(3),
        "OOM": eat,
    }[HOW]()
    time.sleep(60)  # a signal is on its way


@pytest.fixture(scope="session")
def session_fixture():
    die("session fixture")


@pytest.fixture
def around():
    die("setup")
    yield
    die("teardown")


def pytest_sessionfinish():
    die("session end", "", "session end")
'''
BEFORE: Final = """
def test_a1(): pass
def test_a2(): pass
"""
DIES: Final = """
from conftest import die
die("import", "test_b.py", "collect")
def test_b1(): pass
def test_dies(session_fixture, around): die("call")
def test_b3(): pass
"""
COLLECTED: Final = 5
NODEIDS: Final = (
    "",
    "test_a.py",
    "test_b.py",
    "test_a.py::test_a1",
    "test_a.py::test_a2",
    "test_b.py::test_b1",
    "test_b.py::test_dies",
    "test_b.py::test_b3",
)
"""What may be in flight at all; empty for the session itself."""


class Words(NamedTuple):
    """What a process wrote just before it died."""

    pid: int
    worker: str | None
    nodeid: str
    phase: str
    finished: int


def write(directory: Path) -> None:
    """Write the suite into a directory."""
    directory.mkdir()
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "test_a.py").write_text(BEFORE)
    (directory / "test_b.py").write_text(DIES)


def last_words(directory: Path) -> list[Words]:
    """Return what was written, the first first; empty if nobody came to the place."""
    try:
        lines = (directory / "last-words").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [Words(**json.loads(line)) for line in lines]


def environ(how: str, place: str, who: str) -> dict[str, str]:
    """Return what tells the suite where and how to die."""
    return {"CRASH_HOW": how, "CRASH_PLACE": place, "CRASH_WHO": who, "PYTHONDONTWRITEBYTECODE": "1"}
