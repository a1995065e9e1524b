"""`threepio wait`: until a run is over, or until something failed."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from threepio_client.cli.options import AsJson, RunReference, length_of_time
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.cli.status_answer import answer_lines
from threepio_client.errors import NoSuchRun
from threepio_client.runstate import LIVE_STATES
from threepio_client.views import has_failures, is_good
from threepio_client.wording import elsewhere

EXAMPLE = "Example: threepio wait --until first-failure --max 1m"
STILL_RUNNING: Final = 3
POLL_S: Final = 0.2


class Until(StrEnum):
    """What to wait for."""

    DONE = "done"
    FIRST_FAILURE = "first-failure"


def wait(
    run: RunReference = "latest",
    until: Annotated[Until, typer.Option(help="What to wait for; the end ends every wait.")] = Until.DONE,
    longest: Annotated[
        float,
        typer.Option("--max", metavar="TIME", parser=length_of_time, help="How long to wait at most: 30s, 9m, 1h."),
    ] = "9m",  # type: ignore[assignment]  # typer parses the default as it parses what is given
    as_json: AsJson = False,
) -> None:
    """Wait for a run, then print its status. Exit code 0: passed; 1: failed or not complete; 3: still running at --max.

    A run that has not begun yet is waited for, too, where RUN is its id; the beginning of an id means a run that goes on.
    Without RUN it is the latest one at the moment.
    """
    deadline, asked, is_told = time.monotonic() + longest, run, False
    with open_source() as source:
        while True:
            view: dict[str, Any] | None
            try:
                view = source.status(run)
                if view["run_id"] != run != "latest" and view["state"] not in LIVE_STATES:
                    raise NoSuchRun(f"no run is named {run!r}; {view['run_id']} begins with it, and is over")
            except NoSuchRun as error:
                if run == "latest" or time.monotonic() >= deadline:
                    raise
                if not is_told:
                    say(f"threepio: {error}; waiting for one to begin that is named so", to_stderr=True)
                view, is_told = None, True
            if view is not None:
                where = elsewhere(view["rootdir"], view["started"]) if run == "latest" else ""
                if where and view["state"] in LIVE_STATES:  # the answer says it, too, when there is one
                    say(f"threepio: run {view['run_id']} is {where}", to_stderr=True)
                run = view["run_id"]  # a run that begins meanwhile is another one
            if view is not None and (
                view["state"] not in LIVE_STATES or (until is Until.FIRST_FAILURE and has_failures(view))
            ):
                break
            if time.monotonic() >= deadline:
                break
            time.sleep(min(POLL_S, max(deadline - time.monotonic(), 0.0)))
    assert view is not None
    if as_json:
        say_json(view)
    else:
        for line in answer_lines(view, asked):
            say(line)
    if view["state"] in LIVE_STATES and not (until is Until.FIRST_FAILURE and has_failures(view)):
        raise typer.Exit(STILL_RUNNING)
    if not is_good(view):
        raise typer.Exit(1)
