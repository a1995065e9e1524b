import os
import signal

import pytest


def test_stops_the_daemon():
    if "DAEMON_PID" in os.environ:
        os.kill(int(os.environ["DAEMON_PID"]), signal.SIGSTOP)


@pytest.mark.timeout(1)
def test_many_reports_in_one_test(subtests):
    for number in range(30):
        with subtests.test(number=number):
            assert number < 0, "m" * 200_000
