"""Rows that were taken: each once, in the order of their lines, none before it is known that none is missing."""

from __future__ import annotations

from operator import itemgetter

import pytest

from threepiod.taken import Taken

ROWS = [(seq, f"row {seq}") for seq in (2, 3, 5, 8, 9)]


@pytest.fixture
def taken() -> Taken[tuple[int, str]]:
    found: Taken[tuple[int, str]] = Taken(itemgetter(0))
    found.keep_from(1)
    found.add(ROWS)
    return found


def test_each_row_comes_once(taken: Taken[tuple[int, str]]) -> None:
    assert taken.next(1, 9, 2) == ROWS[:2]
    assert taken.next(3, 7, 9) == ROWS[2:3]
    assert taken.next(7, 7, 9) == []
    assert taken.next(7, 99, 9) == ROWS[3:]
    assert taken.next(7, 99, 9) == []


def test_what_is_known_already_is_passed_over(taken: Taken[tuple[int, str]]) -> None:
    assert taken.next(5, 99, 1) == ROWS[3:4]
    assert taken.next(0, 99, 9) == ROWS[4:]


def test_what_waits_is_let_go_when_some_rows_were_lost(taken: Taken[tuple[int, str]]) -> None:
    taken.keep_from(8)
    taken.add(ROWS[4:])

    assert taken.since == 8
    assert taken.next(8, 99, 9) == ROWS[4:]


def test_no_row_is_kept_as_long_as_others_may_be_missing() -> None:
    taken = Taken(itemgetter(0))

    taken.add(ROWS)

    assert taken.since > 2**62
    assert taken.next(0, 99, 9) == []
