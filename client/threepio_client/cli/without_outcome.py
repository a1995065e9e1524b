"""What is known of a test that has no outcome in a run: in flight, or died in, or only collected."""

from __future__ import annotations

from typing import Any

from threepio_client import answers
from threepio_client.archive import Archive
from threepio_client.nowpage import TEXT_LIMIT
from threepio_client.results import collected
from threepio_client.runstate import LIVE_STATES, manner_of_death
from threepio_client.wording import duration


def without_outcome(archive: Archive, view: dict[str, Any], nodeid: str) -> answers.WithoutOutcome | None:
    """Return what a run, of which `view` is the status answer, knows of such a test; None if it does not know it."""
    is_live = view["state"] in LIVE_STATES
    for slot in view["in_flight"]:
        if is_of(slot, nodeid):
            how = "in-flight" if is_live else "died"
            return {"how": how, "phase": slot["phase"], "elapsed_s": slot["elapsed_s"], "worker": slot["worker"]}
    for death in view["worker_deaths"]:
        if death["nodeid"] == nodeid:
            return {"how": "died", "phase": death["phase"], "elapsed_s": None, "worker": death["worker"]}
    if any(name == nodeid for name in collected(archive, view["run_id"])):
        how = "waiting" if is_live else "never-ran"
        return {"how": how, "phase": None, "elapsed_s": None, "worker": None}
    return None


def is_of(slot: dict[str, Any], nodeid: str) -> bool:
    """Return whether this entry of `in_flight` is about the test: the now page cuts off the end of a long name."""
    name = slot["nodeid"]
    return bool(name == nodeid or (is_cut(slot) and nodeid.startswith(name)))


def is_cut(slot: dict[str, Any]) -> bool:
    """Return whether an entry of `in_flight` may have the beginning of a name only."""
    return len(slot["nodeid"].encode("utf-8", "backslashreplace")) > TEXT_LIMIT - 4  # a character may be cut off whole


def words_of(found: answers.WithoutOutcome, view: dict[str, Any]) -> str:
    """Return it in words, as a part of a sentence."""
    how, worker = found["how"], found["worker"]
    if how == "in-flight":
        place = f" on {worker}" if worker else ""
        return f"in flight in {found['phase']} for {duration(found['elapsed_s'] or 0.0)}{place}"
    if how == "waiting":
        return "collected, no outcome yet"
    if how == "never-ran":
        return "collected, was not to run" if view["verdict"]["kind"] == "collect-only" else "collected, never ran"
    death = next((one for one in view["worker_deaths"] if one["worker"] == worker), None)
    who = f"worker {worker}" if death is not None else "the process"
    if death is None and view["death"] is None and view["verdict"]["kind"] in {"user", "exit"}:
        return f"in flight in {found['phase'] or 'an unknown phase'} when the run was stopped"
    end = death or view["death"] or {"exit_code": None, "signal": None, "out_of_memory": False}
    manner = manner_of_death(end["exit_code"], end["signal"], end["out_of_memory"])
    return f"in flight in {found['phase'] or 'an unknown phase'} when {who} {manner}"
