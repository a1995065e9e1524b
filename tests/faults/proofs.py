"""The proof of the oracle: for each planted bug the trial that must find it, and by which sentence.

The same trial with the same seed and without the bug must find nothing. `python -m tests.faults --planted` tries five
seeds; the tests try one.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.faults.rows import row02_adapter_killed, row04_killed_at_every_call
from tests.faults.scene import needs_strace
from tests.place import Place

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
    """Row 4, at two of the writes of the daemon's first commits."""
    needs_strace()
    failures: tuple[str, ...] = ()
    for number in random.Random(seed).sample(range(8, 16), 2):
        failures += row04_killed_at_every_call.kill_daemon(seed, place, "serve", "pwrite64", number, bug)[1]
    return failures


def _adapters_killed(seed: int, place: Place, bug: str) -> tuple[str, ...]:
    """Row 2, with a few kills: half of the adapters may send only a little before they have to wait."""
    return row02_adapter_killed.trial(seed, place, 16, bug).failures


PROOFS: Final = {
    "ack before commit": Proof(_daemon_killed_in_a_commit, "acked and not stored"),
    "no duplicate check": Proof(_adapters_killed, "stored twice"),
    "adapter drops when blocked": Proof(_adapters_killed, "returned and not in the journal"),
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
