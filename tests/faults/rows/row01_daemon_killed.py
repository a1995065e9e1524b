"""Row 1: the daemon is killed at random instants, its start included, while four adapters go on emitting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.row import Result, Scale
from tests.faults.scene import Scene
from tests.place import Place

FAULT = "SIGKILL daemon at random instants, 4 adapters"
PASSES_WHEN = "1,000 kills, 10^6 events: lost 0, doubled 0; listening again <= 1 s p99"

ADAPTERS = 4
LISTENING_LIMIT_S = 1.0
ENOUGH_STARTS = 100
"""Fewer say nothing about a p99."""


class Suite(NamedTuple):
    """A kind of run: how many events, how many between two pauses, seconds of a pause."""

    events: int
    burst: int
    pause_s: float


SUITES = (Suite(50, 1, 0.002), Suite(700, 20, 0.040), Suite(3_000, 200, 0.300), Suite(2_200, 1_000, 1.100))
"""500 to 1,000 events a second of each adapter. An adapter tries to connect again once a second, so a run must last
longer than that to live through a kill and be connected again; the last one goes on with a flood then."""
TIME_LIMIT_S = 14 * 60.0
LOOKS_FOR_ACKS_S = 0.060
"""A little more than link.READ_EVERY_S: by then a producer has told of an ack that was sent just before the kill."""


def run(scale: Scale, seed: int, place: Place) -> Result:
    if scale is Scale.SHORT:
        return trial(seed, place, kills=2, events=4_000, suites=SUITES[1::2])
    return trial(seed, place, kills=1_000, events=1_000_000)


def trial(
    seed: int, place: Place, *, kills: int, events: int, suites: Sequence[Suite] = SUITES, bug: str = ""
) -> Result:
    """Kill the daemon again and again; return what the oracle found."""
    listening: list[float] = []
    end = time.monotonic() + TIME_LIMIT_S
    killed = begun = 0
    with Scene(place, seed, bug) as scene:
        rng = scene.rng

        def keep_adapters_going() -> None:
            nonlocal begun
            scene.forget_ended()
            now_due = min(events * (killed + 1) // kills, events)
            while len(scene.producers) < ADAPTERS and begun < now_due:
                suite = rng.choice(suites)
                begun += suite.events
                job = scene.oracle.new_job(
                    suite.events,
                    rng.getrandbits(32),
                    burst=suite.burst,
                    pause_s=suite.pause_s,
                    THREEPIO_EVENT_BUFFER_SIZE=rng.choice(("10000", "64")),
                    THREEPIO_BLOCK_TOTAL_MS=rng.choice(("2000", "0")),
                )
                scene.start_producer(job)

        while killed < kills and time.monotonic() < end:
            daemon = scene.start_daemon()
            keep_adapters_going()
            if rng.random() < 0.8:
                seconds = daemon.wait_until_ready()
                if seconds is None:
                    scene.failures.append("the daemon ended by itself; see its log")
                    break
                listening.append(seconds)
                keep_adapters_going()
                time.sleep(rng.uniform(0.0, 0.3))
            else:
                time.sleep(rng.uniform(0.0, 0.4))  # in the middle of its start or of its recovery
            daemon.kill()
            killed += 1
            if rng.random() < 0.5:
                time.sleep(LOOKS_FOR_ACKS_S)
            scene.check_acks()
        scene.start_daemon()
        while begun < events and time.monotonic() < end:
            keep_adapters_going()
            time.sleep(0.01)
        failures = scene.conclude()
        counted = scene.oracle.figures()
    listening.sort()
    p99 = listening[int(len(listening) * 0.99)] if listening else 0.0
    if p99 > LISTENING_LIMIT_S and len(listening) >= ENOUGH_STARTS:
        failures += (f"seed {seed}: the daemon listened again after {p99:.2f} s (p99 of {len(listening)})",)
    return Result(
        figures=f"{killed:,} kills, {counted}; listening again p99 {p99:.2f} s of {len(listening):,}",
        failures=failures,
    )
