import time

import freezegun
import pytest


@freezegun.freeze_time("1990-01-01")
def test_frozen():
    assert time.time() < 700_000_000


def test_between():
    pass


@pytest.fixture
def frozen():
    with freezegun.freeze_time("2050-01-01", auto_tick_seconds=1_000_000):
        yield


def test_from_setup_to_teardown(frozen):
    assert time.time() > 2_500_000_000


def test_fails_frozen(frozen):
    raise AssertionError("in another time")


def test_stays_frozen():
    freezegun.freeze_time("1971-01-01").start()


def test_after():
    assert time.time() < 100_000_000
