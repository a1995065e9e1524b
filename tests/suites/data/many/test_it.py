import unittest
import warnings
import pytest

class TestGroup:
    @pytest.mark.parametrize("value", ["a::b", "c"])
    def test_values(self, value):
        warnings.warn("look")

    class TestInner:
        def test_same(self): pass

class TestOther:
    def test_same(self): pass

def test_same(): pass

def test_fails():
    print("printed by the test")
    assert 1 == 2

@pytest.mark.skip(reason="not today")
def test_skipped(): pass

def test_skips_itself(): pytest.skip("in the middle")

@pytest.fixture
def skips(): pytest.skip("in setup")

def test_skipped_in_setup(skips): pass

@pytest.mark.xfail(reason="known")
def test_xfails(): assert False

@pytest.mark.xfail(reason="never run", run=False)
def test_xfail_not_run(): assert False

@pytest.mark.xfail
def test_xpasses(): pass

@pytest.mark.xfail(strict=True, reason="must fail")
def test_strict_xpass(): pass

@pytest.fixture
def broken(): raise ValueError("no fixture")

def test_setup_error(broken): pass

@pytest.mark.xfail(reason="setup is known to break")
def test_xfail_in_setup(broken): pass

@pytest.fixture
def breaks_later():
    yield
    raise ValueError("no teardown")

def test_teardown_error(breaks_later): pass

def test_both_errors(breaks_later): assert False

class TestUnit(unittest.TestCase):
    @unittest.skip("unit skip")
    def test_skip(self): pass

    @unittest.expectedFailure
    def test_expected(self): self.fail("expected")

    def test_pass(self): pass
