import pytest


def test_a():
    pass


def test_b():
    raise AssertionError("no")


@pytest.mark.skip
def test_c():
    pass
