"""Row 12: an adapter that is stopped in the middle of a frame holds up nobody but itself."""

from __future__ import annotations

import os
import signal
import statistics
import time
from typing import Final

from tests.faults.peers import Emitter, differences, emitters, stored_seq
from tests.faults.row import Result, Scale
from tests.place import Place, wait_until

FAULT = "one of eight adapters stopped in the middle of a frame"
PASSES_WHEN = "the others keep >= 90 % of their rate"

ADAPTERS: Final = {Scale.SHORT: 4, Scale.LONG: 8}
EVENTS: Final = {Scale.SHORT: 300, Scale.LONG: 4_000}
"""Of each adapter in one round."""
PAIRS: Final = 12
"""Rounds with and without the stopped one, by turns, in the long form: medians of so many are compared."""
KEPT: Final = 0.9


def run(scale: Scale, seed: int, place: Place) -> Result:
    place.start_daemon()
    environ = {"THREEPIO_BLOCK_TOTAL_MS": "inf", "THREEPIO_BLOCK_MS": "inf"}
    with emitters(place, ADAPTERS[scale], **environ) as (one, *others):
        rates: dict[bool, list[float]] = {False: [], True: []}
        emitted = 0
        emitted_by_one = 0
        failures: list[str] = []
        for _ in range(PAIRS if scale is Scale.LONG else 1):
            for is_stopped in (False, True):
                if is_stopped:
                    _stop_in_frame(one)
                rates[is_stopped].append(_round(place, others, EVENTS[scale]))
                emitted += EVENTS[scale]
                if is_stopped:
                    os.kill(one.process.pid, signal.SIGCONT)
                    one.answer()
                    emitted_by_one += 20
        for emitter in (one, *others):
            if not emitter.do(close=0)["stored"]:
                failures.append(f"run {emitter.run_id} was not stored when it ended")
            failures += differences(place, emitter.run_id, emitted_by_one if emitter is one else emitted)
    with_one, without = statistics.median(rates[True]), statistics.median(rates[False])
    if scale is Scale.LONG and with_one < KEPT * without:
        failures.append(f"the others made {with_one:,.0f} events/s instead of {without:,.0f}")
    figures = (
        f"{len(others)} adapters: {without:,.0f} events/s, {with_one:,.0f} ({with_one / without:.0%}) while another one was "
        f"stopped within a frame (medians of {len(rates[True])} rounds by turns); all stored, its own too when it went on"
    )
    return Result(figures=figures, failures=tuple(f"seed {seed}: {text}" for text in failures))


def _stop_in_frame(emitter: Emitter) -> None:
    emitter.do(stop_in_frame=10)
    emitter.order(emit=20)
    found, status = os.waitpid(emitter.process.pid, os.WUNTRACED)
    assert found == emitter.process.pid
    assert os.WIFSTOPPED(status)


def _round(place: Place, others: list[Emitter], events: int) -> float:
    """Let the others emit and wait until all of it is stored; return the events/s of all of them together."""
    start = time.monotonic()
    for emitter in others:
        emitter.order(emit=events)
    written = {emitter.run_id: emitter.answer()["written"] for emitter in others}
    wait_until(lambda: all(stored_seq(place, run_id) == seq for run_id, seq in written.items()))
    return len(others) * events / (time.monotonic() - start)
