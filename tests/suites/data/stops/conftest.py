import os
import signal

import pytest


def interrupt():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a caller may have it ignored
    os.kill(os.getpid(), signal.SIGINT)


def keyboard_interrupt():
    raise KeyboardInterrupt


def system_exit():
    raise SystemExit(9)


HOW = {
    "SIGINT": interrupt,
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "KeyboardInterrupt": keyboard_interrupt,
    "SystemExit": system_exit,
    "exit with 7": lambda: pytest.exit("enough", 7),
    "exit with 0": lambda: pytest.exit("fine", 0),
    "exit": lambda: pytest.exit("no more"),
    "nothing": lambda: None,
}


def stop(where):
    if os.environ.get("STOP_WHERE") == where:
        HOW[os.environ["STOP_HOW"]]()


@pytest.fixture
def stops():
    stop("fixture")
    yield
    stop("teardown")
