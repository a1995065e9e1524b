import os
import signal

import pytest

TIMEOUT = float(os.environ["SUITE_TIMEOUT"])


def stop_daemon():
    if "DAEMON_PID" in os.environ:
        os.kill(int(os.environ["DAEMON_PID"]), signal.SIGSTOP)


@pytest.mark.timeout(TIMEOUT)
def test_before():
    pass


def test_stops_the_daemon():
    stop_daemon()


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("n", range(12))
def test_after(n):
    assert n % 4, "m" * 200_000


@pytest.mark.timeout(TIMEOUT)
def test_many_reports_in_one_test(record_property):
    pass
