"""Row 24: places where something is forbidden or missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.place import Place
from tests.suites.checker import NONE, Compared
from tests.suites.variant import NotHere, Process, Variant

DOES = "Unix sockets forbidden (seccomp/EPERM), no home directory, read-only file system, a path of 200 characters"
HOLDS = "journal-only, or off with one clear line"

_SCRIPT = Path(__file__).parent.parent / "no_unix_sockets.py"
_COUNTS = {"failed": 1, "passed": 1, "skipped": 1}
_NOT_RECORDED = ("this run is not recorded: ",)


@contextmanager
def _no_sockets(process: Process) -> Iterator[None]:
    process.prefix = [sys.executable, str(_SCRIPT)]
    if subprocess.run([*process.prefix, "true"], check=False, capture_output=True).returncode:
        raise NotHere("seccomp filters cannot be set")
    yield


def _journal_only(result: Compared) -> None:
    (header,) = (line for line in result.said if ", events go to " in line)
    assert "events go to journal only, " in header, header


def _home(place: str) -> Callable[[Process], AbstractContextManager[None]]:
    @contextmanager
    def around(process: Process) -> Iterator[None]:
        for name in ("THREEPIO_STATE_DIR", "THREEPIO_SOCKET", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
            process.environ.pop(name, None)
        process.environ["HOME"] = place
        yield

    return around


@contextmanager
def _no_home(process: Process) -> Iterator[None]:
    process.environ.pop("HOME", None)
    yield


def _read_only(*names: str) -> Callable[[Process], AbstractContextManager[None]]:
    """Return what mounts directories read-only for one process: of the place, or the suite's own."""

    @contextmanager
    def around(process: Process) -> Iterator[None]:
        paths = [str(process.directory if name == "suite" else process.place.path / name) for name in names]
        script = (
            'while [ "$1" != -- ]; do mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 99; shift; done; '
            'shift; cd "$PWD"; exec "$@"'
        )
        process.prefix = ["unshare", "-m", "sh", "-c", script, "sh", *paths, "--"]
        if os.geteuid() or not shutil.which("unshare"):
            raise NotHere("needs root and unshare, to mount something read-only")
        if subprocess.run([*process.prefix, "true"], check=False, capture_output=True).returncode:
            raise NotHere("nothing can be mounted in a namespace of its own")
        yield

    return around


_LONG = "/".join(["a" * 49] * 4)


@contextmanager
def _long_state_dir(place: Place) -> Iterator[None]:
    place.environ["THREEPIO_STATE_DIR"] = str(place.path / _LONG / "state")
    yield


@contextmanager
def _long_socket(process: Process) -> Iterator[None]:
    if process.name != NONE:
        process.environ["THREEPIO_SOCKET"] = str(process.place.path / _LONG / "socket")
    yield


VARIANTS = [
    Variant(name="Unix sockets forbidden by seccomp", suite="small", around=_no_sockets, counts=_COUNTS,
            check=_journal_only),
    Variant(name="no HOME", suite="small", around=_no_home, counts=_COUNTS),
    Variant(name="a home that cannot be made", suite="small", around=_home("/dev/null/home"), exit_code=1, has_run=False,
            says=_NOT_RECORDED),
    Variant(name="state directory read-only", suite="small", own_daemon=True, runs_alone=False,
            around=_read_only("state"), counts=_COUNTS, says=("cannot ",), may_say=("no now page",)),
    Variant(name="all read-only", suite="small", around=_read_only("."), exit_code=1, has_run=False, says=_NOT_RECORDED),
    Variant(name="project read-only", suite="small", around=_read_only("suite"), counts=_COUNTS),
    Variant(name="state directory with a path of 200 characters", suite="small", ground=_long_state_dir, counts=_COUNTS),
    Variant(name="socket with a path of 200 characters", suite="small", around=_long_socket, counts=_COUNTS,
            says=("journal only: ",), check=_journal_only),
    Variant(name="project with a path of 200 characters", files={
            f"{_LONG}/test_it.py": "def test_a(): pass\ndef test_b(): assert 0\n"}, cwd=_LONG,
            counts={"failed": 1, "passed": 1}),
]  # fmt: skip
