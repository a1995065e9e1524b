"""Row 7: one sync fails once with EIO and the next one would work: of the journal, the store, its WAL, the directory."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.crash_states import CrashLog
from tests.faults.disk_log import SYNC_BEGIN, SYNC_END, Step, acks_sent, read_steps
from tests.faults.disk_scene import Scene
from tests.faults.recovery import Judge, emitted_lines, judge_states
from tests.faults.row import Result, Scale
from tests.place import Place

FAULT = "EIO from fdatasync once, then fine"
PASSES_WHEN = (
    "no ack on the strength of that file, no retry, said loudly, pytest's exit code unchanged, whole at the end"
)

SUITE: Final = """
import time
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_it(number):
    print("x" * {output})
    time.sleep({pause})
    assert number != 7
"""
RUN_ID: Final = "row7"
EXIT_CODE: Final = 1
"""Of the suite, whatever happens to its telemetry: test 7 fails."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One sync that fails.

    Attributes:
        name: whose sync of what.
        fail: end of the path, and which of the process's syncs of it fails.
        in_daemon: whether it fails in the daemon, else in the adapter, which is alone until its run is over.
        on_disk: whether the run stays on the disk; else it goes on in the runtime directory, which no power cut leaves.
        large: whether it takes a store large enough for a checkpoint.
    """

    name: str
    fail: str
    in_daemon: bool
    on_disk: bool = True
    large: bool = False


SHORT: Final = (
    Case(name="journal, adapter", fail=".jsonl=2", in_daemon=False),
    Case(name="journal, daemon", fail=".jsonl=2", in_daemon=True),
)
LONG: Final = (
    *SHORT,
    Case(name="directory, adapter", fail="/journals=1", in_daemon=False, on_disk=False),
    Case(name="store", fail="store.sqlite3=2", in_daemon=True, large=True),
    Case(name="WAL", fail="store.sqlite3-wal=2", in_daemon=True, large=True),
)


def run(scale: Scale, seed: int, place: Place) -> Result:
    """Try each case in a place of its own."""
    cases, states = (SHORT, 10) if scale is Scale.SHORT else (LONG, 200)
    failures: list[str] = []
    tried = 0
    for number, case in enumerate(cases):
        directory = place.path / str(number)
        directory.mkdir()
        count, found = _try(case, Place(directory), seed, states)
        tried += count
        failures += [f"{case.name} (seed {seed}): {text}" for text in found]
    names = ", ".join(case.name for case in cases)
    return Result(figures=f"{names}; {tried:,} crash states judged", failures=tuple(failures))


def _try(case: Case, place: Place, seed: int, states: int) -> tuple[int, list[str]]:
    steps_file = place.path / "steps"
    place.state_dir.path.mkdir(mode=0o700)
    shape = {"tests": 2_000, "output": 2_000, "pause": 0} if case.large else {"tests": 40, "output": 0, "pause": 0.005}
    place.environ["THREEPIO_RUN_ID"] = RUN_ID
    place.suite(SUITE.format(**shape))
    failures = []
    with Scene(place, seed) as scene:
        noted = scene.shim(log=str(steps_file))
        failing = scene.shim(log=str(steps_file), fail=case.fail)
        if case.in_daemon:
            daemon = scene.start_daemon(failing)
        done = place.pytest("-q", **(noted if case.in_daemon else failing | {"THREEPIO_SYNC": "always"}))
        if not case.in_daemon:
            daemon = scene.start_daemon(noted)
        scene.wait_until_over(RUN_ID)
        status = scene.daemon_status() or {}
        scene.stop_daemon(daemon)
        log = scene.output("daemon")
    steps = read_steps(steps_file)
    if done.returncode != EXIT_CODE:
        failures.append(f"pytest's exit code is {done.returncode}: {done.stdout[-300:]}")
    if case.in_daemon:
        if "I/O error" not in str(status.get("last_error")).replace(
            "Input/output", "I/O"
        ):  # SQLite has words of its own
            failures.append(f"the daemon's last_error is {status.get('last_error')}")
        if " ERROR " not in log:
            failures.append("the daemon's log has no error")
    elif "Input/output error" not in done.stdout:
        failures.append(f"pytest's summary does not say it: {done.stdout[-300:]}")
    failures += _retries(steps)
    found = place.verify(RUN_ID)
    if not found["whole"]:
        failures.append(f"not whole at the end: {found['problems']}")
    if not case.on_disk:
        return 0, failures
    acks = acks_sent(steps, {daemon.pid})
    judge = Judge(emitted_lines(steps), acks)
    within = _until_store_is_synced(steps) if case.large else None
    disk = CrashLog(place.state_dir.path, steps)
    tried, found_wrong = judge_states(disk, judge, acks, states, seed, enough=2, within=within)
    return tried, failures + found_wrong


def _retries(steps: list[Step]) -> list[str]:
    """Return the journals and directories that a process synced again after its sync of them had failed.

    SQLite may do so: it writes again what it syncs again, and the crash states say whether that is good enough.
    """
    failed: dict[tuple[int, int], str] = {}
    again: dict[str, int] = defaultdict(int)
    for step in steps:
        key = (step.pid, step.inode)
        if step.kind == SYNC_BEGIN and key in failed and "store.sqlite3" not in step.path:
            again[Path(step.path).name] += 1
        elif step.kind == SYNC_END and step.result:
            failed[key] = step.path
    if not failed:
        return ["no sync failed, so nothing is shown"]
    return [f"{name} was synced {times} times again after a failed sync" for name, times in again.items()]


def _until_store_is_synced(steps: list[Step]) -> tuple[int, int]:
    """Return from where to where the store rests on what a failed sync has left: until its next good sync."""
    ends = [(index, step) for index, step in enumerate(steps) if step.kind == SYNC_END]
    first = next((index for index, step in ends if step.result), 0)
    good = (index for index, step in ends if index > first and not step.result and step.path.endswith("store.sqlite3"))
    return first, next(good, len(steps))
