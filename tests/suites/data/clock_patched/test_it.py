import time

import pytest


def raises(*arguments):
    raise RuntimeError("no time today")


VALUES = {"constant": lambda: 0.0, "raising": raises, "a string": lambda: "now", "backwards": lambda: -1e18}


@pytest.mark.parametrize("name", ["time", "time_ns", "monotonic", "perf_counter", "clock_gettime", "sleep"])
@pytest.mark.parametrize("value", VALUES)
def test_patched(monkeypatch, name, value):
    monkeypatch.setattr(time, name, VALUES[value])


@pytest.mark.parametrize("value", VALUES)
def test_patched_for_good(value):
    time.time = VALUES[value]


def test_after():
    pass
