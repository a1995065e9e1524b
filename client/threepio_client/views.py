"""The answers of `status` and `runs` as plain data: one place for daemon and commands, documented in docs/json.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from threepio_client.runstate import BAD_COUNTS, LIVE_STATES, RunState, State, Verdict, signal_name

if TYPE_CHECKING:
    from threepio_client import answers  # for a checker of types; making them takes longer than a status needs
    from threepio_client.nowpage import InFlight

VIEW_VERSION: Final = 5
"""`schema_version` of everything printed with --json, and of the daemon's answers: it grows with every field that is added,
so that a command does not look for it in what an older daemon says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the reducer cannot know of a run.

    Attributes:
        run_id: the run's id.
        now: seconds since the epoch.
        source: `daemon` or `journal`.
        journaled, received, stored, acked: the last event that is in the journal, at the daemon, in the store, and that
            the adapter was told of.
        detached: whether the run is alive (or not to be seen from here) and not connected to the daemon that is asked.
        in_flight: what the now page says; only of a run that is not over.
        torn: bytes of a line that was begun and not finished.
        ingest: how the run's lines came to the daemon.
        trouble: why the daemon cannot store the run's events now, with its time; None if it can.
        unreadable: why the run's journal cannot be read; empty if it can, or need not be.
    """

    run_id: str
    now: float
    source: str
    journaled: int
    received: int
    stored: int
    acked: int = 0
    detached: bool = False
    in_flight: list[InFlight] = field(default_factory=list)
    torn: int = 0
    ingest: dict[str, int] = field(default_factory=dict)
    trouble: dict[str, Any] | None = None
    unreadable: str = ""


def status_view(state: RunState, facts: Facts) -> dict[str, Any]:
    """Return the answer of `threepio status RUN --json`."""
    verdict = state.verdict()
    if facts.unreadable:
        verdict = Verdict(state=State.INCOMPLETE, kind="unreadable", text=facts.unreadable)
    if verdict.state is State.RUNNING and facts.detached:
        which = f"process {state.pid}" if state.pid else "its process"  # not known before the first line
        text = f"{which} is not connected; what it does is read from its journal"
        verdict = Verdict(state=State.DETACHED, kind="detached", text=text)
    is_live = verdict.state in LIVE_STATES
    ended = facts.now if is_live else state.gone if state.complete is None and state.gone else state.updated
    code = state.told_code if state.complete is not None else state.exit_code
    answer: answers.Status = {
        "schema_version": VIEW_VERSION,
        "run_id": facts.run_id,
        "state": verdict.state.value,
        "exit_code": code,
        "started": state.started,
        "duration_s": round(max(ended - state.started, 0.0), 3) if state.started else 0.0,
        "collected": state.collected,
        "finished": state.finished,
        "never_ran": 0 if is_live else state.never_ran,
        "counts": cast("answers.Counts", dict(state.counts)),
        "in_flight": _in_flight(state, facts, ended),
        "flaky": state.flaky,
        "death": _death(state),
        "workers": [_worker(name, process) for name, process in state.workers.items()] if is_live else [],
        "workers_died": state.workers_died,
        "worker_deaths": [_worker_death(found) for found in state.worker_deaths],
        "verdict": {"kind": verdict.kind, "text": verdict.text},
        "events": {
            "journaled": max(facts.journaled, state.seq),
            "synced": max(_count(state, "synced"), facts.stored),
            "received": facts.received,
            "stored": facts.stored,
            "acked": max(_count(state, "acked"), facts.acked),
            "spilled": _count(state, "spilled"),
            "unjournaled": _count(state, "unjournaled"),
            "lost": state.events_lost,
            "unreadable": max(state.holes, state.bad_lines),
            "conflicts": state.conflicts,
            "torn_bytes": facts.torn,
            **cast("answers.Ingest", facts.ingest),
        },
        "write_failures": _count(state, "writeFailures"),
        "blocked_ms": _milliseconds(state, "blockedMs"),
        "last_error": cast("answers.LastError | None", facts.trouble) or _last_error(state),
        "pid": state.pid,
        "process": state.start.get("process"),
        "rootdir": state.start.get("rootdir", ""),
        "argv": state.start.get("argv", []),
        "git": _git(state),
        "ci": state.start.get("ci"),
        "parent_run_id": state.start.get("parentRunId"),
        "rerun_of": state.start.get("rerunOf"),
        "command_id": state.start.get("commandId") or None,
        "source": facts.source,
    }
    return {**answer}


def run_row(view: dict[str, Any]) -> dict[str, Any]:
    """Return the row of `threepio runs` for a status answer."""
    names = ("run_id", "state", "exit_code", "started", "duration_s", "collected", "finished", "counts", "rootdir")
    return {name: view[name] for name in (*names, "command_id")} | {"branch": view["git"].get("branch")}


def is_good(view: dict[str, Any]) -> bool:
    """Return whether a status answer deserves exit code 0: passed, or running without a failure so far."""
    return view["state"] == State.PASSED or (view["state"] == State.RUNNING and not has_failures(view))


def has_failures(view: dict[str, Any]) -> bool:
    """Return whether a status answer tells of a test that failed or broke."""
    return bad_of(view) > 0


def bad_of(view: dict[str, Any]) -> int:
    """Return how many failures a status answer counts."""
    counts = view["counts"]
    return sum(counts[name] for name in BAD_COUNTS)


def _count(state: RunState, name: str) -> int:
    """Return a count of the adapter's last statistics; a foreign writer may have put anything there."""
    value = state.stats.get(name)
    return value if type(value) is int else 0


def _milliseconds(state: RunState, name: str) -> float:
    value = state.stats.get(name)
    return value if isinstance(value, int | float) else 0.0


def _death(state: RunState) -> answers.Death | None:
    """Return how the process ended, where that is known and is not how the runner wanted to end.

    Of one that ended in order: what a worker that died left behind.
    """
    known = state.exit_signal is not None or state.exit_code not in (None, state.told_code) or bool(state.trace)
    is_judged = state.process_gone or (state.complete is not None and known)
    if not is_judged:
        return None
    return {
        "exit_code": state.exit_code,
        "signal": signal_name(state.exit_signal) if state.exit_signal is not None else None,
        "out_of_memory": state.out_of_memory,
        "trace": state.trace or None,
    }


def _worker(name: str, process: dict[str, Any]) -> answers.Worker:
    return {"worker": name, "pid": process.get("pid"), "process": cast("answers.Process | None", process or None)}


def _worker_death(found: dict[str, Any]) -> answers.WorkerDeath:
    number = found.get("signal")
    return {
        "worker": str(found.get("worker", "")),
        "nodeid": found.get("nodeid"),
        "phase": found.get("phase"),
        "exit_code": found.get("exitCode"),
        "signal": signal_name(number) if type(number) is int else None,
        "out_of_memory": found.get("outOfMemory") is True,
    }


def _git(state: RunState) -> answers.Git:
    """Return commit and branch, whether tracked files were changed, and whether that changed during the run."""
    found = state.start.get("git")
    git = cast("answers.Git", dict(found) if isinstance(found, dict) else {})
    if git:
        before, after = state.tree, state.tree_at_end
        git["dirty"] = before.get("dirty")
        names = ("commit", "digest")
        both = bool(before and after)
        differs = any(before.get(name) != after.get(name) for name in names)
        git["changed_during_run"] = (differs or before.get("changed") is True) if both else None
    return git


def _last_error(state: RunState) -> answers.LastError | None:
    found = state.stats.get("lastError")
    if not isinstance(found, dict):
        return None
    time, text = found.get("time"), found.get("text")
    if not isinstance(time, int | float) or not isinstance(text, str):
        return None
    return {"time": time, "text": text}


def _in_flight(state: RunState, facts: Facts, ended: float) -> list[answers.InFlight]:
    from threepio_client.nowpage import told  # whoever knows what is in flight has it already

    is_over = state.process_gone or state.complete is not None
    slots = state.left_in_flight if is_over else told(facts.in_flight)
    return [
        {
            "nodeid": slot.get("nodeid", ""),
            "phase": str(slot.get("phase", "")),
            "elapsed_s": round(max(ended - float(slot.get("since", ended)), 0.0), 3),
            "worker": slot.get("worker") or None,
        }
        for slot in slots
    ]
