import unittest

import pytest


@pytest.fixture
def broken():
    raise ValueError("no fixture")


@pytest.fixture
def breaks_later():
    yield
    raise ValueError("no teardown")


def test_setup(broken):
    pass


def test_setup_and_teardown(breaks_later, broken):
    pass


def test_teardown_after_pass(breaks_later):
    pass


def test_teardown_after_fail(breaks_later):
    raise AssertionError("in call")


def test_teardown_after_skip(breaks_later):
    pytest.skip("not today")


@pytest.mark.xfail
def test_teardown_after_xfail(breaks_later):
    raise AssertionError("known")


class TestClass:
    @classmethod
    def teardown_class(cls):
        raise RuntimeError("class")

    def test_one(self):
        pass

    def test_two(self):
        pass


class TestUnit(unittest.TestCase):
    def setUp(self):
        self.addCleanup(lambda: 1 / 0)

    def tearDown(self):
        raise RuntimeError("tearDown")

    def test_unit(self):
        raise AssertionError("in call")


class TestSetUpClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("setUpClass")

    def test_a(self):
        pass

    def test_b(self):
        pass


def teardown_module():
    raise RuntimeError("module")


def test_last():
    pass
