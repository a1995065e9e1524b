"""Time that a test cannot change.

Tests freeze, patch and replace `time.time`; some tools even replace it inside the interpreter. The boot-time clock is
touched by none of them. It is read once beside the wall clock, so timestamps are real, and they never step backwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

_get: Final = time.clock_gettime
_ID: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
WALL_AT_ZERO: Final = _get(time.CLOCK_REALTIME) - _get(_ID)
"""What `wall` says when `monotonic` says 0: who has read the one needs not read the other."""


monotonic: Final = partial(_get, _ID)
"""Returns seconds that never go back, suspended time included. Not a function of our own: it is called five times a test."""


def wall(_get: Callable[[int], float] = _get, _id: int = _ID, _zero: float = WALL_AT_ZERO) -> float:
    """Return seconds since the epoch: the wall clock as it was when this module was loaded, carried on monotonically."""
    return _zero + _get(_id)
