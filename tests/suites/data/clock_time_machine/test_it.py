import time

import pytest
import time_machine


@time_machine.travel(0, tick=False)
def test_at_the_epoch():
    assert time.time() == 0


def test_between():
    pass


@pytest.fixture
def travelled():
    with time_machine.travel("2050-01-01"):
        yield


def test_from_setup_to_teardown(travelled):
    assert time.time() > 2_500_000_000


def test_fails_travelled(travelled):
    raise AssertionError("in another time")


def test_stays():
    time_machine.travel(1_000_000_000).start()


def test_after():
    assert time.time() < 1_500_000_000
