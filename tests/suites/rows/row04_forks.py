"""Row 4: forks."""

import os
import signal
from pathlib import Path

from tests.suites.checker import NONE, Compared
from tests.suites.variant import Variant

DOES = "`os.fork()`: the child exits, the child returns into pytest, the child sleeps on, multiprocessing fork"
HOLDS = "child emits nothing; the daemon sees the end of the stream when the parent ends"


def _sockets(directory: Path) -> int:
    pid = int((directory / "sleeper").read_text())
    try:
        return sum(os.readlink(link).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())
    finally:
        os.kill(pid, signal.SIGKILL)


def _check_sleeper(result: Compared) -> None:
    without = result.directory.parent.parent / NONE / "suite"
    if result.name == "with":
        assert _sockets(result.directory) == _sockets(without), "the sleeping child holds a socket of ours"
    else:
        _sockets(result.directory)
    assert list(result.outcomes().values()) == [["PASS"]] * 4


VARIANTS = [
    Variant(
        name="child exits, sleeps on, returns into pytest",
        suite="forks",
        arguments=("-q", "-p", "no:faulthandler"),
        counts={"passed": 4},
        reportlog=False,  # the child that returns writes into it too
        check=_check_sleeper,
    ),
    Variant(name="multiprocessing", suite="multiprocessing_fork", counts={"passed": 2}),
]
