"""Row 22: a test removes what it should not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.suites.checker import NONE
from tests.suites.rows.row02_sigpipe import AFTERWARDS
from tests.suites.variant import Process, Variant

DOES = "test removes the project directory, the state directory, the socket, the journal"
HOLDS = "run goes on; said loudly"


@contextmanager
def _out_of_reach(process: Process) -> Iterator[None]:
    """Without the plugin there is nothing to remove but the suite itself."""
    if process.name == NONE:
        process.environ["THREEPIO_STATE_DIR"] = str(process.directory / "state")
        process.environ["THREEPIO_SOCKET"] = str(process.directory / "socket")
    yield


@contextmanager
def _alone(process: Process) -> Iterator[None]:
    with _out_of_reach(process):
        process.environ["THREEPIO_SOCKET"] = str(process.directory / "socket")
        yield


REMOVED = ("the journal ",)
ALSO = (*AFTERWARDS, "cannot ")
VARIANTS = [
    *(
        Variant(name=f"the {what}", suite="removes", environ={"REMOVES": what}, own_daemon=True, around=_out_of_reach,
                counts={"passed": 4}, may_say=AFTERWARDS)
        for what in ("project", "socket")
    ),
    *(
        Variant(name=f"the {what}", suite="removes", environ={"REMOVES": what}, own_daemon=True, around=_out_of_reach,
                exit_code=0, loses=True, says=REMOVED, may_say=ALSO, runs_alone=False)
        for what in ("journal", "journals", "state")
    ),
    *(
        Variant(name=f"the {what}, no daemon", suite="removes", environ={"REMOVES": what}, own_daemon=True, around=_alone,
                exit_code=0, loses=True, says=REMOVED, may_say=ALSO, runs_alone=False)
        for what in ("journal", "journals", "state")
    ),
]  # fmt: skip
