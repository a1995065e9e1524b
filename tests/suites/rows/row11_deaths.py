"""Row 11: the process ends in the middle of a test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.place import wait_until
from tests.suites.checker import Compared
from tests.suites.variant import NotHere, Process, Variant

DOES = "`os._exit(0)`, `os._exit(3)`, SIGKILL, segfault, stack overflow, `MemoryError`, OOM kill"
HOLDS = "run is `crashed`, test in flight and its phase named"

DEATHS = {"exit 0": 0, "exit 3": 3, "SIGKILL": -9, "segfault": -11, "stack overflow": -11, "SIGABRT": -6}
HOW = ("exit", "signal", "gone")
"""What kind of death it is: how a process ended is not known to whoever did not see it alive, or on older kernels."""


def in_flight(*expected: tuple[str, str], never_ran: int | None = None) -> Callable[[Compared], None]:
    """Return a check of what was in flight, and of how many tests have no outcome."""

    def check(result: Compared) -> None:
        assert result.in_flight() == list(expected), f"{result.name}: {result.status['in_flight']}"
        assert never_ran is None or result.status["never_ran"] == never_ran, result.status["never_ran"]
        for nodeid, _ in expected:
            assert nodeid in result.status["verdict"]["text"], result.status["verdict"]

    return check


def dying(how: str, where: str, **particular: object) -> Variant:
    """Return a variant of the suite `deaths`."""
    given: dict[str, object] = {
        "name": f"{how}, in {where}" if where != "test" else how,
        "suite": "deaths",
        "arguments": ("-s", "-p", "no:faulthandler"),
        "environ": {"DIE_HOW": how, "DIE_WHERE": where},
        "exit_code": DEATHS.get(how),
        "dies": True,
        "state": "crashed",
        "kind": HOW,
    }
    return Variant(**{**given, **particular})  # type: ignore[arg-type]


_CGROUP = Path("/sys/fs/cgroup")
_LIMIT = 200 * 1024 * 1024


@contextmanager
def _little_memory(process: Process) -> Iterator[None]:
    """Start the process in a control group that is killed above some memory."""
    base = next((path for path in (_CGROUP / "memory", _CGROUP) if (path / "cgroup.procs").exists()), None)
    if base is None or os.geteuid():
        raise NotHere("needs root and a control group for memory")
    group = base / f"threepiod-tests-{secrets.token_hex(4)}"
    try:
        group.mkdir()
        name = "memory.limit_in_bytes" if base.name == "memory" else "memory.max"
        (group / name).write_text(str(_LIMIT))
    except OSError as error:
        raise NotHere(f"no control group for memory can be made: {error.strerror}") from None
    script = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
    process.prefix = ["sh", "-c", script, "sh", str(group)]
    try:
        yield
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


_IN_TEST = in_flight(("test_it.py::test_dies", "call"), never_ran=2)
VARIANTS = [
    *(dying(how, "test", counts={"passed": 2}, check=_IN_TEST) for how in DEATHS),
    dying("read of address 0", "test", name="segfault with pytest's faulthandler", arguments=("-s",), exit_code=-11,
          own_output=True, counts={"passed": 2}, check=_IN_TEST),
    dying("out of memory", "test", around=_little_memory, exit_code=-9, kind=(*HOW, "memory"), counts={"passed": 2},
          check=_IN_TEST),
    dying("MemoryError", "test", dies=False, exit_code=1, state="failed", kind="tests-failed",
          counts={"failed": 1, "passed": 3}),
]  # fmt: skip
