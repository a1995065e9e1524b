"""Row 9: every write, read and message may do less than asked, or nothing at all (EINTR), on both sides."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.faults.disk_scene import Scene, told_in
from tests.faults.emitter import payload_of
from tests.faults.row import Result, Scale
from tests.place import Place
from threepio_client.archive import Archive
from threepio_client.events import EventType
from threepio_client.journal import records
from threepio_client.verification import verify_run

FAULT = "short writes, EINTR"
PASSES_WHEN = "0 bad: what was emitted is in the journal and in the store, each once"
EVENTS: Final = {Scale.SHORT: 500, Scale.LONG: 100_000}
PATIENCE_S: Final = {Scale.SHORT: 20, Scale.LONG: 600}
NO_LIMIT: Final = {"THREEPIO_BLOCK_MS": "inf", "THREEPIO_BLOCK_TOTAL_MS": "inf"}
"""Everything is to go over the socket: spilling would spare it the faults."""


def run(scale: Scale, seed: int, place: Place) -> Result:
    """Emit through a library that cuts every call short, by chance."""
    events = EVENTS[scale]
    counts = place.path / "counts"
    with Scene(place, seed) as scene:
        daemon = scene.start_daemon(scene.shim(short=seed, count=str(counts)))
        emitter, out = scene.start_emitter(events, scene.shim(short=seed + 1, count=str(counts)) | NO_LIMIT)
        try:
            emitter.wait(PATIENCE_S[scale])
            told = told_in(out)
            scene.wait_until_over(told.run_id)
        except (subprocess.TimeoutExpired, AssertionError):
            errors = [line for line in scene.output("daemon").splitlines() if " ERROR " in line]
            text = f"seed {seed}: hangs after {told_in(out).attempted} events; the daemon says {errors[:3]}"
            return Result(figures=f"{told_in(out).attempted:,} events", failures=(text,))
        scene.stop_daemon(daemon)
        complaints = scene.output("emitter1").strip()
        errors = [line for line in scene.output("daemon").splitlines() if " ERROR " in line]
    archive = Archive(place.state_dir)
    found = verify_run(archive, told.run_id)
    failures = []
    if not found["whole"]:
        failures.append(f"seed {seed}: not whole: {found['problems']}")
    emitted = (
        record.event.payload
        for record in records(place.state_dir.journal(told.run_id))
        if record.event and record.event.type == EventType.TEST_CASE
    )
    bad = sum(payload != payload_of(seed, number) for number, payload in enumerate(emitted, start=1))
    cases = found["by_type"].get(EventType.TEST_CASE, {"journal": 0, "stored": 0})
    if bad or cases["journal"] != events or cases["stored"] != events:
        failures.append(f"seed {seed}: {events} emitted, {cases}, {bad} with other content")
    if complaints or errors or not told.stored:
        failures.append(f"seed {seed}: the adapter says {complaints!r}, the daemon {errors[:3]}")
    stored = archive.stored(told.run_id)
    by_socket = stored.ingest["from_socket"] if stored else 0
    cut, interrupted = (sum(column) for column in zip(*_counts(counts), strict=True))
    if min(cut, interrupted) < events // 10:
        failures.append(f"seed {seed}: only {cut} calls were cut and {interrupted} interrupted: nothing is shown")
    figures = (
        f"{by_socket:,} of {found['stored_events']:,} lines over the socket, "
        f"{cut:,} calls cut short, {interrupted:,} interrupted: {bad} bad, {found['missing']} missing, "
        f"{found['duplicates']} doubled"
    )
    return Result(figures=figures, failures=tuple(failures))


def _counts(path: Path) -> list[tuple[int, int]]:
    """Return for each process how many of its calls were cut short and how many were interrupted."""
    return [(int(cut), int(interrupted)) for cut, interrupted in map(str.split, path.read_text().splitlines())]
