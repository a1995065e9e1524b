"""What is known of a run from outside its own journal: observations, and the now page of a process that is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from threepio_client import nowpage
from threepio_client.journal import records
from threepio_client.line import Event
from threepio_client.paths import StateDir
from threepio_client.runstate import RunState


def now_page(state_dir: StateDir, run_id: str) -> nowpage.Page:
    """Return what the run's now page says; nothing at all, which is not the whole of it, if there is none."""
    try:
        return nowpage.read(state_dir.now_page(run_id))
    except OSError:
        return nowpage.Page(0, [], whole=False)


def last_seen(state_dir: StateDir, state: RunState, run_id: str) -> list[nowpage.InFlight] | None:
    """Return what was in flight when a run's process ended; None where that is not known.

    After a power cut the page may be newer than what is left of the journal: "not known" beats a wrong name.
    """
    page = now_page(state_dir, run_id)
    return page.slots if page.whole and all(slot.seq <= state.seq for slot in page.slots) else None


def gone_payload(state: RunState, slots: list[nowpage.InFlight] | None) -> dict[str, Any]:
    """Return the payload of the observation that a run's process is gone; of `inFlight` null where it is not known."""
    return {"pid": state.pid, "inFlight": None if slots is None else nowpage.told(slots)}


def observations(path: Path, offset: int = 0) -> list[tuple[Event, int]]:
    """Return (what it says, byte offset behind it) of the good lines of an observation file from `offset`.

    Empty if there is no file that can be read and is ours.
    """
    try:
        return [(record.event, record.end) for record in records(path, offset) if record.event is not None]
    except OSError:
        return []
