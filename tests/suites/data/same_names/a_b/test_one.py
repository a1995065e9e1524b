import pytest


@pytest.mark.parametrize("n", range(4))
def test_n(n):
    assert n % 2
