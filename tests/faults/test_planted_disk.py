"""The crash-state oracle sees what it must see: with a planted bug about syncing it goes red, without one it is green."""

from __future__ import annotations

import pytest

from tests.faults.recorded import Recording, record
from tests.faults.row import NotHere
from tests.place import Place

SEEDS = (1, 2, 3, 4, 5)
STATES = 20

FAILS_ONCE = {"fail": ".jsonl=2"}
"""The second sync of a journal fails, once."""


def recorded(place: Place, seed: int, bug: str, faults: dict[str, str]) -> Recording:
    """Record a run; with a bug's name, the bug is planted in both processes."""
    daemon = ("-P", "-m", "tests.faults.planted_disk", bug, "daemon") if bug else ()
    emitter = ("-m", "tests.faults.planted_disk", bug, "producer") if bug else ()
    try:
        return record(place, seed, daemon=daemon, emitter=emitter, daemon_faults=faults)
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(
    ("bug", "faults"),
    [("retry after a failed fsync", FAILS_ONCE), ("directory not synced", {})],
    ids=["retry", "directory"],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_planted_bug_is_seen(place: Place, seed: int, bug: str, faults: dict[str, str]) -> None:
    found = recorded(place, seed, bug, faults)
    tried, failures = found.judge(STATES, seed, enough=1)
    assert found.acked
    assert failures, f"seed {seed}: {tried} crash states, and nothing seen of the bug"


@pytest.mark.parametrize("faults", [{}, FAILS_ONCE], ids=["no fault", "failed sync"])
def test_without_a_bug_the_same_is_green(place: Place, faults: dict[str, str]) -> None:
    found = recorded(place, SEEDS[0], "", faults)
    assert found.acked
    assert found.judge(STATES, SEEDS[0])[1] == []
