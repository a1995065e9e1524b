"""Row 22: a test removes what it should not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.commands import call_threepio
from tests.suites.checker import NONE, Compared
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


def _check_stored(result: Compared) -> None:
    events = result.status["events"]
    assert events["stored"] == events["journaled"] == 12, events
    assert result.counts == {"passed": 4}


def _check_gone(result: Compared) -> None:
    """Check that the run is not green, unless all of it is there: a daemon may have had its journal open in time."""
    asked = call_threepio(result.place, "status", result.run_id, "--json")
    if asked.exit_code == 0:
        found = json.loads(asked.stdout)
        assert (found["finished"], found["events"]["journaled"]) == (4, 12), found
    else:
        assert asked.exit_code in (1, 4), asked


def _check_lost(result: Compared) -> None:
    _check_gone(result)
    assert any(line.startswith(f"run {result.run_id} is lost with its journal") for line in result.said), result.said


REMOVED = ("the journal ",)
ALSO = (*AFTERWARDS, "cannot ")
VARIANTS = [
    # pytest itself cannot end well in a directory that is gone, and says so with its exit code.
    Variant(name="the project", suite="removes", environ={"REMOVES": "project"}, counts={"passed": 4}, exit_code=1,
            state="failed", kind="internal-error", reportlog=False),
    Variant(name="the socket", suite="removes", environ={"REMOVES": "socket"}, own_daemon=True, around=_out_of_reach,
            counts={"passed": 4}, may_say=AFTERWARDS),
    *(
        Variant(name=f"the {what}", suite="removes", environ={"REMOVES": what}, own_daemon=True, around=_out_of_reach,
                exit_code=0, loses=True, state="passed", kind="passed", says=REMOVED, may_say=ALSO, runs_alone=False,
                check=_check_stored)
        for what in ("journal", "journals")
    ),
    Variant(name="the state directory", suite="removes", environ={"REMOVES": "state"}, own_daemon=True, exit_code=0,
            around=_out_of_reach, loses=True, says=REMOVED, may_say=ALSO, runs_alone=False, check=_check_gone),
    *(
        Variant(name=f"the {what}, no daemon", suite="removes", environ={"REMOVES": what}, own_daemon=True, around=_alone,
                exit_code=0, loses=True, says=REMOVED, may_say=ALSO, runs_alone=False, check=_check_lost)
        for what in ("journal", "journals", "state")
    ),
]  # fmt: skip
