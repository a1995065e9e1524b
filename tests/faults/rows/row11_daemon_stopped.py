"""Row 11: a daemon that is stopped costs a suite its blocking budget and no more, and misses nothing."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from typing import Final

from tests.faults.peers import Emitter, differences, emitters, stored_seq
from tests.faults.row import Result, Scale
from tests.place import Place, wait_until
from threepio_client.protocol import WINDOW_EVENTS

FAULT = "SIGSTOP daemon 60 s"
PASSES_WHEN = "added wall time of the suite <= the blocking budget; all ingested after SIGCONT"

EVENTS: Final = {Scale.SHORT: WINDOW_EVENTS + 2_000, Scale.LONG: 20_000}
"""More than may be under way to a daemon that does not answer."""
STOPPED_S: Final = {Scale.SHORT: 1.0, Scale.LONG: 60.0}
BUDGET_S: Final = {Scale.SHORT: 0.5, Scale.LONG: 2.0}
"""THREEPIO_BLOCK_TOTAL_MS; long: the default."""
AT_A_TIME_S: Final = 0.250
NOISE_S: Final = 1.0
"""What the scheduler may add to a wall time; a suite that is held up as long as the daemon stands takes far longer."""


def run(scale: Scale, seed: int, place: Place) -> Result:
    pid = place.start_daemon()
    usual = [_emit(place, scale, None)[1] for _ in range(1 if scale is Scale.SHORT else 3)]
    emitter, seconds, blocked, spilled = _emit_stopped(place, scale, pid)
    wait_until(lambda: not differences(place, emitter, EVENTS[scale]), 60.0)
    added = seconds - statistics.median(usual)
    failures = []
    if blocked > BUDGET_S[scale] + AT_A_TIME_S:
        failures.append(f"blocked {blocked:.3f} s of a budget of {BUDGET_S[scale]:g} s")
    if added > BUDGET_S[scale] + NOISE_S:
        failures.append(f"the suite took {added:.2f} s longer than usual: budget {BUDGET_S[scale]:g} s")
    if not spilled:
        failures.append("nothing was spilled: the daemon was not stopped long enough to show anything")
    figures = (
        f"stopped {STOPPED_S[scale]:g} s while {EVENTS[scale]:,} events were emitted: {added:+.2f} s of wall time, "
        f"blocked {blocked:.2f} s of a budget of {BUDGET_S[scale]:g} s, {spilled:,} spilled, all stored after SIGCONT"
    )
    return Result(figures=figures, failures=tuple(f"seed {seed}: {text}" for text in failures))


def _emit(place: Place, scale: Scale, stopped: int | None) -> tuple[str, float, float, int]:
    """Let a run emit everything and end; return its id, seconds, seconds blocked and number of spilled events."""
    environ = {"THREEPIO_BLOCK_TOTAL_MS": str(BUDGET_S[scale] * 1000), "THREEPIO_BLOCK_MS": str(AT_A_TIME_S * 1000)}
    with emitters(place, 1, **environ) as (emitter,):
        wait_until(lambda: stored_seq(place, emitter.run_id) > 0)
        if stopped is not None:
            os.kill(stopped, signal.SIGSTOP)
        start = time.monotonic()
        stats = _emit_all(emitter, scale)
        emitter.do(close=0)
        return emitter.run_id, time.monotonic() - start, stats["blockedMs"] / 1000, int(stats["spilled"])


def _emit_all(emitter: Emitter, scale: Scale) -> dict[str, float]:
    """Emit in ten parts; in the long form spread over the time that the daemon stands."""
    stats = {}
    for _ in range(10):
        stats = emitter.do(emit=EVENTS[scale] // 10)
        if scale is Scale.LONG:
            time.sleep(STOPPED_S[scale] / 12)
    return stats


def _emit_stopped(place: Place, scale: Scale, pid: int) -> tuple[str, float, float, int]:
    wake = threading.Timer(60.0 + STOPPED_S[scale], os.kill, (pid, signal.SIGCONT))
    wake.start()  # whatever happens here
    try:
        start = time.monotonic()
        found = _emit(place, scale, pid)
        time.sleep(max(STOPPED_S[scale] - (time.monotonic() - start), 0.0))
        return found
    finally:
        wake.cancel()
        os.kill(pid, signal.SIGCONT)
