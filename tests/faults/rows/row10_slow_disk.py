"""Row 10: every sync of the daemon takes two seconds longer. Who asks does not wait for the disk, nor does its memory."""

from __future__ import annotations

import time
from typing import Final

from tests.faults.disk_scene import Scene, told_in
from tests.faults.row import Result, Scale
from tests.place import Place, wait_until
from threepio_client.archive import Archive
from threepio_client.query import QueryClient
from threepio_client.verification import verify_run

FAULT = "slow disk: 2 s per sync"
PASSES_WHEN = "status p99 <= 50 ms; daemon memory flat; nothing lost"
SYNC_MS: Final = {Scale.SHORT: 150, Scale.LONG: 2_000}
EVENTS: Final = {Scale.SHORT: 2_000, Scale.LONG: 20_000}
STATUS_P99_MS: Final = 50.0
FIRST_RUN_MIB: Final = 16.0
"""What a daemon may hold more than before its first run: SQLite's cache (8), a batch and what it is made of."""
SLOPE_MIB: Final = 4.0
"""What it may hold more in the second half of the run than in the first, as SQLite's cache fills."""
ASK_EVERY_S: Final = 0.010


def run(scale: Scale, seed: int, place: Place) -> Result:
    """Ask for the run's status all the time that it takes to store it over a slow disk."""
    with Scene(place, seed) as scene:
        daemon = scene.start_daemon(scene.shim(delay=SYNC_MS[scale]))
        before = scene.daemon_status() or {}
        emitter, out = scene.start_emitter(EVENTS[scale])
        wait_until(lambda: told_in(out).run_id)
        run_id = told_in(out).run_id
        inside, around, memory = _ask_until_over(place, run_id)
        emitter.wait(60)
        scene.stop_daemon(daemon)
    found = verify_run(Archive(place.state_dir), run_id)
    inside, around = sorted(inside), sorted(around)
    p99, p99_around, p90_around = (
        inside[len(inside) * 99 // 100],
        around[len(around) * 99 // 100],
        around[len(around) * 9 // 10],
    )
    failures = []
    # The daemon's own figure begins when it takes the question up: a loop that waits for the disk shows only from outside.
    if p90_around > SYNC_MS[scale] / 2:
        failures.append(f"seed {seed}: who asks waits for the disk: {p90_around:.0f} ms there and back (p90)")
    growth = (max(memory) - before["rss_bytes"]) / 2**20
    half = len(memory) // 2
    slope = (max(memory[half:]) - max(memory[:half])) / 2**20
    if p99 > STATUS_P99_MS:
        failures.append(f"seed {seed}: status takes {p99:.1f} ms in the daemon (p99 of {len(inside)})")
    if growth > FIRST_RUN_MIB or slope > SLOPE_MIB:
        failures.append(
            f"seed {seed}: the daemon's memory grew by {growth:.1f} MiB, {slope:.1f} of it in the second half"
        )
    if not found["whole"] or found["stored_events"] < EVENTS[scale]:
        failures.append(f"seed {seed}: {found['stored_events']} events are stored: {found['problems']}")
    figures = (
        f"{found['stored_events']:,} events stored at {SYNC_MS[scale]} ms a sync; {len(inside):,} questions meanwhile: p99 "
        f"{p99:.1f} ms in the daemon, {p99_around:.1f} ms there and back; memory {growth:+.1f} MiB, "
        f"{slope:+.1f} of it in the second half"
    )
    return Result(figures=figures, failures=tuple(failures))


def _ask_until_over(place: Place, run_id: str) -> tuple[list[float], list[float], list[int]]:
    """Return the milliseconds in the daemon and there and back of every question, and the bytes it held each time."""
    archive = Archive(place.state_dir)
    inside, around, memory = [], [], []
    deadline = time.monotonic() + 300
    with QueryClient.connect(place.settings.socket) as client:
        while not ((stored := archive.stored(run_id)) is not None and stored.final):
            assert time.monotonic() < deadline, "the run is not stored in time"
            for question in ("status", "daemon"):
                start = time.perf_counter()
                answer = client.ask(question, {"run": run_id} if question == "status" else {})
                around.append((time.perf_counter() - start) * 1000)
                inside.append(client.last_elapsed_ms)
                memory += [answer["rss_bytes"]] if question == "daemon" else []
            time.sleep(ASK_EVERY_S)
    return inside, around, memory
