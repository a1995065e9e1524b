"""A producer: drives the real adapter in a process of its own and tells what it attempted and what was promised to it.

    python -m tests.faults.emitter SEED COUNT [PAUSE_MS]

COUNT events and the run's end; COUNT 0: events until it is killed. On standard output, a line for each step:

    run RUN_ID SEQ SYNCS                  the adapter is made; the journal's last seq, syncs so far
    a NUMBER TIME                       attempted: emit is called now
    r NUMBER TIME SEQ ACKED SYNCS WINDOW  emit returned; the journal's last seq, the acked one, syncs so far, seconds
    end STORED                          the run is over; 1 if the daemon said that it has stored everything

TIME is CLOCK_MONOTONIC in seconds. One `write` a line, so what was told is known whoever is killed.
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

from threepio_client.adapter import Adapter
from threepio_client.events import EventType, Phase, Status
from threepio_client.settings import load


def payload_of(seed: int, number: int) -> dict[str, Any]:
    """Return the payload of event `number`: anybody who knows the seed can check it."""
    text = random.Random(seed * 1_000_003 + number)
    return {
        "testName": f"test_{number}",
        "parentNames": ["test_it.py"],
        "nodeid": f"test_it.py::test_{number}",
        "status": Status.PASS.value,
        "phase": Phase.CALL.value,
        "duration": number / 8,
        "worker": None,
        "output": ["x" * text.randrange(400), f"{text.getrandbits(64):x}"],
    }


def main() -> None:
    """Emit as the command line says."""
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    pause_s = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0.0
    adapter = Adapter(load(), {"argv": ["emitter"], "rootdir": "/", "runner": "emitter"})
    made = adapter.stats()
    _tell(f"run {adapter.run_id} {made['written']} {made['syncs']}")
    number = 0
    while number < count or not count:
        number += 1
        payload = payload_of(seed, number)
        _tell(f"a {number} {time.monotonic():.6f}")
        adapter.emit(EventType.TEST_CASE, payload)
        now, stats = time.monotonic(), adapter.stats()
        _tell(
            f"r {number} {now:.6f} {stats['written']} {stats['acked']} {stats['syncs']} {adapter._syncing.window_s:.6f}"
        )
        if pause_s:
            time.sleep(pause_s)
    stored = adapter.close({"exitCode": 0, "totals": {"passed": count}, "stopped": None, "deselected": 0})
    for complaint in adapter.complaints:
        print(complaint, file=sys.stderr)
    _tell(f"end {int(stored)}")


def _tell(text: str) -> None:
    os.write(1, text.encode() + b"\n")


if __name__ == "__main__":
    main()
