"""Row 4: adapter and daemon are killed as they enter a system call that writes, syncs, renames or unlinks: at each one.

strace counts the calls of each thread by itself; the call at which a process is killed is not made any more.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterable
from itertools import count

from tests.faults.row import Result, Scale
from tests.faults.scene import Scene, needs_strace
from tests.place import Place

FAULT = "kill at every system call of interest"
PASSES_WHEN = "every N of a 200-event run"

EVENTS = 200
ADAPTER_CALLS = ("write", "fdatasync", "fsync", "rename,renameat,renameat2", "unlink,unlinkat")
DAEMON_CALLS = ("write", "pwrite64", "fdatasync", "fsync", "rename,renameat,renameat2", "unlink,unlinkat", "ftruncate")
PHASES = ("start", "serve", "stop")
"""From when on a daemon's calls are counted: else those of one thread would hide those that another one makes later."""
MISSES = 3
"""So many N after each other at which nothing was killed are the end: how often a daemon commits is a matter of time."""
TIME_LIMIT_S = 18 * 60.0


def run(scale: Scale, seed: int, place: Place) -> Result:
    needs_strace()
    rng = random.Random(seed)
    end = time.monotonic() + TIME_LIMIT_S
    if scale is Scale.SHORT:
        adapter = kill_adapters(seed, place, "write", [rng.randrange(1, EVENTS)], end)
        start = kill_daemons(seed, place, "start", "pwrite64", [rng.randrange(1, 50)], end)
        serve = kill_daemons(seed, place, "serve", "pwrite64", [rng.randrange(1, 20)], end)
        found = {"adapter's write": adapter, "daemon's pwrite64 at its start": start, "and while it serves": serve}
        unharmed = tuple(
            f"seed {seed}: nothing was killed at {label}" for label, (killed, _) in found.items() if not killed
        )
    else:
        found = {f"adapter's {calls}": kill_adapters(seed, place, calls, count(1), end) for calls in ADAPTER_CALLS}
        for phase in PHASES:
            for calls in DAEMON_CALLS:
                found[f"daemon's {phase}'s {calls}"] = kill_daemons(seed, place, phase, calls, count(1), end)
        unharmed = ()
    cut = "" if time.monotonic() < end else f"; stopped after {TIME_LIMIT_S / 60:.0f} minutes"
    killed = ", ".join(f"{label} {killed}" for label, (killed, _) in found.items() if killed)
    none = ", ".join(label for label, (killed, _) in found.items() if not killed)
    return Result(
        figures=f"killed at {killed}{f'; no such call: {none}' if none else ''}{cut}",
        failures=(*unharmed, *(failure for _, failures in found.values() for failure in failures)),
    )


def tracer(calls: str, number: int) -> list[str]:
    """Return the strace that kills a process at the `number`th of these calls.

    Not with --seccomp-bpf: of strace 6.1 it lets a process live at whose call a signal is to be injected.
    """
    inject = f"inject={calls}:signal=SIGKILL:when={number}"
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", inject]


Found = tuple[int, tuple[str, ...]]
"""How many were killed, and the oracle's failures."""


def kill_adapters(seed: int, place: Place, calls: str, numbers: Iterable[int], end: float) -> Found:
    """Run a producer for each number, killed at that call, until none is killed any more."""
    killed = misses = 0
    with Scene(_fresh(place), seed) as scene:
        scene.start_daemon().wait_until_ready()
        for number in numbers:
            job = scene.oracle.new_job(EVENTS, scene.rng.getrandbits(32))
            was_killed = not scene.run_producer(job, tracer(calls, number))
            killed += was_killed
            misses = 0 if was_killed else misses + 1
            if misses == MISSES or time.monotonic() > end:
                break
        return killed, tuple(f"adapter killed at {calls} N in run N: {failure}" for failure in scene.conclude())


def kill_daemons(seed: int, place: Place, phase: str, calls: str, numbers: Iterable[int], end: float) -> Found:
    """Run a daemon for each number, killed at that call of a phase, until none is killed any more."""
    killed = misses = 0
    failures: tuple[str, ...] = ()
    for number in numbers:
        was_killed, found = kill_daemon(seed, place, phase, calls, number)
        killed += was_killed
        failures += found
        misses = 0 if was_killed else misses + 1
        if misses == MISSES or time.monotonic() > end:
            break
    return killed, failures


def kill_daemon(seed: int, place: Place, phase: str, calls: str, number: int) -> tuple[bool, tuple[str, ...]]:
    """Run a daemon from its start to its stop; return whether it was killed at the call, and the oracle's failures."""
    with Scene(_fresh(place), seed) as scene:
        strace = tracer(calls, number)
        daemon = scene.start_daemon(wrapper=strace if phase == "start" else ())
        daemon.wait_until_ready()
        if phase == "serve":
            daemon.attach(strace)
        # With so little credit the adapter looks for acks at nearly every emit, and so knows all that it was told.
        job = scene.oracle.new_job(
            EVENTS, scene.rng.getrandbits(32), burst=10, pause_s=0.010, THREEPIO_EVENT_BUFFER_SIZE="64"
        )
        scene.start_producer(job).wait(60.0)
        if phase == "stop":
            daemon.attach(strace)
        was_killed = daemon.has_ended or daemon.stop() != 0
        scene.check_acks()
        where = f"daemon killed at {calls} {number} of its {phase}"
        return was_killed, tuple(f"{where}: {failure}" for failure in scene.conclude())


def _fresh(place: Place) -> Place:
    """Return a place with nothing in it below another one; the last one is removed."""
    path = place.path / "fresh"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return Place(path)
