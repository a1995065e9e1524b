"""A run whose id the store has already, of a run whose journal is gone: none of the two is taken for the other."""

from __future__ import annotations

import json

import pytest

from tests.place import Place, wait_until


@pytest.fixture
def used(place: Place) -> Place:
    """A place where a green run `nightly` was stored and its journal removed; a daemon listens."""
    place.start_daemon()
    place.suite("import pytest\n@pytest.mark.parametrize('n', range(60))\ndef test_n(n): pass")
    place.pytest("-q", THREEPIO_RUN_ID="nightly")
    wait_until(lambda: place.status("nightly")["state"] == "passed")
    for path in place.state_dir.journals.glob("nightly*"):
        path.unlink()
    place.suite("def test_bad(): assert 0")
    return place


def test_where_a_daemon_knows_the_id_the_next_one_is_taken(used: Place) -> None:
    again = used.pytest("-q", THREEPIO_RUN_ID="nightly")
    third = used.threepio("run", "--", *used.python, "-m", "pytest", "-q", THREEPIO_RUN_ID="nightly")

    assert "threepio: the run id nightly is taken already: this run is nightly-2" in again.stdout
    assert (used.status("nightly")["state"], used.status("nightly-2")["state"]) == ("passed", "failed")
    assert "run nightly-3: failed" in third.stdout
    assert not used.state_dir.journal("nightly").exists()


def test_without_a_daemon_the_later_one_is_meant_and_said(used: Place) -> None:
    used.stop_daemon()
    used.pytest("-q", THREEPIO_RUN_ID="nightly")

    status, wait = used.threepio("status", "nightly", "--json"), used.threepio("wait", "nightly")
    failures, shown = used.threepio("failures", "nightly"), used.threepio("show", "test_bad", "nightly")

    view = json.loads(status.stdout)
    assert (view["state"], view["collected"], view["finished"]) == ("failed", 1, 1)
    assert "the store has another run nightly, whose journal is gone" in status.stderr
    assert [done.returncode for done in (status, wait, failures, shown)] == [1, 1, 1, 1]
    assert "test_bad" in failures.stdout

    used.start_daemon()
    pruned = used.threepio("prune", "nightly")
    assert (pruned.returncode, used.status("nightly")["state"]) == (1, "failed")
    assert "not all of the journal of run nightly is stored" in pruned.stderr
    assert used.state_dir.journal("nightly").exists()
