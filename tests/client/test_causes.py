"""Causes: what differs from test to test does not make two of one, and what is another error is another cause."""

from __future__ import annotations

import random
from typing import Any

import pytest

from threepio_client.causes import fingerprint, group, message_of, reason, shape


def failure(
    message: str, location: str = "shop.py:7", error_type: str = "ValueError", **more: object
) -> dict[str, Any]:
    error = {"message": f"{error_type}: {message}", "errorType": error_type, "location": location}
    return {"nodeid": "test_it.py::test_one", "phase": "call", "error": error, **more}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("got 12 of 30", "got 7 of 31"),
        ("worker 'gw1' crashed while running 'a.py::test_it[x]'", "worker 'gw12' crashed while running 'b.py::test_o'"),
        ("3.14 is not -2.7e-05", "1 is not 2"),
        ("<Shop object at 0x7f2a86f44a50>", "<Shop object at 0x55d0>"),
        ("no file /tmp/pytest-of-me/pytest-17/test_x0/a.csv", "no file /var/tmp/b/c.csv"),
        ("cannot reach http://localhost:3312/a?b=1", "cannot reach https://example.org/x"),
        ("order 123e4567-e89b-12d3-a456-426614174000 is gone", "order 00000000-e89b-12d3-a456-426614174999 is gone"),
        ("commit 3f786850e387550fdab836ed7e6dc881de23001b", "commit 89e6c98d92887913cadf06b2adb97f26cde4849b"),
        ("shapes (1, 2, 3, 4) differ", "shapes (5, 6, 7) differ"),
        ("said  twice\nfirst detail", "said twice\nother detail"),
        ("assert [1, 'a', {'b': 2}] == []", "assert ['b'] == [0]"),
        ("assert {'id': 3, 's...price': 4.5} == {'id': 3}", "assert {'id': 30, 's...5} == {'id': 3, 's...e': 7}"),
        ("assert 'Order 1\\nit...' == 'Order'", "assert 'Ord...ems: 7' == 'Order'"),
    ],
)
def test_what_differs_from_test_to_test_makes_one_cause(one: str, other: str) -> None:
    assert len(group([failure(one), failure(other)])) == 1


@pytest.mark.parametrize(
    "other",
    [
        failure("no such column"),
        failure("no such table", location="shop.py:8"),
        failure("no such table", location="stock.py:7"),
        failure("no such table", error_type="KeyError"),
        {**failure(""), "error": {"message": "ValueError: no such table"}},
        {**failure(""), "error": {}},
    ],
)
def test_another_type_message_or_place_is_another_cause(other: dict[str, Any]) -> None:
    assert len(group([failure("no such table"), other])) == 2


def test_names_are_kept() -> None:
    assert shape("fixture 'db2' not found") == "fixture 'db2' not found"
    assert shape("assert 1 == 2") == "assert N == N"
    assert shape("E501 in utf8") == "E501 in utf8"
    assert shape("no column ['a'] in {'b'}") == "no column ['a'] in {'b'}"
    assert shape("assert 'red' == 'blue'") == "assert 'red' == 'blue'"
    assert shape("at 0x7f2a") == "at <address>"
    assert shape("'shop.Order' object has no attribute 'id'") == "an object has no attribute 'id'"


def test_digits_in_a_key_are_no_part_of_a_name() -> None:
    one, other = (failure(f"'order_{number}'", error_type="KeyError") for number in (11, 12))

    assert len(group([one, other])) == 1
    assert len(group([one, failure("'customer_11'", error_type="KeyError")])) == 2


def test_causes_come_by_their_number_and_keep_the_order_of_their_failures() -> None:
    rare, often = failure("a"), [failure("b", number=n) for n in range(3)]

    causes = group([rare, *often])

    assert [cause.count for cause in causes] == [3, 1]
    assert [found["number"] for found in causes[0].failures] == [0, 1, 2]
    assert causes[0].example is often[0]


def test_a_reason_does_not_depend_on_the_line() -> None:
    one, other = failure("no such table"), failure("no such table", location="shop.py:99")

    assert reason(one["error"]) == reason(other["error"])
    assert fingerprint(one["error"]) != fingerprint(other["error"])


def test_the_type_is_not_said_twice() -> None:
    assert message_of(failure("no such table")["error"]) == "no such table"
    assert message_of({"message": "shop.NotSet: no name", "errorType": "NotSet"}) == "no name"
    assert message_of({"message": "note: NotSet", "errorType": "NotSet"}) == "note: NotSet"
    assert message_of({"message": "\n  assert 1 == 2\n + more"}) == "assert 1 == 2"


def test_a_hostile_message_takes_no_time() -> None:
    for text in (
        "/" * 100_000,
        "a/" * 50_000,
        "1" * 100_000,
        "N, " * 30_000,
        "[{" * 50_000,
        "'" * 100_000,
        " " * 100_000,
        "0x" * 50_000,
    ):
        assert len(shape("assert " + text)) <= 200
        assert len(shape(text)) <= 200


def test_every_cause_of_a_generated_suite_is_found() -> None:
    chance = random.Random(1)
    failures = []
    for number in range(200):
        kind = chance.choice(["ValueError", "KeyError", "AssertionError"])
        for _ in range(10):
            message = f"item {chance.random()} of /tmp/{chance.random()}/x is {hex(chance.getrandbits(48))}"
            failures.append({**failure(message, f"module.py:{number}", kind), "number": number})
    chance.shuffle(failures)

    causes = group(failures)

    assert len(causes) == 200
    assert all(len({found["number"] for found in cause.failures}) == 1 for cause in causes)
