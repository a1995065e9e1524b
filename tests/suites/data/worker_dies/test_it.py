import os
import signal
import time

import pytest

def test_a():
    pass


def test_dies():
    os._exit(3)


@pytest.fixture
def kills():
    os.kill(os.getpid(), signal.SIGKILL)


def test_dies_in_setup(kills):
    pass


def test_c():
    time.sleep(0.01)


def test_d():
    pass
