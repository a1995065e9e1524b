"""Status and failures as a few lines of text: few words when green, faithful when red."""

from __future__ import annotations

import time
from typing import Any, Final

from threepio_client.faulttrace import deepest
from threepio_client.here import Here, current
from threepio_client.printable import number_of, one_line
from threepio_client.runstate import COUNTS, LIVE_STATES, manner_of_death, place_of_death
from threepio_client.views import has_failures

IN_FLIGHT_SHOWN: Final = 3
DEATHS_SHOWN: Final = 2
WORTH_SAYING_MS: Final = 20.0
"""Time blocked that is more than the scheduler's doing."""
_EVENTS: Final = {
    "spilled": "spilled",
    "unjournaled": "unjournaled",
    "conflicts": "conflicts",
    "lost": "lost",
    "unreadable": "unreadable",
    "torn_bytes": "bytes torn",
}
"""What of a run's events is worth a word where it is not zero."""
MESSAGE_SHOWN: Final = 200
"""Characters of a failure's message in a list."""


def status_lines(view: dict[str, Any]) -> list[str]:
    """Return the lines of `threepio status`, fifteen at most."""
    run_id, state, verdict = view["run_id"], view["state"], view["verdict"]
    text = verdict["text"]
    lines = [f"run {run_id}: {state}" + (f" - {text}" if text != state else "")]
    if view["collected"] is None:
        progress = f"finished so far: {view['finished']}; collection is not over"
    else:
        progress = f"{view['finished']} of {view['collected']} tests finished"
    lines.append(f"  {progress} in {duration(view['duration_s'])}: {counts_text(view['counts']) or 'nothing counted'}")
    slots = view["in_flight"]
    is_live = state in LIVE_STATES
    if len(slots) == 1 and not is_live:
        slots = []  # the verdict names it
    verb = "in flight" if is_live else "was in flight"
    for slot in slots[:IN_FLIGHT_SHOWN]:
        worker = f" on {slot['worker']}" if slot["worker"] else ""
        name = slot["nodeid"] or "the session"
        lines.append(f"  {verb}: {name} ({slot['phase']}, for {duration(slot['elapsed_s'])}){worker}")
    if len(slots) > IN_FLIGHT_SHOWN:
        lines.append(f"  and {len(slots) - IN_FLIGHT_SHOWN} more in flight")
    lines += _death_lines(view)
    if view["never_ran"]:
        lines.append(f"  never ran: {number_of(view['never_ran'], 'test')}, see them: threepio never-ran {run_id}")
    if view["flaky"]:
        lines.append(f"  flaky: {number_of(view['flaky'], 'test')} passed only after another attempt")
    if view["git"].get("changed_during_run"):
        lines.append("  the checkout was changed during the run")
    events = view["events"]
    parts = [f"{events['journaled']} journaled", f"{events['received']} received", f"{events['stored']} stored"]
    parts += [f"{events[name]} {_EVENTS[name]}" for name in _EVENTS if events.get(name)]
    if view["write_failures"]:
        parts.append(number_of(view["write_failures"], "write failure"))
    if view["blocked_ms"] >= WORTH_SAYING_MS:
        parts.append(f"blocked for {duration(view['blocked_ms'] / 1000)}")
    lines.append(f"  events: {', '.join(parts)} (asked the {view['source']})")
    if view["last_error"]:
        lines.append(
            f"  last error, {clock_time(view['last_error']['time'])}: {first_line(view['last_error']['text'])}"
        )
    if has_failures(view):
        again = "so far: threepio rerun --failed" if is_live else "or never ran: threepio rerun"
        lines.append(f"  see why: threepio failures {run_id}; again what failed {again} {run_id}")
    elif view["never_ran"] and not is_live:
        lines.append(f"  again what never ran: threepio rerun {run_id}")
    return [one_line(line) for line in lines]


def _death_lines(view: dict[str, Any]) -> list[str]:
    lines = []
    for found in view["worker_deaths"][:DEATHS_SHOWN]:
        how = manner_of_death(found["exit_code"], found["signal"], found["out_of_memory"])
        where = place_of_death([found] if found["phase"] else None)
        lines.append(f"  worker {found['worker']} {how}{where}")
    if view["workers_died"] > DEATHS_SHOWN:
        lines[-1] += f"; {number_of(view['workers_died'] - DEATHS_SHOWN, 'more worker')} died"
    return [*lines, *last_words(view)]


def last_words(view: dict[str, Any]) -> list[str]:
    """Return a line with what a process that died said of itself, if it did."""
    trace = (view["death"] or {}).get("trace")
    if not trace:
        return []
    return [f"  its own last words: {first_line(trace)}" + (f", {at}" if (at := deepest(trace)) else "")]


def kind_of(failure: dict[str, Any]) -> str:
    """Return what a failure is: `FAIL`, `ERROR in setup`."""
    return f"{failure['status']}" + ("" if failure["phase"] == "call" else f" in {failure['phase']}")


def failure_lines(failures: list[dict[str, Any]], shown: int) -> list[str]:
    """Return a line or two for each of the first failures."""
    lines = []
    for failure in failures[:shown]:
        error = failure["error"]
        subtest = " [subtest]" if failure["subtest"] else ""
        message = first_line(str(error.get("message", "")))
        lines.append(f"  {kind_of(failure)}{subtest} {failure['nodeid']}")
        where = f" ({error['location']})" if error.get("location") else ""
        if message or where:
            lines.append(f"      {message}{where}")
    if len(failures) > shown:
        lines.append(f"  and {len(failures) - shown} more (--all)")
    return [one_line(line) for line in lines]


def counts_text(counts: dict[str, int]) -> str:
    """Return the counts that are not zero."""
    return ", ".join(f"{counts[name]} {_label(name, counts[name])}" for name in COUNTS if counts[name])


def _label(name: str, count: int) -> str:
    label = name.replace("_", " ")
    return label.removesuffix("s") if count == 1 and name in {"errors", "warnings"} else label


def duration(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def length(seconds: float) -> str:
    """Return how long ago something was, for people: `5 min`, `3 h`, `2 days`."""
    for size, unit in ((86_400, "day"), (3_600, "h"), (60, "min")):
        if (count := int(seconds // size)) and (count > 1 or unit != "day"):
            return f"{count} {unit}" + ("s" if unit == "day" else "")
    return f"{seconds:.0f} s"


def clock_time(seconds: float) -> str:
    """Return the local date and time of seconds since the epoch."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def elsewhere(rootdir: object, started: float) -> str:
    """Return where and when the latest run was, if that was not here; else an empty text."""
    here = current()  # nothing is known to be near to one that was removed
    if not rootdir or not isinstance(rootdir, str) or (here and Here(here).is_near(rootdir)):
        return ""
    return one_line(f"of another directory: {rootdir}, begun {clock_time(started)}")


def first_line(text: str) -> str:
    """Return the first line that says something, cut to MESSAGE_SHOWN characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= MESSAGE_SHOWN else line[: MESSAGE_SHOWN - 3] + "..."


def relative(place: str, rootdir: str) -> str:
    """Return a place relative to the rootdir if it is below it."""
    return place.removeprefix(rootdir.rstrip("/") + "/") if rootdir else place
