"""Row 20: the wall clock is stepped by a day, forward and back, under tests and daemon: nobody takes it seriously."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.faults.peers import Emitter, RawClient, differences, emitters, raw_query, stored_seq
from tests.faults.row import NotHere, Result, Scale
from tests.place import Place, wait_until
from threepio_client.archive import Archive
from threepio_client.journal import records

FAULT = "clock stepped by a day"
PASSES_WHEN = "order, duplicates and timeouts unaffected"

SOURCE: Final = Path(__file__).parents[1] / "clock_steps.c"
DAY: Final = 86_400
STEPS: Final = (0, DAY, -DAY, 0, DAY)
ROUNDS: Final = {Scale.SHORT: 1, Scale.LONG: 20}
EVENTS: Final = {Scale.SHORT: 300, Scale.LONG: 3_000}
"""After each step."""
LONGEST_S: Final = 10.0
"""A timeout of a day would be much longer, one of the past would give up at once and spill."""
STORED_WITHIN_S: Final = 5.0


class Clock:
    """The wall clock of the processes that were started with it."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(struct.pack("q", 0))
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 8)

    def step(self, seconds: int) -> None:
        """Have it this many seconds ahead of the real one."""
        self._map[:] = struct.pack("q", seconds)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        self._file.close()


def run(scale: Scale, seed: int, place: Place) -> Result:
    failures: list[str] = []
    slowest = 0.0
    with _stepped(place) as clock:
        place.start_daemon()
        asking = raw_query(place)
        patience = {"THREEPIO_BLOCK_TOTAL_MS": "30000", "THREEPIO_BLOCK_MS": "30000"}
        with emitters(place, 2, **patience) as (one, other):
            start = time.monotonic()
            emitted = 0
            for _ in range(ROUNDS[scale]):
                for step in STEPS:
                    clock.step(step)
                    found, seconds = _emit(place, [one, other], EVENTS[scale])
                    failures += [f"clock at {step:+} s: {text}" for text in found]
                    slowest = max(slowest, seconds)
                    emitted += EVENTS[scale]
                    failures += [
                        f"clock at {step:+} s: {text}" for text in _answers(asking, one, time.monotonic() - start)
                    ]
            clock.step(-DAY)
            for emitter in (one, other):
                stored = emitter.do(close=0)["stored"]
                failures += [] if stored else [f"run {emitter.run_id} was not stored when it ended"]
                failures += differences(place, emitter.run_id, emitted)
                failures += _disorder(place, emitter.run_id, time.monotonic() - start)
        asking.close()
    figures = (
        f"{ROUNDS[scale] * len(STEPS)} steps of up to two days, {2 * emitted:,} events of two runs: in order, none doubled, "
        f"none spilled; the slowest step took {slowest:.2f} s"
    )
    return Result(figures=figures, failures=tuple(f"seed {seed}: {text}" for text in failures))


@contextmanager
def _stepped(place: Place) -> Iterator[Clock]:
    """Start everything of the place with a wall clock that can be stepped."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise NotHere("needs gcc")
    library = place.path / "clock_steps.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    clock = Clock(place.path / "clock")
    place.environ |= {"LD_PRELOAD": str(library), "THREEPIO_CLOCK_STEP": str(place.path / "clock")}
    clock.step(DAY)
    shown = float(_python(place, "import time; print(time.time())"))
    clock.step(0)
    if not DAY / 2 < shown - time.time() < 2 * DAY:
        raise NotHere("needs a Python that asks libc for the time")
    try:
        yield clock
    finally:
        place.stop_daemon()
        clock.close()


def _python(place: Place, script: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", script], env=place.environ, capture_output=True, text=True, check=True
    ).stdout


def _emit(place: Place, all_of_them: list[Emitter], events: int) -> tuple[list[str], float]:
    """Emit some events and wait until they are stored; return what is wrong, and the seconds."""
    start = time.monotonic()
    for emitter in all_of_them:
        emitter.order(emit=events)
    answers = {emitter.run_id: emitter.answer() for emitter in all_of_them}
    failures = [f"run {run_id} spilled {stats['spilled']}" for run_id, stats in answers.items() if stats["spilled"]]
    failures += [f"run {run_id} lost its connection" for run_id, stats in answers.items() if stats["connections"] != 1]
    wait_until(lambda: all(stored_seq(place, run_id) >= stats["written"] for run_id, stats in answers.items()))
    seconds = time.monotonic() - start
    if seconds > LONGEST_S:
        failures.append(f"it took {seconds:.1f} s until the events were stored")
    return failures, seconds


def _answers(asking: RawClient, emitter: Emitter, ran: float) -> list[str]:
    """Ask the daemon for the run and for itself: no duration may have a day in it."""
    view = asking.ask("status", run=emitter.run_id)["result"]
    uptime = asking.ask("daemon")["result"]["uptime_s"]
    failures = [] if view["state"] == "running" else [f"the run is shown as {view['state']}"]
    for what, seconds in (("the run", view["duration_s"]), ("the daemon", uptime)):
        if not -1 < seconds < ran + 60:
            failures.append(f"{what} is shown to last {seconds} s after {ran:.0f} s")
    return failures


def _disorder(place: Place, run_id: str, ran: float) -> list[str]:
    """Return where the timestamps of a journal go back or have a day between them, and a wrong end."""
    stamps = [record.event.timestamp for record in records(place.state_dir.journal(run_id)) if record.event is not None]
    failures = []
    if stamps != sorted(stamps):
        failures.append(f"run {run_id}: its timestamps go back")
    if not stamps or stamps[-1] - stamps[0] > ran + 60:
        failures.append(f"run {run_id}: its timestamps jump")
    view = Archive(place.state_dir).view(run_id)
    if (view["state"], view["events"]["stored"]) != ("passed", len(stamps)):
        failures.append(f"run {run_id}: {view['state']}, {view['events']}")
    return failures
