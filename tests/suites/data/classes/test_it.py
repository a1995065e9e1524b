import unittest

import pytest


class TestOne:
    def test_same(self):
        pass

    @pytest.mark.skip(reason="first")
    def test_skipped(self):
        pass


class TestTwo:
    def test_same(self):
        pytest.skip("in call")

    @pytest.mark.skip(reason="second")
    def test_skipped(self):
        pass


class TestThree(unittest.TestCase):
    def test_same(self):
        self.skipTest("unit")

    @unittest.skip("third")
    def test_skipped(self):
        pass


@unittest.skip("whole class")
class TestWhole(unittest.TestCase):
    def test_same(self):
        pass


class TestSetUpClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise unittest.SkipTest("in setUpClass")

    def test_same(self):
        pass

    def test_other(self):
        pass
