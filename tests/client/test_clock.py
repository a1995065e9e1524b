"""The clock: real time, never backwards, whatever a test does to `time`."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable

import pytest

from threepio_client import clock

MINUTE = 60.0


def test_the_wall_clock_is_right() -> None:
    assert abs(clock.wall() - time.time()) < MINUTE


@pytest.mark.parametrize("read", [clock.wall, clock.monotonic])
def test_time_never_steps_back(read: Callable[[], float]) -> None:
    times = [read() for _ in range(1000)]

    assert times == sorted(times)
    assert times[-1] > times[0]


@pytest.mark.parametrize("value", [0.0, "a string", None, ZeroDivisionError], ids=str)
def test_a_frozen_or_broken_time_module_does_not_matter(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    real = time.time()

    def patched(*args: object) -> object:
        if value is ZeroDivisionError:
            raise ZeroDivisionError
        return value

    with monkeypatch.context() as patch:
        for name in ("time", "monotonic", "perf_counter", "clock_gettime", "time_ns", "clock_gettime_ns"):
            patch.setattr(time, name, patched)
        patch.setattr(time, "CLOCK_REALTIME", 99)
        patch.setattr(datetime, "datetime", None)
        wall, first, second = clock.wall(), clock.monotonic(), clock.monotonic()

    assert abs(wall - real) < MINUTE
    assert first <= second
