import os
import signal
import unittest

import pytest

TIMEOUT = float(os.environ["SUITE_TIMEOUT"])


def test_stops_the_daemon():
    if "DAEMON_PID" in os.environ:
        os.kill(int(os.environ["DAEMON_PID"]), signal.SIGSTOP)


@pytest.mark.timeout(TIMEOUT)
def test_many_reports_in_one_test(subtests):
    # A failure would end the timer.
    for number in range(40):
        with subtests.test(number=number):
            pytest.skip("s" * 60_000)


class TestUnit(unittest.TestCase):
    @pytest.mark.timeout(TIMEOUT)
    def test_many(self):
        for number in range(40):
            with self.subTest(number=number):
                self.skipTest("s" * 60_000)
