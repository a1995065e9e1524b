"""Row 6: every state that a power cut may leave, made from the log of what adapter and daemon did to the disk."""

from __future__ import annotations

import time

from tests.faults.recorded import Kind, record
from tests.faults.row import Result, Scale
from tests.place import Place

FAULT = "crash states"
PASSES_WHEN = "recovery never raises, never invents; what was acked is there; the store is not ahead of the journal"
LONG_LIMIT_S = 15 * 60


def run(scale: Scale, seed: int, place: Place) -> Result:
    """Record runs and recover their crash states."""
    recordings, states = (1, 30) if scale is Scale.SHORT else (24, 450)
    kinds = list(Kind)
    start = time.monotonic()
    tried = steps = acks = done = 0
    failures: list[str] = []
    for number in range(recordings):
        directory = place.path / str(number)
        directory.mkdir()
        recording = record(Place(directory), seed + number, kind=kinds[number % len(kinds)])
        if not recording.acked:
            failures.append(f"seed {seed + number}: nothing was acked, so nothing is shown")
        count, found = recording.judge(states, seed + number)
        tried, steps, acks, done = (
            tried + count,
            steps + len(recording.log.steps),
            acks + len(recording.acks),
            done + 1,
        )
        failures += found
        if len(failures) > 10 or time.monotonic() - start > LONG_LIMIT_S:
            break
    figures = f"{tried:,} states from {done} recorded runs ({steps:,} steps, {acks} promises): {len(failures)} wrong"
    return Result(figures=figures, failures=tuple(failures))
