import atexit
import ctypes
import faulthandler
import os
import signal
import sys

import pytest


def stack_overflow():
    faulthandler._stack_overflow()


def out_of_memory():
    eaten = []
    while True:
        eaten.append(b"x" * (1 << 20))


def memory_error():
    raise MemoryError("no more")


HOW = {
    "exit 0": lambda: os._exit(0),
    "exit 3": lambda: os._exit(3),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "SIGABRT": lambda: os.abort(),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "read of address 0": lambda: ctypes.string_at(0),
    "stack overflow": stack_overflow,
    "MemoryError": memory_error,
    "out of memory": out_of_memory,
}


def die(where):
    if os.environ["DIE_WHERE"] == where:
        sys.stdout.flush()
        HOW[os.environ["DIE_HOW"]]()


@pytest.fixture(scope="session")
def session():
    die("session fixture")
    yield
    die("session fixture's teardown")


@pytest.fixture
def own():
    die("fixture")
    yield
    die("teardown")


def pytest_sessionfinish():
    die("session's end")


def pytest_unconfigure():
    die("unconfigure")


atexit.register(die, "exit")
