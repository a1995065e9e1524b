import time

import pytest


def test_before():
    pass


@pytest.mark.timeout(0.3)
def test_slow():
    time.sleep(30)


def test_after():
    pass
