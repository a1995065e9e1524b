"""A run that passed and whose process has yet to end: with what code, it tells last of all."""

from __future__ import annotations

import time
from typing import Any, Final

from threepio_client.nowpage import End
from threepio_client.observed import now_page
from threepio_client.paths import StateDir
from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.runstate import State

ENDING_S: Final = 2.0
"""How long the end of such a process is waited for where nobody says whether it is to come: it may live on, as a
notebook's does."""


def may_end_otherwise(view: dict[str, Any]) -> bool:
    """Return whether a status answer says that a run passed, just now, and its process is still there."""
    return _is_new(view) and _has_process(view)


def has_yet_to_end(state_dir: StateDir, view: dict[str, Any]) -> bool:
    """Return whether a status answer says that a run passed, and its runner goes on: a summary may take minutes."""
    if not _has_process(view):
        return False
    end = now_page(state_dir, view["run_id"]).end
    return end is End.TO_COME or (end is End.UNKNOWN and _is_new(view))


def _is_new(view: dict[str, Any]) -> bool:
    return bool(time.time() - view["started"] - view["duration_s"] < ENDING_S)


def _has_process(view: dict[str, Any]) -> bool:
    if view["state"] != State.PASSED:
        return False
    identity = ProcessIdentity.from_payload(view["process"])
    return identity is not None and identity.liveness() is Liveness.ALIVE
