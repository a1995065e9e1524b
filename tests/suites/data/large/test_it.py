import os
import sys

import pytest

MESSAGE = int(os.environ["MESSAGE_BYTES"])
PRINTED = int(os.environ["PRINTED_BYTES"])


def test_message():
    pytest.fail("m" * MESSAGE, pytrace=False)


def test_prints():
    line = "p" * 1023
    for _ in range(PRINTED // 1024):
        print(line)


def test_prints_and_fails():
    line = "q" * 1023
    for _ in range(PRINTED // 16 // 1024):
        print(line, file=sys.stderr)
    raise AssertionError("after printing")


def test_after():
    pass
