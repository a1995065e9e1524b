"""Constants of the product changed for a measurement, in adapter and daemon alike; and a daemon with such changes.

    python -m benchmarks.altered        (BENCH_WINDOW, BENCH_EVENTS_PER_S and THREEPIO_... set): be the daemon

BENCH_WINDOW is the credit in bytes; BENCH_EVENTS_PER_S slows every commit down to so many events a second, as a machine
with much else to do would.
"""

from __future__ import annotations

import os
import time
from typing import Any


def alter() -> None:
    """Take the credit from the environment; before the modules that use it are imported."""
    window = os.environ.get("BENCH_WINDOW")
    if window:
        from threepio_client import protocol

        vars(protocol)["WINDOW"] = int(window)


def main() -> None:
    """Be a daemon; say `ready` on standard output."""
    alter()
    from threepio_client.settings import load
    from threepiod import run, store
    from threepiod.lifecycle import run_daemon

    window = os.environ.get("BENCH_WINDOW")
    if window:
        vars(run)["BATCH_BYTES"] = int(window)
    per_second = float(os.environ.get("BENCH_EVENTS_PER_S", "0"))
    if per_second:
        write = store.Store.write

        def slow_write(self: Any, batches: list[Any]) -> None:
            time.sleep(sum(len(batch) for batch in batches) / per_second)
            write(self, batches)

        vars_of_store: Any = store.Store
        vars_of_store.write = slow_write
    run_daemon(load(), lambda: print("ready", flush=True), lambda: None, to_stderr=False)


if __name__ == "__main__":
    main()
