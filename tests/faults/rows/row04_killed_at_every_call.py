"""Row 4: adapter and daemon are killed as they enter a system call that writes, syncs, renames or unlinks: at each one.

strace counts the calls of each thread by itself; the call at which a process is killed is not made any more.
"""

from __future__ import annotations

import shutil
import time

from tests.faults.row import Result, Scale
from tests.faults.scene import Scene, needs_strace
from tests.place import Place

FAULT = "kill at every system call of interest"
PASSES_WHEN = "every N of a 200-event run"

EVENTS = 200
ADAPTER_CALLS = ("write", "fdatasync", "fsync", "rename,renameat,renameat2", "unlink,unlinkat")
DAEMON_CALLS = ("write", "pwrite64", "fdatasync", "fsync", "rename,renameat,renameat2", "unlink,unlinkat", "ftruncate")
MISSES = 3
"""So many N after each other at which nothing was killed are the end: how often a daemon commits is a matter of time."""
TIME_LIMIT_S = 18 * 60.0


def run(scale: Scale, seed: int, place: Place) -> Result:
    needs_strace()
    if scale is Scale.SHORT:
        return _short(seed, place)
    failures: tuple[str, ...] = ()
    figures = []
    end = time.monotonic() + TIME_LIMIT_S
    for what, trial, classes in (("adapter", kill_adapter, ADAPTER_CALLS), ("daemon", kill_daemon, DAEMON_CALLS)):
        for calls in classes:
            killed = number = misses = 0
            while misses < MISSES and time.monotonic() < end:
                number += 1
                was_killed, found = trial(seed, place, calls, [number])
                killed += was_killed
                failures += found
                misses = 0 if was_killed else misses + 1
            figures.append(f"{what} {calls.partition(',')[0]} {killed}")
    cut = "" if time.monotonic() < end else f"; stopped after {TIME_LIMIT_S / 60:.0f} minutes"
    return Result(figures=f"killed at {', '.join(figures)}{cut}", failures=failures)


def _short(seed: int, place: Place) -> Result:
    at = seed % EVENTS
    adapters, failures = kill_adapter(seed, place, "write", [2 + at, 1])
    daemons, more = kill_daemon(seed, place, "pwrite64", [1 + seed % 60])
    if not adapters or not daemons:
        failures += (f"seed {seed}: nothing was killed",)
    return Result(figures=f"{adapters} adapters and {daemons} daemon killed at a call", failures=(*failures, *more))


def wrapper(calls: str, number: int) -> list[str]:
    """Return the command below which a process is killed at the `number`th of these calls."""
    inject = f"inject={calls}:signal=SIGKILL:when={number}"
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", inject]


def kill_adapter(seed: int, place: Place, calls: str, numbers: list[int], bug: str = "") -> tuple[int, tuple[str, ...]]:
    """Run a producer for each number, killed there; return how many were killed, and the oracle's failures."""
    killed = 0
    with Scene(_fresh(place), seed, bug) as scene:
        scene.start_daemon().wait_until_ready()
        for number in numbers:
            job = scene.oracle.new_job(EVENTS, scene.rng.getrandbits(32))
            killed += not scene.run_producer(job, wrapper(calls, number))
        return killed, tuple(f"killed at {calls} {numbers}: {failure}" for failure in scene.conclude())


def kill_daemon(seed: int, place: Place, calls: str, numbers: list[int], bug: str = "") -> tuple[int, tuple[str, ...]]:
    """Run a daemon for each number, from its start to its stop, killed at the call; return as `kill_adapter`."""
    killed = 0
    failures: tuple[str, ...] = ()
    for number in numbers:
        with Scene(_fresh(place), seed, bug) as scene:
            daemon = scene.start_daemon(wrapper=wrapper(calls, number))
            daemon.wait_until_ready()
            job = scene.oracle.new_job(EVENTS, scene.rng.getrandbits(32), burst=10, pause_s=0.010)
            scene.start_producer(job).wait(60.0)
            was_killed = daemon.has_ended or daemon.stop() != 0
            killed += was_killed
            scene.check_acks()
            failures += tuple(f"killed at {calls} {number}: {failure}" for failure in scene.conclude())
    return killed, failures


def _fresh(place: Place) -> Place:
    """Return a place with nothing in it below another one; the last one is removed."""
    path = place.path / "fresh"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return Place(path)
