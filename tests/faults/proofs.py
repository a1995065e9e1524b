"""The proof of the oracle: for each planted bug the trial that must find it, and by which sentence.

The same trial with the same seed and without the bug must find nothing. `python -m tests.faults --planted` tries five
seeds; the tests try one.
"""

from __future__ import annotations

import random
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.faults.rows import row04_killed_at_every_call
from tests.faults.scene import STORED_TIMEOUT_S, Scene, needs_strace
from tests.place import Place, wait_until

KILLS: Final = 4
DELAY_US: Final = 50_000
"""How long a slow daemon sleeps, in microseconds: its adapters emit something meanwhile."""
ADAPTERS: Final = 8

Trial = Callable[[int, Place, str], tuple[str, ...]]


class Proof(NamedTuple):
    """How a bug is found.

    Attributes:
        trial: gets seed, place and the bug's name (none: an empty text); returns the failures found.
        sentence: what one of the failures must say.
    """

    trial: Trial
    sentence: str


def _daemon_killed_in_a_commit(seed: int, place: Place, bug: str) -> tuple[str, ...]:
    """Row 4, at one of the writes of the daemon's first commits, up to four times: not before every commit is an ack."""
    needs_strace()
    failures: tuple[str, ...] = ()
    for number in random.Random(seed).sample(range(8, 20), KILLS):
        failures += row04_killed_at_every_call.kill_daemon(seed, place, "serve", "pwrite64", number, bug)[1]
        if failures:
            break
    return failures


def _slow_daemon(seed: int, place: Place, bug: str) -> tuple[str, ...]:
    """The daemon sleeps after what it sends - so between WELCOME and its look at the journal - and after what it reads.

    So lines come from the journal that the socket has brought meanwhile; which of the two is looked at first is trio's
    choice, one half of the time each, so there are ADAPTERS of them.
    """
    needs_strace()
    delay = f"inject=sendto,sendmsg,pread64:delay_exit={DELAY_US}"
    with Scene(place, seed, bug) as scene:
        daemon = scene.start_daemon()
        daemon.wait_until_ready()
        daemon.attach(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto,sendmsg,pread64", "-e", delay])
        for _ in range(ADAPTERS):
            job = scene.oracle.new_job(
                60,
                scene.rng.getrandbits(32),
                burst=1,
                pause_s=0.002,
                THREEPIO_BLOCK_MS="2000",
                THREEPIO_BLOCK_TOTAL_MS="2000",
            )
            scene.start_producer(job)
        return scene.conclude()


def _stopped_daemon(seed: int, place: Place, bug: str) -> tuple[str, ...]:
    """The daemon is stopped once an adapter has had an ack; the adapter may send little more, and wait not at all."""
    with Scene(place, seed, bug) as scene:
        daemon = scene.start_daemon()
        daemon.wait_until_ready()
        job = scene.oracle.new_job(
            600,
            scene.rng.getrandbits(32),
            burst=1,
            pause_s=0.002,
            THREEPIO_EVENT_BUFFER_SIZE="64",
            THREEPIO_BLOCK_TOTAL_MS="0",
        )
        producer = scene.start_producer(job)
        wait_until(lambda: scene.oracle.acked(job) or producer.has_ended)
        daemon.send_signal(signal.SIGSTOP)
        producer.wait(STORED_TIMEOUT_S)
        daemon.send_signal(signal.SIGCONT)
        return scene.conclude()


PROOFS: Final = {
    "ack before commit": Proof(_daemon_killed_in_a_commit, "acked and not stored"),
    "no duplicate check": Proof(_slow_daemon, "stored twice"),
    "adapter drops when blocked": Proof(_stopped_daemon, "returned and not in the journal"),
}
"""By the names of `planted.BUGS`."""


def findings(name: str, seed: int, *, with_bug: bool) -> tuple[str, ...]:
    """Run a bug's trial in a place of its own, with the bug or without; return the failures."""
    with tempfile.TemporaryDirectory(prefix="bug-") as directory:
        return PROOFS[name].trial(seed, Place(Path(directory)), name if with_bug else "")


def table(seeds: list[int]) -> tuple[list[str], bool]:
    """Return the lines of a table, one for each bug, and whether each was found with every seed and never without."""
    lines = ["| bug | caught | by | without the bug |", "|---|---|---|---|"]
    holds = True
    for name, proof in PROOFS.items():
        caught = [any(proof.sentence in failure for failure in findings(name, seed, with_bug=True)) for seed in seeds]
        false = [failure for seed in seeds for failure in findings(name, seed, with_bug=False)]
        holds = holds and all(caught) and not false
        without = f"NO: {'; '.join(false)}" if false else "nothing found"
        lines.append(f"| {name} | {sum(caught)} of {len(seeds)} | {proof.sentence} | {without} |")
    return lines, holds
