import unittest

import pytest


@pytest.fixture
def broken():
    raise ValueError("no fixture")


@pytest.mark.xfail(reason="known")
def test_in_setup(broken):
    pass


@pytest.fixture
def xfails():
    pytest.xfail("by the fixture")


def test_by_a_fixture(xfails):
    pass


@pytest.mark.xfail(run=False, reason="never")
def test_not_run():
    raise SystemExit(1)


@pytest.mark.xfail(strict=True, reason="must fail")
def test_strict_xpass():
    pass


@pytest.mark.xfail
def test_xpass():
    pass


@pytest.mark.xfail(raises=KeyError)
def test_other_error():
    raise ValueError("another one")


def test_in_call():
    pytest.xfail("in the middle")


@pytest.fixture
def breaks_later():
    yield
    raise ValueError("no teardown")


@pytest.mark.xfail(reason="known")
def test_in_teardown(breaks_later):
    pass


class TestUnit(unittest.TestCase):
    @unittest.expectedFailure
    def test_expected(self):
        self.fail("expected")

    @unittest.expectedFailure
    def test_unexpected(self):
        pass
