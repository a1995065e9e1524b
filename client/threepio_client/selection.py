"""What of a run is worth running again: what failed, what never ran, and what presumably killed it.

`select` reads the journal alone, so the plugin can do it in the tested process, without a daemon and without the store;
`Archive.selection` takes what is stored from the store, which is faster.
"""

from __future__ import annotations

from contextlib import closing
from math import inf
from typing import Any, NamedTuple

from threepio_client.events import BAD, DECIDING, EventType, ObservationType, Payload, Status, nodeids_in
from threepio_client.line import Event, Passed
from threepio_client.observed import last_seen, observations
from threepio_client.paths import StateDir
from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.runjournal import RunJournal
from threepio_client.runstate import RunState


class Selection(NamedTuple):
    """Parts of a run; node ids in the order of collection, each in one of the lists only.

    Attributes:
        start: the run's runStart, empty if it cannot be read.
        failed: what ended in a failure or an error; a file that could not be collected stands for all that is in it.
        never_ran: what was collected to be run and has no outcome.
        suspects: what was in flight when the process or a worker of it died, or the run was stopped: presumably for it.
        suspects_over: those of them that have an outcome all the same: xdist fails the test in which a worker died.
        suspects_failed: those of them that failed or broke, by it or before.
        has_tests: whether anything was collected to be run.
        is_whole: whether collection was over and told all names; if not, more never ran than anybody can name.
        is_alive: whether the run's process still runs: then there is more to come.
        seq: of the last event that was looked at.
    """

    start: Payload
    failed: list[str]
    never_ran: list[str]
    suspects: list[str]
    suspects_over: frozenset[str]
    suspects_failed: frozenset[str]
    has_tests: bool
    is_whole: bool
    is_alive: bool
    seq: int

    @property
    def rest(self) -> str:
        """What became of the tests that did not fail, where none of them is worth running again."""
        return "nothing was to run" if self.start.get("collectOnly") or not self.has_tests else "everything ran"

    def only_failed(self) -> Selection:
        """Return the part of it that failed."""
        failed = self.suspects_failed
        return self._replace(never_ran=[], suspects=[one for one in self.suspects if one in failed], is_whole=True)

    def __bool__(self) -> bool:
        return bool(self.failed or self.never_ran or self.suspects or not self.is_whole)


def select(state_dir: StateDir, run_id: str, up_to: float = inf) -> Selection:
    """Return what of a run is worth running again.

    Args:
        state_dir: where the journal is.
        run_id: the run.
        up_to: seq of the last event that is looked at: of a run that goes on, all who ask shall see the same.

    Raises:
        OSError: its journal cannot be read.
    """
    state, selector = RunState(), Selector()
    with closing(RunJournal(state_dir, run_id)) as journal:
        journal.look()
        for step in journal.steps(0, final=True):
            if step.event is not None and step.event.seq <= up_to:
                state.fold(step.event)
                selector.take_event(step.event)
    return selector.result(state_dir, run_id, state)


class Selector:
    """Makes a selection from a run's events; those of one test in their order."""

    def __init__(self) -> None:
        self._collected: dict[str, None] = {}
        self._finished: set[str] = set()
        self._failed: dict[str, set[str]] = {}  # with the workers on which they did
        self._suspects: dict[str, None] = {}
        self._named = 0
        self._knows_end = False

    def take_event(self, event: Event) -> None:
        """Take in an event."""
        if type(event) is Passed:
            self._finished.add(event.row[0])
        else:
            self.take(event.type, event.payload)

    def take(self, event_type: str, payload: Payload) -> None:
        """Take in an event; of a testCase its node id, status, phase, worker and subtest are looked at."""
        if event_type == EventType.TEST_CASE:
            self._take_outcome(payload)
        elif event_type == EventType.TESTS_COLLECTED:
            nodeids = nodeids_in(payload)
            self._collected.update(dict.fromkeys(nodeids))
            self._named += len(nodeids)
        elif event_type == EventType.COLLECTION_ERROR:
            self._failed[str(payload.get("nodeid"))] = set()
        elif event_type == EventType.WORKER_GONE:
            self._suspect(payload)
        elif event_type == EventType.RUN_COMPLETE and isinstance(payload.get("stopped"), dict):
            self._suspect_all(payload["stopped"].get("inFlight"))

    def result(self, state_dir: StateDir, run_id: str, state: RunState) -> Selection:
        """Return the selection, after the last event; `state` has seen the same events."""
        for event, _ in observations(state_dir.observed(run_id)):
            self._observe(event.type, event.payload)
        identity = ProcessIdentity.from_payload(state.start.get("process"))
        liveness = identity.liveness() if identity is not None else Liveness.UNKNOWN
        if state.complete is None and not self._knows_end and liveness is Liveness.GONE:
            for slot in last_seen(state_dir, state, run_id) or ():
                self._suspect({"nodeid": slot.text, "phase": slot.phase})
        ids = {*self._collected, *self._failed}
        # A file that was being imported, or in which a worker died during collection, is no test: nothing else names it.
        suspects = [nodeid for nodeid in self._suspects if nodeid in ids or "::" not in nodeid]
        order = {nodeid: number for number, nodeid in enumerate(self._collected)}
        return Selection(
            start=state.start,
            failed=sorted((n for n in self._failed if n not in self._suspects), key=lambda n: order.get(n, -1)),
            never_ran=[] if state.start.get("collectOnly") else self._never_ran(),
            suspects=suspects,
            suspects_over=frozenset(self._finished.intersection(suspects)),
            suspects_failed=frozenset(self._failed.keys() & suspects),
            has_tests=bool(state.collected or self._finished),
            is_whole=state.collected is not None and self._named >= state.collected,
            is_alive=state.complete is None and liveness is not Liveness.GONE,
            seq=state.seq,
        )

    def _never_ran(self) -> list[str]:
        return [n for n in self._collected if n not in self._finished and n not in self._suspects]

    def _observe(self, event_type: str, payload: Payload) -> None:
        if event_type == ObservationType.PROCESS_GONE and isinstance(payload.get("inFlight"), list):
            self._knows_end = True
            self._suspect_all(payload["inFlight"])

    def _take_outcome(self, payload: Payload) -> None:
        nodeid, status, worker = str(payload.get("nodeid")), payload.get("status"), str(payload.get("worker"))
        if status == Status.RERUN:
            failed = self._failed.get(nodeid, set())
            failed.discard(worker)  # of a subtest, in the attempt that was repeated
            if not failed:
                self._failed.pop(nodeid, None)
            self._finished.discard(nodeid)  # its call was over, and then its teardown failed
        elif status in BAD:
            self._failed.setdefault(nodeid, set()).add(worker)
        if str(payload.get("phase")) in DECIDING and "subtest" not in payload and status != Status.RERUN:
            self._finished.add(nodeid)

    def _suspect_all(self, slots: object) -> None:
        for slot in slots if isinstance(slots, list) else ():
            self._suspect(slot)

    def _suspect(self, slot: Any) -> None:
        nodeid = slot.get("nodeid") if isinstance(slot, dict) else None
        if isinstance(nodeid, str) and nodeid:
            self._suspects[nodeid] = None
