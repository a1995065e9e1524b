import pathlib

import pytest

PLACE = pathlib.Path(__file__).parent


def attempt(name):
    path = PLACE / f"attempts-{name}"
    number = len(path.read_text()) + 1 if path.exists() else 1
    path.write_text("x" * number)
    return number


def test_flaky():
    assert attempt("flaky") == 3


def test_hopeless():
    raise AssertionError("never")


@pytest.fixture
def setup():
    assert attempt("setup") == 2


def test_flaky_in_setup(setup):
    pass


@pytest.fixture
def teardown():
    yield
    assert attempt("teardown") == 2


def test_flaky_in_teardown(teardown):
    pass


@pytest.mark.flaky(reruns=0)
def test_not_again():
    raise AssertionError("once")


def test_passes():
    pass
