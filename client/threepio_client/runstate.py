"""RunState: the one reducer from lines and observations to a run's state.

It serves the daemon's live view, the commands without a daemon, `verify` and the tests. It looks at no clock, no process
and no file, and keeps nothing per test, so its size does not grow with the suite.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from threepio_client.events import DECIDING, EventType, ObservationType, Payload, Phase, Status
from threepio_client.line import Event, Passed
from threepio_client.printable import number_of

COUNTS: Final = (
    "passed",
    "failed",
    "errors",
    "skipped",
    "xfailed",
    "xpassed",
    "rerun",
    "deselected",
    "warnings",
    "subtests_passed",
    "subtests_failed",
    "subtests_skipped",
    "subtests_xfailed",
    "subtests_xpassed",
)
"""Names of the counts, in the order of display. Each equals the number in pytest's own last line."""
BAD_COUNTS: Final = ("failed", "errors", "subtests_failed")
"""Those of failures."""

_COUNT_OF: Final[dict[str, str]] = {
    Status.PASS: "passed",
    Status.FAIL: "failed",
    Status.ERROR: "errors",
    Status.SKIP: "skipped",
    Status.XFAIL: "xfailed",
    Status.XPASS: "xpassed",
    Status.RERUN: "rerun",
}
OBSERVED: Final = (
    "gone",
    "process_gone",
    "exit_code",
    "exit_signal",
    "runner_code",
    "in_flight",
    "out_of_memory",
    "trace",
    "tree",
    "tree_at_end",
)
"""Names of the facts of a RunState that come from observations, not from lines."""

DEATHS_KEPT: Final = 20
"""Of workers: what is known of the first ones that died; all are counted."""

_STOP_SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""Somebody asked the run to end; any other signal is a crash."""


class State(StrEnum):
    """State of a run. Only `passed` is green."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    INCOMPLETE = "incomplete"
    DETACHED = "detached"
    """Alive or not to be seen from here, and not connected: only the daemon's view can say this."""


LIVE_STATES: Final = frozenset({State.RUNNING, State.DETACHED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of a run.

    Attributes:
        state: the run's state.
        kind: one word for programs; docs/protocol.md lists them.
        text: one sentence for people.
    """

    state: State
    kind: str
    text: str


@dataclass(slots=True)
class RunState:
    """The facts of a run up to line `seq`; `verdict()` judges them.

    Attributes:
        seq: last line folded in.
        start: payload of runStart, empty before it.
        started, updated: seconds since the epoch of the first and the last line.
        collected: tests that were selected to run; None before collection ended.
        finished: tests whose outcome is known, each counted once.
        counts: see `COUNTS`.
        stats: payload of the last adapterStats.
        complete: payload of runComplete, None before it.
        bad_at_end: failures and errors that were counted before it: what comes later changes no outcome.
        holes: events whose line nobody can read, by the gaps in `seq`.
        bad_lines: lines of the journal that nobody can read.
        conflicts: lines that came with the seq of another line and other content.
        unknown: lines of a type that this version does not know.
        gone: when the process was seen to have ended, seconds since the epoch.
        process_gone: whether that was seen from outside, after its journal was read to the end.
        exit_code, exit_signal: how it ended, where its parent told.
        runner_code: the runner's exit code, where that was another one in the end than it had said with runComplete.
        in_flight: what was in flight when the process ended; None before, and where it is not known.
        out_of_memory: whether the kernel killed the process for memory.
        trace: what the dying process said of itself.
        flaky: tests that passed after an attempt that did not.
        workers: identity of the process of each worker that is there, by the worker's name.
        worker_deaths: the first workers that died: `worker`, `exitCode` or `signal`, `outOfMemory`, `nodeid`, `phase`.
        workers_died: how many did.
        tree, tree_at_end: payloads of the observations of the work tree.
    """

    seq: int = 0
    start: Payload = field(default_factory=dict)
    started: float = 0.0
    updated: float = 0.0
    collected: int | None = None
    finished: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    stats: Payload = field(default_factory=dict)
    complete: Payload | None = None
    bad_at_end: int = 0
    holes: int = 0
    bad_lines: int = 0
    conflicts: int = 0
    unknown: int = 0
    gone: float | None = None
    process_gone: bool = False
    exit_code: int | None = None
    exit_signal: int | None = None
    runner_code: int | None = None
    in_flight: list[dict[str, Any]] | None = None
    out_of_memory: bool = False
    trace: str = ""
    flaky: int = 0
    workers: dict[str, Payload] = field(default_factory=dict)
    worker_deaths: list[Payload] = field(default_factory=list)
    workers_died: int = 0
    tree: Payload = field(default_factory=dict)
    tree_at_end: Payload = field(default_factory=dict)

    def to_snapshot(self) -> dict[str, Any]:
        """Return plain data from which `from_snapshot` makes an equal state.

        What events said is in it as it is: a copy would go as deep as a foreign writer went.
        """
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value.copy() if isinstance(value, dict | list) else value for name, value in found.items()}

    @classmethod
    def from_snapshot(cls, snapshot: dict[str, Any]) -> RunState:
        """Return the state that a snapshot was made of: one by a newer version may say more, by an older one less."""
        names = cls.__dataclass_fields__
        state = cls(**{name: value for name, value in snapshot.items() if name in names})
        state.counts = dict.fromkeys(COUNTS, 0) | state.counts
        return state

    def fold(self, event: Event) -> None:
        """Take in the next line of the journal. A line that is in already changes nothing."""
        if event.seq <= self.seq:
            return
        if event.seq > self.seq + 1:
            self.holes += event.seq - self.seq - 1
        self.seq = event.seq
        self.updated = event.timestamp
        if type(event) is Passed:
            self.counts["passed"] += 1
            self.finished += 1
            return
        payload = event.payload
        if event.type == EventType.TEST_CASE:
            self._fold_test_case(payload)
        elif event.type == EventType.RUN_START:
            self.start = payload
            self.started = event.timestamp
        elif event.type == EventType.COLLECTION_ERROR:
            self.counts["errors"] += 1
        elif event.type == EventType.COLLECTION_FINISH:
            self.collected = _number(payload.get("collected"))
            self.counts["deselected"] = _number(payload.get("deselected"))
        elif event.type == EventType.ADAPTER_STATS:
            self._fold_stats(payload)
        elif event.type in _OF_WORKERS:
            self._fold_worker(event.type, payload)
        elif event.type == EventType.RUN_COMPLETE:
            self.complete = payload
            self.bad_at_end = self._bad
            self.workers = {}
            self._fold_stats(payload.get("stats"))
            self.counts["deselected"] = _number(payload.get("deselected", self.counts["deselected"]))
        elif event.type not in _PASSED_OVER:
            self.unknown += 1

    def fold_bad_line(self) -> None:
        """Take in that there is a line in the journal that nobody can read; the gap in `seq` shows what it was."""
        self.bad_lines += 1

    def fold_conflict(self) -> None:
        """Take in that a line came with the seq of another line and other content; the first one stands."""
        self.conflicts += 1

    def observe(self, event: Event) -> None:
        """Take in an observation; a later one of the same type replaces the earlier."""
        payload = event.payload
        if event.type == ObservationType.PROCESS_GONE:
            found = _slots_of(payload)
            self.in_flight = found if found is not None else self.in_flight
            self.process_gone = True
        elif event.type == ObservationType.EXIT_STATUS:
            if payload.get("pid") != self.pid:
                return  # the status of a shell or wrapper says nothing certain about the runner
            code, number = payload.get("exitCode"), payload.get("signal")
            self.exit_code = code if type(code) is int else None
            self.exit_signal = number if type(number) is int else None
            is_kill = number == signal.SIGKILL and payload.get("outOfMemory") is True
            self.out_of_memory = self.out_of_memory or is_kill
        elif event.type == ObservationType.RUNNER_END:
            code = payload.get("exitCode")
            self.runner_code = code if type(code) is int else None
            return
        elif event.type == ObservationType.FAULT_TRACE:
            self.trace = _text(payload.get("text"))
            return
        elif event.type == ObservationType.WORK_TREE:
            if payload.get("when") == "start":
                self.tree = payload
            else:
                self.tree_at_end = payload
            return
        else:
            self.unknown += 1
            return
        self.gone = event.timestamp if self.gone is None else min(self.gone, event.timestamp)

    @property
    def pid(self) -> int:
        """Process id of the producer, 0 before runStart."""
        process = self.start.get("process")
        return _number(process.get("pid")) if isinstance(process, dict) else 0

    @property
    def told_code(self) -> int | None:
        """The exit code that the runner told; None before its end, or where it did not know it."""
        found = self.runner_code if self.runner_code is not None else (self.complete or {}).get("exitCode")
        return found if type(found) is int else None  # False is not 0

    @property
    def events_lost(self) -> int:
        """Events that nobody could take: counted by the adapter."""
        return _number(self.stats.get("eventsLost"))

    @property
    def left_in_flight(self) -> list[dict[str, Any]]:
        """What was in flight when the process died, or when the run was stopped; empty if nothing is known."""
        if self.complete is not None:
            return _slots_of(self.complete.get("stopped")) or []
        return self.in_flight or []

    @property
    def never_ran(self) -> int:
        """Tests that were selected to run and have no outcome (yet)."""
        if self.start.get("collectOnly"):
            return 0
        return max((self.collected or 0) - self.finished, 0)

    def verdict(self) -> Verdict:
        """Return what can be said by the facts so far."""
        if self.complete is not None:
            found = self._verdict_of_complete(self.complete)
            return Verdict(state=found.state, kind=found.kind, text=found.text + self._died() + self._afterwards())
        if self.process_gone:  # an exit status alone may be told before the journal is read to its end
            return self._verdict_of_death()
        return Verdict(state=State.RUNNING, kind="running", text="running")

    def _fold_test_case(self, payload: Payload) -> None:
        # A foreign writer may have put anything there: only texts are looked up.
        status, phase, counted_as = (_text(payload.get(key)) for key in ("status", "phase", "countedAs"))
        name = count_of(status, counted_as)
        if name is None:
            self.unknown += 1
            return
        self.counts[name] += 1
        taken_back = payload.get("takenBack")
        if isinstance(taken_back, dict):
            for other in self.counts.keys() & taken_back.keys():
                self.counts[other] = max(self.counts[other] - _number(taken_back[other]), 0)
            self.finished = max(self.finished - _number(taken_back.get("finished")), 0)
            self.flaky = max(self.flaky - _number(taken_back.get("flaky")), 0)
        if "subtest" not in payload and name != "rerun" and phase in DECIDING:
            self.finished += 1
            self.flaky += name == "passed" and _number(payload.get("attempt")) > 1

    def _fold_worker(self, event_type: str, payload: Payload) -> None:
        worker = _text(payload.get("worker"))
        if event_type == EventType.WORKER_START:
            process = payload.get("process")
            self.workers[worker] = process if isinstance(process, dict) else {}
            return
        self.workers.pop(worker, None)
        self.workers_died += 1
        if len(self.worker_deaths) < DEATHS_KEPT:
            self.worker_deaths.append(payload)

    def _fold_stats(self, payload: object) -> None:
        if isinstance(payload, dict):
            self.stats = payload
            self.counts["warnings"] = _number(payload.get("warnings"))

    def _verdict_of_complete(self, complete: Payload) -> Verdict:
        code = self.told_code
        stopped = complete.get("stopped")
        kind, why = "", ""
        if isinstance(stopped, dict):
            kind, why = str(stopped.get("kind", "")), str(stopped.get("text", ""))
        rest = f"; {self.never_ran} of {self.collected} tests never ran" if self.never_ran else ""
        if kind == "internal-error":
            return Verdict(state=State.FAILED, kind=kind, text=f"the runner broke: {why}{rest}")
        if kind == "collection":
            return Verdict(state=State.FAILED, kind=kind, text=f"stopped: {why}{rest}")
        if kind in {"user", "exit"} or (kind and (self.never_ran or self.collected is None)):
            if at_work := self.left_in_flight:
                why, rest = f"{why},{place_of_death(at_work)}", self._without_outcome()
            return Verdict(state=State.INTERRUPTED, kind=kind, text=f"stopped: {why}{rest}")
        damage = self._damage()
        if code == 0 and self.start.get("collectOnly") and not damage:
            return Verdict(
                state=State.PASSED, kind="collect-only", text=f"{self.collected} tests collected, none was to run"
            )
        if code == _USAGE:  # perhaps after the collection, as for an unknown setting with --strict-config
            kind, text = _EXIT_CODES[code]
            return Verdict(state=State.FAILED, kind=kind, text="; ".join([f"{text}{rest}", *damage]))
        if self.never_ran or (damage and code == 0):
            parts = [f"{self.finished} of {self.collected} tests have an outcome"] if self.never_ran else []
            text = "; ".join([*parts, *damage])
            kind = "unfinished" if self.never_ran else "damaged"
            return Verdict(state=State.INCOMPLETE, kind=kind, text=f"ended with exit code {code}, but {text}")
        if code == 0 and self.bad_at_end:  # a plugin or a conftest.py may say 0 whatever happened
            text = "tests failed, though the runner ended with exit code 0"
            return Verdict(state=State.FAILED, kind="tests-failed", text=text)
        if code == 0:
            return Verdict(state=State.PASSED, kind="passed", text="passed")
        if code == 2:
            return Verdict(state=State.INTERRUPTED, kind="user", text="stopped: the runner says interrupted")
        if code == 1 and not self._bad:
            text = "the runner ended with exit code 1, though no test failed"
            return Verdict(state=State.FAILED, kind="error", text="; ".join([text, *damage]))
        kind, text = (
            _ERROR if code is None else _EXIT_CODES.get(code, ("error", f"the runner ended with exit code {code}"))
        )
        return Verdict(state=State.FAILED, kind=kind, text="; ".join([text, *damage]))

    def _verdict_of_death(self) -> Verdict:
        rest = self._without_outcome()
        where = place_of_death(self.in_flight)
        if self.exit_signal in _STOP_SIGNALS and not self.out_of_memory:
            text = f"ended by {signal_name(self.exit_signal)}{where}{rest}"
            return Verdict(state=State.INTERRUPTED, kind="signal", text=text)
        if self.exit_signal is not None or self.exit_code is not None:
            how = self._manner_of_death()
            kind = "memory" if self.out_of_memory else "signal" if self.exit_signal is not None else "exit"
            return Verdict(state=State.CRASHED, kind=kind, text=f"the process {how}{where}{rest}")
        text = f"the process {self.pid} is gone{where}, how it ended is not known{rest}"
        if not self.start:
            text = "the process is gone, and was so before its first event"
        return Verdict(state=State.CRASHED, kind="gone", text=text)

    @property
    def _bad(self) -> int:
        return sum(self.counts[name] for name in BAD_COUNTS)

    def _without_outcome(self) -> str:
        return f"; {self.never_ran} of {self.collected} tests have no outcome" if self.never_ran else ""

    def _died(self) -> str:
        """Return how many workers died: the runner goes on without them, and may end as if nothing was."""
        return f"; {number_of(self.workers_died, 'worker')} died" if self.workers_died else ""

    def _afterwards(self) -> str:
        """Return how the process ended after its run was over, where that is not how the runner wanted to end."""
        if self.exit_signal is None and self.exit_code in (None, self.told_code):
            return ""
        return f"; afterwards the process {self._manner_of_death()}"

    def _manner_of_death(self) -> str:
        name = signal_name(self.exit_signal) if self.exit_signal is not None else None
        return manner_of_death(self.exit_code, name, self.out_of_memory)

    def _damage(self) -> list[str]:
        parts = []
        if self.holes or self.bad_lines:
            parts.append(f"{number_of(max(self.holes, self.bad_lines), 'line')} of its journal cannot be read")
        if self.conflicts:
            parts.append(f"{number_of(self.conflicts, 'line')} came twice with different content")
        errors = _number((self.complete or {}).get("pluginErrors"))
        if errors:
            parts.append(f"{number_of(errors, 'error')} in the plugin kept something from being reported")
        if self.events_lost:
            parts.append(f"{number_of(self.events_lost, 'event')} lost, because nothing could be written")
        return parts


_OF_WORKERS: Final = frozenset({EventType.WORKER_START, EventType.WORKER_GONE})
_PASSED_OVER: Final = frozenset(
    {
        EventType.COLLECTION_START,
        EventType.TESTS_COLLECTED,
        EventType.GROUP_DISCOVERED,
        EventType.GROUP_START,
        EventType.GROUP_RESULT,
        EventType.TEST_TEARDOWN,
    }
)
_USAGE: Final = 4
_EXIT_CODES: Final = {
    1: ("tests-failed", "tests failed"),
    3: ("internal-error", "the runner ended with exit code 3, as pytest does after an internal error"),
    _USAGE: ("usage", "the runner was called in a wrong way"),
    5: ("no-tests", "no tests were run"),
    6: ("warnings", "there were more warnings than --max-warnings allows"),
}
"""pytest's exit codes (pytest.ExitCode); a plugin such as pytest-cov also ends with 1 or 2 for reasons of its own."""
_ERROR: Final = ("error", "the runner ended without an exit code")


def _number(value: object) -> int:
    return value if type(value) is int else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def count_of(status: str, counted_as: str = "") -> str | None:
    """Return the count that a testCase belongs to; None where its writer knows one that we do not.

    Args:
        status: its status.
        counted_as: what it says that it counts as, where that is not its status' own.
    """
    name = counted_as or _COUNT_OF.get(status)
    return name if name in COUNTS else None


def manner_of_death(exit_code: int | None, exit_signal: str | None, out_of_memory: bool) -> str:
    """Return how a process ended, as the end of a sentence; the signal by its name."""
    if out_of_memory:
        return "was killed by the kernel, which ran out of memory for it (SIGKILL)"
    if exit_signal is not None:
        return f"was killed by {exit_signal}"
    return f"exited with code {exit_code}" if exit_code is not None else "ended in a way that is not known"


def _slots_of(payload: object) -> list[dict[str, Any]] | None:
    """Return the `inFlight` of a payload; None where it does not tell."""
    found = payload.get("inFlight") if isinstance(payload, dict) else None
    return [dict(slot) for slot in found if isinstance(slot, dict)] if isinstance(found, list) else None


def place_of_death(slots: list[dict[str, Any]] | None) -> str:
    """Return where that was, as a part of a sentence that begins with its blank; empty where it is not known."""
    if slots is None:
        return ""
    places = [_place(slot) for slot in slots]
    if len(places) > 1:
        return f" with {len(places)} in flight"
    return f" {places[0]}" if places else " while no test was in flight"


def _place(slot: dict[str, Any]) -> str:
    name, phase = _text(slot.get("nodeid")), _text(slot.get("phase"))
    if phase == Phase.SESSION_END:
        return "at the session's end"
    return f"while collecting {name}" if phase == Phase.COLLECT else f"in the {phase} of {name}"


def signal_name(number: int | None) -> str:
    """Return a signal's name, as SIGSEGV."""
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
