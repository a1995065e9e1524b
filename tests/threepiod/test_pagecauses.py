"""Causes of a run's failures: the same ones, whether the rows are at hand or are read from the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.place import Place
from tests.report.test_model import ERROR, Cases, write_run
from tests.threepiod.test_pages import rows_of
from threepio_client.archive import Archive
from threepio_client.report.markdown import Told
from threepiod import pagecauses
from threepiod.batch import Failure
from threepiod.pagecauses import Causes
from threepiod.pages import prepare
from threepiod.rebuild import rebuild

OTHER_ERROR = {**ERROR, "message": "something else", "location": "b.py:7"}
CASES: Cases = [
    (f"a.py::test_{number}", "PASS" if number % 3 == 0 else "FAIL", {} if number % 3 == 0 else {"error": error})
    for number in range(12)
    for error in [OTHER_ERROR if number % 4 == 1 else ERROR]
]


@contextmanager
def causes(place: Place) -> Iterator[tuple[Causes, list[Failure]]]:
    """Yield the causes of a run of CASES, and its failures."""
    write_run(place, [nodeid for nodeid, _, _ in CASES], CASES, exit_code=1)
    rebuild(place.state_dir)
    archive = Archive(place.state_dir)
    stored = archive.stored("run")
    assert stored is not None
    with archive.reading() as store:
        assert store is not None
        prepare(store)
        yield Causes(store, stored.key), [found for _, rows in rows_of(place) for found in rows.failures]


def told(found: Causes, until: int) -> list[Told]:
    while found.fold(until, has_broken=False):
        pass
    return found.told()


@pytest.mark.parametrize("failures", [2, 50])
@pytest.mark.parametrize("at_hand", [0, 1, 5, 8])
def test_failures_at_hand_are_as_good_as_those_of_the_store(
    place: Place, monkeypatch: pytest.MonkeyPatch, failures: int, at_hand: int
) -> None:
    monkeypatch.setattr(pagecauses, "FAILURES", failures)
    with causes(place) as (found, failed):
        last = failed[-1].seq
        found.keep_from(failed[-at_hand - 1].seq if at_hand < len(failed) else 0)
        found.take(failed[len(failed) - at_hand :])
        found_causes = told(found, last)

        assert sorted(cause.failures for cause in found_causes) == [2, 6]
        assert [cause.message for cause in found_causes] == ["no", "something else"]
        assert found_causes[0].examples == [("call", f"a.py::test_{number}") for number in (2, 4, 7, 8, 10)]


@pytest.mark.parametrize("at_hand", [0, 5])
def test_failures_are_counted_once_however_many_steps_there_are(place: Place, at_hand: int) -> None:
    with causes(place) as (found, failed):
        last = failed[-1].seq
        if at_hand:
            found.keep_from(failed[-at_hand - 1].seq)
            found.take(failed[len(failed) - at_hand :])
        for seq in range(1, last + 1):
            while found.fold(seq, has_broken=False):
                pass

        assert sum(cause.failures for cause in found.told()) == len(failed)


def test_failures_that_the_store_gave_before_are_not_counted_again(place: Place) -> None:
    with causes(place) as (found, failed):
        last = failed[-1].seq
        told(found, failed[4].seq)
        found.keep_from(failed[2].seq)
        found.take(failed[3:])

        assert sum(cause.failures for cause in told(found, last)) == len(failed)


def test_failures_of_which_some_were_lost_are_read_from_the_store(place: Place) -> None:
    with causes(place) as (found, failed):
        last = failed[-1].seq
        found.keep_from(0)
        found.take(failed[:3])
        found.keep_from(failed[5].seq)
        found.take(failed[6:])

        assert sum(cause.failures for cause in told(found, last)) == len(failed)


def test_failures_before_it_is_known_that_all_are_taken_are_passed_over(place: Place) -> None:
    with causes(place) as (found, failed):
        found.take(failed[:3])

        assert sum(cause.failures for cause in told(found, failed[-1].seq)) == len(failed)


def test_failures_beyond_the_last_line_that_is_looked_at_wait(place: Place) -> None:
    with causes(place) as (found, failed):
        last = failed[-1].seq
        found.keep_from(0)
        found.take(failed)

        assert sum(cause.failures for cause in told(found, failed[2].seq)) == 3
        found.keep_from(last)  # what waited is lost: the store has it
        assert sum(cause.failures for cause in told(found, last)) == len(failed)
