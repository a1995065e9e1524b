import unittest

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

settings.register_profile("suite", database=None, derandomize=True, max_examples=10, phases=[Phase.generate])
settings.load_profile("suite")


@given(st.integers())
def test_passes(n):
    assert n == n


@given(st.lists(st.integers()))
def test_fails(numbers):
    assert sum(numbers) < 100


@given(st.text())
def test_texts(text):
    assert "\ud800" not in text
    assert len(text) < 3


@given(st.integers())
def test_skips(n):
    pytest.skip("on the first example")


@given(st.integers())
def test_unsatisfied(n):
    assume(False)


class TestUnit(unittest.TestCase):
    @given(st.booleans())
    def test_both(self, flag):
        with self.subTest(flag=flag):
            assert flag in (True, False)
