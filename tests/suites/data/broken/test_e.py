import pytest


@pytest.mark.parametrize("a", [1, 2])
def test_no_such_argument(b):
    pass
