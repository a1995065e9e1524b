"""Row 3: daemon and adapters are killed, the daemon again and again while it recovers."""

from __future__ import annotations

import shutil
import time

from tests.faults.oracle import open_store
from tests.faults.row import Result, Scale
from tests.faults.scene import DaemonProcess, Producer, Scene
from tests.place import Place

FAULT = "SIGKILL both, and again during recovery"
PASSES_WHEN = "300 rounds; recovering three times gives the same store"

TIME_LIMIT_S = 14 * 60.0


def run(scale: Scale, seed: int, place: Place) -> Result:
    """Try round after round, each with files of its own, until all are done or one has failed."""
    rounds = 1 if scale is Scale.SHORT else 300
    end = time.monotonic() + TIME_LIMIT_S
    done = killed = events = 0
    failures: tuple[str, ...] = ()
    while done < rounds and not failures and time.monotonic() < end:
        directory = place.path / f"round{done}"
        directory.mkdir()
        kills, returned, failures = _round(Place(directory), seed + done)
        done, killed, events = done + 1, killed + kills, events + returned
        shutil.rmtree(directory)
    return Result(figures=f"{done} rounds, {killed:,} kills, {events:,} events emitted", failures=failures)


def _round(place: Place, seed: int) -> tuple[int, int, tuple[str, ...]]:
    """Return kills, events for which `emit` returned, failures."""
    with Scene(place, seed) as scene:
        rng = scene.rng
        daemon = scene.start_daemon()
        for _ in range(rng.randrange(1, 4)):
            burst, pause_s = rng.choice(((1, 0.001), (20, 0.020), (2_000, 0.0)))
            job = scene.oracle.new_job(rng.choice((100, 2_000)), rng.getrandbits(32), burst=burst, pause_s=pause_s)
            scene.start_producer(job)
        time.sleep(rng.uniform(0.0, 0.5))
        victims: list[DaemonProcess | Producer] = [daemon, *scene.producers]
        rng.shuffle(victims)
        for victim in victims:
            victim.kill()
            time.sleep(rng.choice((0.0, 0.0, 0.02)))
        killed = len(victims)
        scene.check_acks()
        scene.wait_for_producers()
        original = place.environ["THREEPIO_STATE_DIR"]
        copy = str(place.path / "copy")
        if not place.state_dir.path.exists():
            place.state_dir.path.mkdir(mode=0o700)  # killed before anybody had made it
        shutil.copytree(original, copy)

        for _ in range(rng.randrange(1, 3)):
            daemon = scene.start_daemon()
            time.sleep(rng.uniform(0.1, 0.35))
            daemon.kill()
            killed += 1
        contents = []
        for state_dir in (original, original, copy):
            place.environ["THREEPIO_STATE_DIR"] = state_dir
            scene.recover()
            scene.daemons[0].kill()
            with open_store(place.state_dir.store) as store:
                contents.append(store.contents())
        place.environ["THREEPIO_STATE_DIR"] = original
        for what, again in (("a second time", contents[1]), ("from the same files without a kill", contents[2])):
            different = [table for table, rows in contents[0].items() if rows != again[table]]
            if different:
                scene.failures.append(f"recovering {what} gave other content of: {', '.join(different)}")
        failures = scene.conclude()
        return killed, scene.oracle.counts["returned"], failures
