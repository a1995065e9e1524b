import pytest


def test_passes():
    pass


@pytest.mark.repeat(3)
def test_marked():
    raise AssertionError("each time")


class TestIt:
    @pytest.mark.parametrize("n", range(2))
    def test_n(self, n):
        assert n
