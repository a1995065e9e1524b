import pytest


@pytest.mark.xdist_group(name="a::b")
@pytest.mark.parametrize("n", range(3))
def test_in_group(n):
    assert n


@pytest.mark.parametrize("n", range(3))
def test_in_none(n):
    assert n
