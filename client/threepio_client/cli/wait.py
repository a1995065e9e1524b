"""`threepio wait`: until a run is over, or until something failed."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from threepio_client.cli.beginning import Beginning, coming_or_latest
from threepio_client.cli.ending import has_yet_to_end
from threepio_client.cli.options import AsJson, RunReference, length_of_time
from threepio_client.cli.output import say
from threepio_client.cli.same_command import runs_of_command
from threepio_client.cli.source import Source, open_source
from threepio_client.cli.status_answer import print_answer
from threepio_client.errors import NoSuchRun
from threepio_client.outputs import writer_of
from threepio_client.runstate import LIVE_STATES
from threepio_client.settings import RUN_ID
from threepio_client.views import has_failures, is_good
from threepio_client.wording import elsewhere

EXAMPLE = "Example: threepio wait --until first-failure --max 1m"
STILL_RUNNING: Final = 3
POLL_S: Final = 0.2
LOOK_S: Final = 1.0
"""How long a command that begins a run is looked for, where the latest run is over: one that was started just now."""


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
    Without RUN it is the one that a command of `threepio run` is about to begin, else the latest one at the moment. With
    the run of such a command the wait is for all its runs, until the command has ended.
    """
    if not RUN_ID.fullmatch(run):
        raise typer.BadParameter(f"{run!r} can be no run id", param_hint="RUN")
    deadline, asked, is_unsaid = time.monotonic() + longest, run, run == "latest"
    with open_source() as source:
        if run == "latest":
            run = coming_or_latest(source, min(deadline, time.monotonic() + LOOK_S))
        beginning = Beginning(source.state_dir, run, deadline)
        while True:
            try:
                view = _status(source, run)
            except NoSuchRun as error:
                if run == "latest":
                    raise
                beginning.look(error)
            else:
                if is_unsaid:
                    _say_where(view)
                is_unsaid, run = False, view["run_id"]  # a run that begins meanwhile is another one
                runs, goes_on = _runs_now(source, view)
                failed_first = until is Until.FIRST_FAILURE and any(map(has_failures, runs))
                ends = any(has_yet_to_end(source.state_dir, one) for one in runs)
                if not (goes_on or ends) or failed_first or time.monotonic() >= deadline:
                    break
            time.sleep(min(POLL_S, max(deadline - time.monotonic(), 0.0)))
        source.say_newer()
        if asked == "latest":
            source.say_what_came_later(view["started"])
    print_answer(view, asked, as_json, runs)
    if (goes_on or ends) and not failed_first:
        if view["state"] not in LIVE_STATES:
            what = "its command goes on" if goes_on else "pytest has yet to say with what code it ends"
            say(f"threepio: it is over, and {what}", to_stderr=True)
        raise typer.Exit(STILL_RUNNING)
    if not all(map(is_good, runs)):
        raise typer.Exit(1)


def _status(source: Source, run: str) -> dict[str, Any]:
    """Return the status answer of a run; raises NoSuchRun where it is the beginning of an id of one that is over, too."""
    view = source.status(run)
    if view["run_id"] != run != "latest" and view["state"] not in LIVE_STATES:
        raise NoSuchRun(f"no run is named {run!r}; {view['run_id']} begins with it, and is over")
    return view


def _say_where(view: dict[str, Any]) -> None:
    """Say where a run is that goes on, if that is not here: the answer says it, too, when there is one."""
    where = elsewhere(view["rootdir"], view["started"])
    if where and view["state"] in LIVE_STATES:
        say(f"threepio: run {view['run_id']} is {where}", to_stderr=True)


def _runs_now(source: Source, view: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """Return the answers of all runs of a run's command, and whether that or one of them goes on."""
    runs = runs_of_command(source, view)
    # A command that goes on may begin more of them.
    if writer_of(source.state_dir.output(runs[0]["run_id"])) is not None:
        return runs, True
    runs = runs_of_command(source, view)  # one may have begun after the question and before the end
    return runs, any(one["state"] in LIVE_STATES for one in runs)
