"""Row 2: adapters are killed at random instants, their start included, while one daemon lives."""

from __future__ import annotations

import time

from tests.faults.row import Result, Scale
from tests.faults.scene import Scene
from tests.place import Place

FAULT = "SIGKILL adapter"
PASSES_WHEN = "1,000 kills: returned but missing 0; at most one torn line a file"

ADAPTERS = 4
EVENTS = 5_000
"""More than any of them comes to before it is killed."""
PACES = ((1, 0.0005), (50, 0.010), (EVENTS, 0.0))
LONGEST_S = 0.040
"""Between two kills; so an adapter lives up to four times as long."""
TIME_LIMIT_S = 12 * 60.0


def run(scale: Scale, seed: int, place: Place) -> Result:
    return trial(seed, place, 30 if scale is Scale.SHORT else 1_000)


def trial(seed: int, place: Place, kills: int, bug: str = "") -> Result:
    """Kill one adapter after the other; return what the oracle found."""
    end = time.monotonic() + TIME_LIMIT_S
    killed = 0
    with Scene(place, seed, bug) as scene:
        rng = scene.rng
        scene.start_daemon().wait_until_ready()
        while killed < kills and time.monotonic() < end:
            while len(scene.producers) < ADAPTERS:
                burst, pause_s = rng.choice(PACES)
                job = scene.oracle.new_job(
                    EVENTS,
                    rng.getrandbits(32),
                    burst=burst,
                    pause_s=pause_s,
                    THREEPIO_EVENT_BUFFER_SIZE=rng.choice(("10000", "64")),
                    THREEPIO_BLOCK_TOTAL_MS=rng.choice(("2000", "0")),
                    THREEPIO_SYNC=rng.choice(("group", "group", "always", "exit")),
                )
                scene.start_producer(job)
            time.sleep(rng.uniform(0.0, LONGEST_S))
            victim = rng.choice(scene.producers)
            victim.kill()
            killed += victim.was_killed
            scene.forget_ended()
        for producer in scene.producers:
            producer.kill()
            killed += producer.was_killed
        failures = scene.conclude()
        counted = scene.oracle.figures()
        torn = scene.oracle.counts["torn"]
    return Result(figures=f"{killed:,} kills, {counted}, {torn} files with a torn line", failures=failures)
