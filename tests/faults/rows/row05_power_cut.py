"""Row 5: the power is cut while a daemon and two adapters - one of them without a daemon - are at work."""

from __future__ import annotations

import random
import shutil
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.cut_disk import CutDisk
from tests.faults.disk_scene import Scene, Told, told_in
from tests.faults.emitter import payload_of
from tests.faults.row import Result, Scale
from tests.place import Place, wait_until
from threepio_client.archive import Archive
from threepio_client.events import EventType
from threepio_client.paths import StateDir
from threepio_client.runjournal import RunJournal
from threepio_client.verification import verify_run

FAULT = "power cut"
PASSES_WHEN = "acked 0 lost, un-acked within the sync window, survivors are a prefix; a new daemon recovers them"
CUTS: Final = {Scale.SHORT: 2, Scale.LONG: 300}
LONG_LIMIT_S: Final = 12 * 60
CUTS_A_DISK: Final = 10
"""Then a new file system: the old one is full of journals."""


@dataclass
class _Count:
    cuts: int = 0
    events: int = 0
    acked: int = 0
    survived: int = 0
    promised_and_lost: int = 0
    late_and_lost: int = 0
    longest_loss_ms: dict[str, float] = field(default_factory=lambda: {"connected": 0.0, "alone": 0.0})
    failures: list[str] = field(default_factory=list)


def run(scale: Scale, seed: int, place: Place) -> Result:
    """Cut the power again and again."""
    start = time.monotonic()
    chance = random.Random(seed)
    count = _Count()
    with CutDisk(place.path) as disk:
        place.environ["THREEPIO_STATE_DIR"] = str(disk.path / "state")
        before: dict[str, int] = {}
        while count.cuts < CUTS[scale] and not count.failures and time.monotonic() - start < LONG_LIMIT_S:
            before = _cut_once(place, disk, seed + count.cuts, chance, before, count)
        with Scene(place, seed) as scene:
            _recover(scene, before, count, seed)
    lost = count.events - count.survived
    figures = (
        f"{count.cuts} cuts, {count.events:,} events emitted, {count.acked:,} of them acked: acked and lost "
        f"{count.promised_and_lost} (told only after the cut had begun: {count.late_and_lost}); un-acked and lost {lost:,}, "
        f"going back at most {count.longest_loss_ms['connected']:.0f} ms with a daemon, "
        f"{count.longest_loss_ms['alone']:.0f} ms alone"
    )
    return Result(figures=figures, failures=tuple(count.failures))


def _cut_once(
    place: Place, disk: CutDisk, seed: int, chance: random.Random, before: dict[str, int], count: _Count
) -> dict[str, int]:
    """Let a daemon recover what the last cut left, cut again; return how many events are left of each run."""
    with Scene(place, seed) as scene:
        _recover(scene, before, count, seed)
        if count.cuts and count.cuts % CUTS_A_DISK == 0:
            scene.kill_all()
            disk.unmount()
            disk.make()
            disk.mount()
            scene.start_daemon()
        emitters = {
            "connected": scene.start_emitter(0, pause_ms=1),
            "alone": scene.start_emitter(0, scene.alone(), pause_ms=1),
        }
        wait_until(lambda: all(told_in(out).attempted for _, out in emitters.values()))
        time.sleep(chance.random() * 0.6)  # not until something: the cut comes at any moment
        cut_at = time.monotonic()
        disk.cut()
        wait_until(lambda: all(_has_gone_on(out, cut_at) for _, out in emitters.values()))
        scene.kill_all()
        for directory in place.path.glob("*.journals"):
            shutil.rmtree(
                directory
            )  # beside the socket, in memory: gone with the power, whatever is written there meanwhile
        disk.unmount()
        disk.mount()
        left = {}
        for kind, (_, out) in emitters.items():
            told = told_in(out)
            left[told.run_id] = _check(kind, told, cut_at, place.state_dir, seed, count)
    count.cuts += 1
    return left


def _has_gone_on(out: Path, cut_at: float) -> bool:
    """Whether an emit began and returned after the cut: by then every ack that was under way has been read."""
    told = told_in(out)
    return any(told.attempted_at[number] > cut_at for number, *_ in told.returned[-3:])


def _check(kind: str, told: Told, cut_at: float, state_dir: StateDir, seed: int, count: _Count) -> int:
    """Compare what is left of a run with what was told of it; return the number of its events that are left."""
    with closing(RunJournal(state_dir, told.run_id)) as journal:
        journal.look()
        found = [step for step in journal.steps(0, final=True) if not step.is_cut_off]
    seqs = [step.event.seq if step.event else None for step in found]
    left = len(found)
    problem = f"seed {seed}, cut {count.cuts}, {kind} run {told.run_id}"
    if seqs != list(range(1, left + 1)):
        count.failures.append(
            f"{problem}: what is left is no prefix: {[(step.end, step.reason) for step in found if step.reason]}"
        )
    cases = [step.event.payload for step in found if step.event and step.event.type == EventType.TEST_CASE]
    if cases != [payload_of(seed, number) for number in range(1, len(cases) + 1)] or len(cases) > told.attempted:
        count.failures.append(f"{problem}: what is left is not what was emitted")
    # What is told after the cut has begun proves nothing: of 30 bare fdatasync that were under way at the ioctl and
    # returned 0, 7 had lost their data; of those that had returned before, none (Linux 6.18).
    promised = max(_promised(told, cut_at), default=0)
    count.late_and_lost += max(max(_promised(told, float("inf")), default=0) - max(left, promised), 0)
    if left < promised:
        count.promised_and_lost += promised - left
        count.failures.append(f"{problem}: {promised} events were acked or synced, {left} are left")
    returned = [entry for entry in told.returned if entry[1] < cut_at]
    lost = [entry for entry in returned if entry[2] > left]
    if lost:
        # By the adapter's own clock: no emit returns when what it leaves un-synced is older than the window.
        loss_s = told.attempted_at[returned[-1][0]] - lost[0][1]
        allowed_s = returned[-1][5] + _ack_lag_s(told, cut_at)
        count.longest_loss_ms[kind] = max(count.longest_loss_ms[kind], loss_s * 1000)
        if loss_s > allowed_s:
            count.failures.append(f"{problem}: lost what is {loss_s * 1000:.0f} ms old, allowed {allowed_s * 1000:.0f}")
    last = returned[-1][2] if returned else 0
    count.events += last
    count.survived += min(left, last)
    count.acked += max((entry[3] for entry in returned), default=0)
    return left


def _promised(told: Told, until: float) -> list[int]:
    """Return the seqs up to which a daemon has acked, or the adapter itself has synced, as told until a time."""
    found, before, syncs = [], told.seq, told.syncs
    for _, at, seq, acked, synced, _ in told.returned:
        if at < until:
            # An emit writes its line, then syncs; statistics may have followed that are not synced yet.
            found += [acked, before + 1] if synced > syncs else [acked]
            before, syncs = seq, synced
    return found


def _ack_lag_s(told: Told, cut_at: float) -> float:
    """Return how old the oldest un-acked event was when the last ack came: the daemon's own gathering, commit and sync."""
    at_of = {seq: at for _, at, seq, *_ in told.returned}
    lag, acked = 0.0, 0
    for _, at, _, seq, *_ in told.returned:
        if seq > acked and at < cut_at:
            acked = seq
            lag = max(at - at_of.get(seq + 1, at), 0.0)
    return lag


def _recover(scene: Scene, left: dict[str, int], count: _Count, seed: int) -> None:
    """Start a daemon on what is left: it takes all of it, and journal and store agree."""
    try:
        scene.start_daemon()
        for run_id in (run_id for run_id, events in left.items() if events):
            scene.wait_until_over(run_id)
    except AssertionError as error:
        count.failures.append(f"seed {seed}, after cut {count.cuts}: no daemon recovers: {error}")
        return
    archive = Archive(scene.place.state_dir)
    for run_id, events in left.items():
        found = verify_run(archive, run_id)
        if events and (found["stored_events"] != events or not found["whole"]):
            stored = f"{found['stored_events']} are stored: {found['problems']}"
            count.failures.append(f"seed {seed}, after cut {count.cuts}: of {events} events left, {stored}")
