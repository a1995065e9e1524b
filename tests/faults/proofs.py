"""The proof of the oracle: for each planted bug the trial that must find it, and by which sentence.

The same trial with the same seed and without the bug must find nothing. `python -m tests.faults --planted` tries five
seeds; the tests try one.
"""

from __future__ import annotations

import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.faults.recorded import record
from tests.faults.scene import STORED_TIMEOUT_S, Scene, needs_strace
from tests.place import Place, wait_until
from threepio_client.line import decode
from threepio_client.protocol import VERSION, Connection, Hello, Role, Welcome

SLOW_STORE: Final = "inject=pwrite64:delay_enter=100000"
"""To strace: each write to the store takes 100 ms."""
AGAIN: Final = 100
"""Lines that come again."""
STATES: Final = 20
"""Crash states that are tried for each seed."""

Trial = Callable[[int, Place, str], tuple[str, ...]]


class Proof(NamedTuple):
    """How a bug is found.

    Attributes:
        trial: gets seed, place and the bug's name (none: an empty text); returns the failures found.
        sentence: what one of the failures must say.
    """

    trial: Trial
    sentence: str


def _daemon_killed_after_an_ack(seed: int, place: Place, bug: str) -> tuple[str, ...]:
    """Every write to the store takes long, and the daemon is killed as soon as an adapter knows of an ack."""
    needs_strace()
    with Scene(place, seed, bug) as scene:
        daemon = scene.start_daemon()
        daemon.wait_until_ready()
        daemon.attach(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", SLOW_STORE])
        job = scene.oracle.new_job(
            4_000, scene.rng.getrandbits(32), burst=10, pause_s=0.020, THREEPIO_EVENT_BUFFER_SIZE="64"
        )
        producer = scene.start_producer(job)
        wait_until(lambda: scene.oracle.acked(job) or producer.has_ended)
        daemon.kill()
        producer.kill()
        scene.check_acks()
        return scene.conclude()


def _lines_again(seed: int, place: Place, bug: str) -> tuple[str, ...]:
    """A second connection sends everything once more that the first one had acked: an ordinary repeat."""
    with Scene(place, seed, bug) as scene:
        daemon = scene.start_daemon()
        daemon.wait_until_ready()
        job = scene.oracle.new_job(1_000, scene.rng.getrandbits(32), burst=10, pause_s=0.020)
        producer = scene.start_producer(job)
        wait_until(lambda: scene.oracle.acked(job) > AGAIN or producer.has_ended)
        _send_again(place, job.run_id)
        return scene.conclude()


def _send_again(place: Place, run_id: str) -> None:
    lines = place.state_dir.journal(run_id).read_bytes().split(b"\n")[:AGAIN]
    start = decode(lines[0]).payload
    run = {"run_id": run_id, "producer_id": start["producerId"], "process": start["process"]}
    protocol = Connection(Role.ADAPTER)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place.settings.socket))
        client.sendall(
            protocol.send(
                Hello(versions=[VERSION], role="adapter", run=run, place=str(place.state_dir.journal(run_id)))
            )
        )
        welcome, *_ = protocol.receive(client.recv(4096))  # an ack may come at its heels
        assert isinstance(welcome, Welcome)
        end = 0
        for seq, line in enumerate(lines, start=1):
            end += len(line) + 1
            client.sendall(protocol.send_lines(0, end, seq, [line]))
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):  # until the daemon has read all of it
            pass


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


def _failed_sync(seed: int, place: Place, bug: str) -> tuple[str, ...]:
    """The daemon's second sync of the journal fails, once, long before the adapter's only one, which is at its end."""
    return _crash_states(seed, place, bug, {"fail": ".jsonl=2"}, {"THREEPIO_SYNC": "exit"}, pause_ms=5)


def _crash_states(
    seed: int,
    place: Place,
    bug: str,
    daemon_faults: dict[str, str] | None = None,
    emitter_settings: dict[str, str] | None = None,
    *,
    pause_ms: int = 2,
) -> tuple[str, ...]:
    """A run is recorded, with the bug in both of its processes, and crash states of it are judged."""
    daemon = ("-P", "-m", "tests.faults.planted_disk", bug, "daemon") if bug else ()
    emitter = ("-m", "tests.faults.planted_disk", bug, "producer") if bug else ()
    found = record(
        place,
        seed,
        daemon=daemon,
        emitter=emitter,
        daemon_faults=daemon_faults,
        emitter_settings=emitter_settings,
        pause_ms=pause_ms,
    )
    assert found.acked
    return tuple(found.judge(STATES, seed, enough=1 if bug else STATES)[1])


PROOFS: Final = {
    "ack before commit": Proof(_daemon_killed_after_an_ack, "acked and not stored"),
    "no duplicate check": Proof(_lines_again, "stored twice"),
    "adapter drops when blocked": Proof(_stopped_daemon, "returned and not in the journal"),
    "retry after a failed fsync": Proof(_failed_sync, "of them lost"),
    "directory not synced": Proof(_crash_states, "of them lost"),
}
"""By the names of `planted.BUGS` and `planted_disk.BUGS`."""


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
