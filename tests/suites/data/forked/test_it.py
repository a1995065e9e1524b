import os
import signal

import pytest


def test_passes():
    pass


def test_fails():
    print("in the child")
    raise AssertionError("in the child")


def test_exits():
    os._exit(3)


def test_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_skipped():
    pytest.skip("in the child")


@pytest.mark.xfail
def test_xfails():
    raise AssertionError("known")


def test_after():
    pass
