"""Row 14: any number of events of any size, from eight adapters at once, and the daemon stays small."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.faults.peers import MIB, Cost, Emitter, differences, emitters, stored_seq
from tests.faults.row import Result, Scale
from tests.place import Place, wait_until
from threepio_client.events import LINE_LIMIT

FAULT = "10^7 events, biggest frames, 8 adapters"
PASSES_WHEN = "daemon RSS <= 64 MiB, no slope"

WANTED: Final = 10_000_000
ADAPTERS: Final = {Scale.SHORT: 2, Scale.LONG: 8}
ROUND: Final = {Scale.SHORT: 1_000, Scale.LONG: 5_000}
"""Small events of each adapter in a round, besides BIG of the biggest size."""
BIG: Final = {Scale.SHORT: 40, Scale.LONG: 8}
BIGGEST: Final = LINE_LIMIT - 4_096
"""Bytes of text in an event whose line is nearly as long as a line may be."""
SECONDS: Final = 300.0
"""The long form ends after so many, wherever it is."""
MOST: Final = 64 * MIB
SLOPE: Final = 4 * MIB
"""What the last quarter of the time may have more than the second one, by the median; the first one warms up. In six runs
of 44 to 432 s the two differed by -3.8 to +2.4 MiB."""
CGROUP: Final = Path("/sys/fs/cgroup/memory")


def run(scale: Scale, seed: int, place: Place) -> Result:
    pid = place.start_daemon()
    cost = Cost(pid)
    cost.forget_peak()
    rounds = 0
    sizes: list[int] = []
    start = time.monotonic()
    environ = {"THREEPIO_BLOCK_TOTAL_MS": "inf", "THREEPIO_BLOCK_MS": "inf"}
    failures: list[str] = []
    with _limited(pid, scale) as bound, emitters(place, ADAPTERS[scale], **environ) as all_of_them:
        per_round = ADAPTERS[scale] * (ROUND[scale] + BIG[scale])
        while True:
            written = _round(all_of_them, ROUND[scale], BIG[scale])
            rounds += 1
            sizes.append(cost.rss())
            is_over = rounds * per_round >= WANTED or time.monotonic() - start > SECONDS
            if scale is Scale.SHORT or is_over:
                break
        wait_until(lambda: all(stored_seq(place, run_id) == seq for run_id, seq in written.items()))
        seconds = time.monotonic() - start
        for emitter in all_of_them:
            emitter.do(close=0)
        peak = cost.peak()
    for emitter in all_of_them[:2]:  # the others' lines would take minutes and say the same
        failures += differences(place, emitter.run_id, rounds * (ROUND[scale] + BIG[scale]))
    if peak > MOST:
        failures.append(f"the daemon had {peak / MIB:.1f} MiB at its most")
    quarter = len(sizes) // 4
    slope = 0.0
    if quarter:
        slope = statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter : 2 * quarter])
        if slope > SLOPE:
            failures.append(f"it grew by {slope / MIB:.1f} MiB between the second and the last quarter of the time")
    figures = (
        f"{rounds * per_round:,} events from {ADAPTERS[scale]} adapters in {seconds:.0f} s "
        f"({rounds * per_round / seconds:,.0f}/s), {rounds * BIG[scale]:,} of each were {BIGGEST >> 10} KiB long, {bound}: "
        f"RSS {peak / MIB:.1f} MiB at most, {slope / MIB:+.1f} MiB from the second to the last quarter"
    )
    return Result(figures=figures, failures=tuple(f"seed {seed}: {text}" for text in failures))


def _round(all_of_them: list[Emitter], small: int, big: int) -> dict[str, int]:
    """Let each emit its part; return up to which seq each run is written."""
    for emitter in all_of_them:
        emitter.order(emit=small)
    for emitter in all_of_them:
        emitter.answer()
        emitter.order(emit=big, size=BIGGEST)
    return {emitter.run_id: int(emitter.answer()["written"]) for emitter in all_of_them}


@contextmanager
def _limited(pid: int, scale: Scale) -> Iterator[str]:
    """Put the process under a memory limit of MOST if this machine lets us; the value says which bound holds."""
    if scale is Scale.SHORT or not CGROUP.is_dir():
        yield "RSS sampled"
        return
    group = CGROUP / f"threepiod-row14-{pid}"
    try:
        group.mkdir()
    except OSError:
        yield "RSS sampled"
        return
    try:
        (group / "memory.limit_in_bytes").write_text(str(MOST))
        (group / "cgroup.procs").write_text(str(pid))
        yield f"under a cgroup limit of {MOST // MIB} MiB, its page cache included"
    finally:
        with suppress(ProcessLookupError):
            (CGROUP / "cgroup.procs").write_text(str(pid))
        group.rmdir()
