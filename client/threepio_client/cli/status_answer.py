"""The answer of `threepio status`, for the command and for its plain form; not here: typer, `--watch`."""

from __future__ import annotations

import time
from typing import Any, Final

from threepio_client.cli.also_live import also_live
from threepio_client.cli.output import say, say_json
from threepio_client.cli.same_command import others_line, runs_of_command
from threepio_client.cli.source import open_source
from threepio_client.runstate import LIVE_STATES, State
from threepio_client.views import is_good
from threepio_client.wording import elsewhere, length, status_lines

OLD_S: Final = 5.0
"""How old an answer about a run that is over has to be for that to be said."""


def print_status(reference: str, as_json: bool) -> bool:
    """Print how a run is; return whether that is good.

    Raises:
        NoSuchRun: there is no such run, or several.
    """
    with open_source() as source:
        view = source.status(reference)
        print_answer(view, reference, as_json, runs_of_command(source, view))
        if reference == "latest":
            for line in also_live(source, view):
                say(f"threepio: {line}" if as_json else f"  {line}", to_stderr=as_json)
            source.say_newer()
            source.say_what_came_later(view["started"])
    return is_good(view)


def print_answer(view: dict[str, Any], reference: str, as_json: bool, runs: list[dict[str, Any]]) -> None:
    """Print the answer of `threepio status`.

    Args:
        view: of the run.
        reference: by which it was asked for.
        as_json: whether to print JSON.
        runs: answers of all runs of its command.
    """
    others = others_line(view, runs)
    if as_json:
        say_json(view)
        if others:
            say(f"threepio: {others}", to_stderr=True)
        return
    for line in answer_lines(view, reference):
        say(line)
    if others:
        say(f"  {others}")


def answer_lines(view: dict[str, Any], reference: str) -> list[str]:
    """Return the lines of `threepio status` for a run that was asked for by this reference."""
    first, *others = status_lines(view)
    parts = [elsewhere(view["rootdir"], view["started"]) if reference == "latest" else "", _age(view)]
    said = "; ".join(part for part in parts if part)
    return [first, *([f"  {said}"] if said else []), *others]


def _age(view: dict[str, Any]) -> str:
    """Return how long ago a run ended, if that is worth a word: an old answer must not be taken for a new one."""
    age_s = time.time() - view["started"] - view["duration_s"]
    if view["state"] in LIVE_STATES or not view["started"] or age_s < OLD_S:
        return ""
    # When a process died, perhaps nobody saw.
    return f"{'last heard of' if view['state'] == State.CRASHED else 'ended'} {length(age_s)} ago"
