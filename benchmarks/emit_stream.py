"""One measured process: emit the events of a journal through the real adapter, alone, under one sync policy.

    python -m benchmarks.emit_stream JOURNAL COUNT DELAY_MS      (with THREEPIO_SYNC and THREEPIO_STATE_DIR set)

DELAY_MS is added to every sync, as a slow disk would. Prints one line of JSON: seconds of wall and CPU time from the
first event to the end of the run, the syncs in it and the seconds that they took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from threepio_client import journal
from threepio_client.adapter import Adapter
from threepio_client.events import EventType
from threepio_client.settings import load

OWN: Final = (EventType.RUN_START, EventType.RUN_COMPLETE, EventType.ADAPTER_STATS)
"""What the adapter itself, or this process, adds."""


def main() -> None:
    """Emit, and say what it cost."""
    path, count, delay = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000
    with path.open() as file:
        lines = map(json.loads, file)
        events = [(line["eventType"], line["payload"]) for line in islice(lines, count) if line["eventType"] not in OWN]
    syncs, seconds = _watch_syncs(delay)
    start, cpu_start = time.perf_counter(), time.process_time()
    adapter = Adapter(load(), {"runner": {"name": "stream"}})
    for event_type, payload in events:
        adapter.emit(event_type, payload)
    adapter.close({"exitCode": 0})
    found: dict[str, Any] = {
        "events": len(events),
        "wall": time.perf_counter() - start,
        "cpu": time.process_time() - cpu_start,
        "syncs": len(syncs),
        "sync_s": sum(seconds),
    }
    print(json.dumps(found))


def _watch_syncs(delay: float) -> tuple[list[int], list[float]]:
    """Count the journal's syncs from now on, and add a delay to each."""
    counted: list[int] = []
    seconds: list[float] = []

    def slow(real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(fd: int) -> None:
            start = time.perf_counter()
            real(fd)
            if delay:
                time.sleep(delay)
            counted.append(fd)
            seconds.append(time.perf_counter() - start)

        return sync

    vars(journal)["_fdatasync"] = slow(os.fdatasync)
    vars(os)["fsync"] = slow(os.fsync)  # of directories
    return counted, seconds


if __name__ == "__main__":
    main()
