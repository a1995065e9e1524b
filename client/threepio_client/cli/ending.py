"""A run that passed and whose process has yet to end: with what code, it tells last of all."""

from __future__ import annotations

import time
from typing import Any, Final

from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.runstate import State

ENDING_S: Final = 2.0
"""How long the end of such a process is waited for. It may also be one that lives on, as a notebook's."""


def may_end_otherwise(view: dict[str, Any]) -> bool:
    """Return whether a status answer says that a run passed, just now, and its process is still there."""
    if view["state"] != State.PASSED or time.time() - view["started"] - view["duration_s"] >= ENDING_S:
        return False
    identity = ProcessIdentity.from_payload(view["process"])
    return identity is not None and identity.liveness() is Liveness.ALIVE
