"""The oracle goes red for every planted bug, by the sentence that belongs to it, and stays green without the bug."""

from __future__ import annotations

import pytest

from tests.faults import planted, planted_disk
from tests.faults.proofs import PROOFS, findings
from tests.faults.row import NotHere

SEED = 20261123
TRIES = 10


def test_every_bug_has_a_proof() -> None:
    assert PROOFS.keys() == planted.BUGS.keys() | planted_disk.BUGS.keys()


@pytest.mark.parametrize("name", PROOFS)
def test_the_bug_is_found(name: str) -> None:
    # Real processes: where the machine is so busy that a fault meets none of what it is meant for, there is nothing to find.
    failures: list[str] = []
    for seed in range(SEED, SEED + TRIES):
        try:
            failures += findings(name, seed, with_bug=True)
        except NotHere as reason:
            pytest.skip(str(reason))
        if any(PROOFS[name].sentence in failure for failure in failures):
            return
    pytest.fail(f"seeds {SEED} to {SEED + TRIES - 1}: {failures}")


@pytest.mark.thorough
@pytest.mark.parametrize("name", PROOFS)
def test_nothing_is_found_without_the_bug(name: str) -> None:
    try:
        failures = findings(name, SEED, with_bug=False)
    except NotHere as reason:
        pytest.skip(str(reason))
    assert not failures, f"seed {SEED}"
