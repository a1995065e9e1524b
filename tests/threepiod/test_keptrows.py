"""Rows of groups at work: each with its group, and never more than allowed."""

from __future__ import annotations

import random

import pytest

from threepiod import keptrows
from threepiod.grouppage import Row
from threepiod.keptrows import ASK, KeptRows, Room


def passed(*nodeids: str) -> list[Row]:
    return [(nodeid, seq, 1.0, 2.0, None, 3) for seq, nodeid in enumerate(nodeids, start=1)]


def failed(nodeid: str, details: str | None) -> Row:
    return (nodeid, 9, "FAIL", "call", 1.0, 2.0, None, 3, details)


def names(kept: KeptRows, group: str) -> list[str]:
    found = kept.of(group)
    return [] if found is None else [row[0] for row in found.passed]


def test_rows_of_groups_that_run_at_once_come_to_their_groups() -> None:
    groups = ("a.py", "a.py-b", "a.pyx", "a.py;", "b.py", "b/c.py")
    nodeids = [*(f"{name}::test_{number}" for number in range(50) for name in groups), *groups]
    random.Random(1).shuffle(nodeids)
    kept = KeptRows(Room())

    assert kept.take(passed(*nodeids), []) == []

    for name in groups:
        assert names(kept, name) == sorted(nodeid for nodeid in nodeids if nodeid.partition("::")[0] == name)


def test_a_file_that_is_no_group_of_tests_is_kept_by_its_name() -> None:
    kept = KeptRows(Room())

    kept.take([], [failed("a.py::test", None), failed("a.py", None), failed("b.py", None)])

    assert [(found := kept.of(name)) and [row[0] for row in found.results] for name in ("a.py", "b.py", "c.py")] == [
        ["a.py::test", "a.py"],
        ["b.py"],
        None,
    ]


@pytest.mark.parametrize(
    "nodeids",
    [["lint-check"], ["a.py::1", "lint", "b.py::1"], ["a.py", "a.py-b::1", "a.py::1"], ["\0a.py::1"], ["", "::1"]],
    ids=ascii,
)
def test_names_that_no_file_begins_come_to_groups_of_their_own(nodeids: list[str]) -> None:
    kept = KeptRows(Room())

    kept.take(passed(*nodeids), [failed(nodeid, None) for nodeid in nodeids])

    for nodeid in nodeids:
        found = kept.of(nodeid.partition("::")[0])
        assert found is not None
        assert nodeid in [row[0] for row in found.passed]
        assert nodeid in [row[0] for row in found.results]
        assert {row[0].partition("::")[0] for row in found.passed} == {found.name}


def test_the_largest_groups_are_let_go_where_there_are_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keptrows, "ROWS_KEPT", 5)
    kept = KeptRows(Room())
    kept.take(passed("a.py::1", "b.py::1", "b.py::2", "b.py::3"), [])

    assert kept.take(passed("c.py::1"), [failed("c.py::2", None)]) == ["b.py"]

    assert (names(kept, "a.py"), names(kept, "b.py"), names(kept, "c.py")) == (["a.py::1"], [], ["c.py::1"])
    assert kept.take(passed("d.py::1", "d.py::2"), []) == []


def test_rows_of_a_group_that_was_let_go_keep_no_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keptrows, "ROWS_KEPT", 3)
    room = Room()
    kept = KeptRows(room)
    kept.take(passed("big.py::1", "big.py::2", "small.py::1"), [failed("small.py::2", None)])
    assert names(kept, "big.py") == []

    assert kept.take(passed("big.py::3", "big.py::4"), [failed("big.py::5", None), failed("big.py::6", "12")]) == []

    assert kept.of("big.py") is None
    assert names(kept, "small.py") == ["small.py::1"]
    assert room == Room(rows=2)
    kept.drop("big.py")
    kept.take(passed("big.py::7"), [])
    assert names(kept, "big.py") == ["big.py::7"]


LONG = "x" * 60_000


@pytest.mark.parametrize("status", ["FAIL", "PASS"])
@pytest.mark.parametrize(
    "row",
    [
        (f"b.py::{LONG}", 9, "", "call", 1.0, 2.0, None, 3, None),
        ("b.py::1", 9, "", "call", 1.0, 2.0, LONG, 3, None),
        ("b.py::1", 9, "", "call", LONG, 2.0, None, 3, None),
        ("b.py::1", 9, "", "call", 1.0, LONG, None, 3, None),
        ("b.py::1", 9, "", LONG, 1.0, 2.0, None, 3, None),
    ],
    ids=["name", "worker", "started", "duration", "phase"],
)
def test_rows_with_long_texts_count_as_several(monkeypatch: pytest.MonkeyPatch, row: Row, status: str) -> None:
    monkeypatch.setattr(keptrows, "ROWS_KEPT", 100)
    kept = KeptRows(Room())
    kept.take(passed("a.py::1", "a.py::2"), [])

    assert kept.take([], [failed("b.py::0", None), (*row[:2], status, *row[3:])]) == ["b.py"]

    assert names(kept, "a.py") == ["a.py::1", "a.py::2"]
    assert kept.take(passed("c.py::1"), [failed("c.py::2", None)]) == []


def test_room_is_there_again_when_a_group_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keptrows, "ROWS_KEPT", 2)
    monkeypatch.setattr(keptrows, "DETAILS_KEPT", 10)
    kept = KeptRows(Room())
    kept.take(passed("a.py::1"), [failed("a.py::2", "1234567890")])

    kept.drop("a.py")
    kept.drop("never known")

    assert kept.take(passed("b.py::1"), [failed("b.py::2", "1234567890")]) == []
    found = kept.of("b.py")
    assert found is not None
    assert found.results[0][8] == "1234567890"


def test_runs_share_what_may_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keptrows, "ROWS_KEPT", 3)
    monkeypatch.setattr(keptrows, "DETAILS_KEPT", 10)
    monkeypatch.setattr(keptrows, "SHORT", 3)
    room = Room()
    one, other = KeptRows(room), KeptRows(room)
    one.take(passed("a.py::1"), [failed("a.py::2", "1234567890")])

    assert other.take([], [failed("b.py::1", "12345")]) == []
    assert other.take(passed("b.py::2"), []) == ["b.py"]

    assert names(one, "a.py") == ["a.py::1"]
    one.drop_all()
    assert (names(one, "a.py"), room) == ([], Room())
    assert other.take(passed("c.py::3", "c.py::4"), [failed("c.py::5", "1234567890")]) == []
    found = other.of("c.py")
    assert found is not None
    assert found.results[0][8] == "1234567890"


def test_details_that_are_too_long_are_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keptrows, "DETAILS_KEPT", 10)
    monkeypatch.setattr(keptrows, "SHORT", 3)
    kept = KeptRows(Room())

    kept.take(
        [],
        [
            failed("a.py::1", "123456"),
            failed("a.py::2", "12345"),
            failed("a.py::3", "1234"),
            failed("a.py::4", "123"),
            failed("a.py::5", None),
        ],
    )

    found = kept.of("a.py")
    assert found is not None
    assert [row[8] for row in found.results] == ["123456", ASK, "1234", "123", None]


@pytest.mark.parametrize(
    ("others", "are_apart"),
    [
        ([], True),
        ([failed("a.py::3", None)], True),
        ([failed("a.py::1", None)], False),
        ([("a.py::3", 9, "PASS", "call", 1.0, 2.0, None, 3, "{}")], False),
        ([("a.py::2", 9, "PASS", "call", 1.0, 2.0, None, 3, None)], False),
    ],
    ids=["alone", "beside others", "with a second row", "one that passed with more to say", "one that passed twice"],
)
def test_tests_that_passed_are_apart_where_nothing_else_is_known_of_them(others: list[Row], are_apart: bool) -> None:
    kept = KeptRows(Room())
    kept.take(passed("a.py::2", "a.py::1"), others)

    found = kept.of("a.py")

    assert found is not None
    rows = found.passed_apart()
    names = None if rows is None else [row[0] for row in rows]
    assert names == (["a.py::1", "a.py::2"] if are_apart else None)


def test_one_that_passed_is_told_with_the_others_whatever_its_name() -> None:
    kept = KeptRows(Room())
    kept.take(passed("a.py::2", "a.py::1"), [('a.py::"', 9, "PASS", "call", 1.0, 2.0, "gw1", 3, None)])

    found = kept.of("a.py")

    assert found is not None
    assert found.passed_apart() == [
        ('a.py::"', 9, 1.0, 2.0, "gw1", 3),
        ("a.py::1", 2, 1.0, 2.0, None, 3),
        ("a.py::2", 1, 1.0, 2.0, None, 3),
    ]


def test_one_that_passed_and_is_named_like_its_group_is_not_apart() -> None:
    kept = KeptRows(Room())
    kept.take(passed("a.py", "a.py::1"), [])

    found = kept.of("a.py")

    assert found is not None
    assert found.passed_apart() is None
