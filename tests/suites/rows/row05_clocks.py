"""Row 5: clocks that lie."""

import time

from tests.suites.checker import Compared
from tests.suites.variant import Variant

DOES = "freezegun, time-machine, `monkeypatch` of `time.time` (constant, raising, a string)"
HOLDS = "real timestamps, monotonic durations"


def check_times(result: Compared) -> None:
    stamps = [event["timestamp"] for event in result.events]
    assert stamps == sorted(stamps), "timestamps step back"
    assert abs(time.time() - stamps[0]) < 300, "timestamps are not those of the real clock"
    for payload in result.of_type("testCase"):
        assert 0 <= payload["duration"] < 60_000, payload
        assert abs(time.time() - payload["started"]) < 300, payload
    assert 0 <= result.status["duration_s"] < 300, result.status["duration_s"]


VARIANTS = [
    Variant(name="freezegun", suite="clock_freezegun", modules=("freezegun",), counts={"passed": 5, "failed": 1},
            arguments=("-p", "no:hypothesispytest"), check=check_times),
    Variant(name="time-machine", suite="clock_time_machine", plugins=("time_machine",), modules=("time_machine",),
            counts={"passed": 5, "failed": 1}, check=check_times),
    Variant(name="monkeypatch", suite="clock_patched", counts={"passed": 29}, check=check_times),
]  # fmt: skip
