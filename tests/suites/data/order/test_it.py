import random

import pytest


@pytest.mark.parametrize("n", range(20))
def test_n(n):
    assert n % 5


def test_random():
    assert random.random() < 2
