"""`threepio failures`: what failed, and why."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final, cast

import typer

from threepio_client import answers
from threepio_client.causes import Cause, fingerprint, group, message_of
from threepio_client.cli.completion import run_references
from threepio_client.cli.failure_text import cause_lines
from threepio_client.cli.options import AsJson, Budget, RunReference, check_budget
from threepio_client.cli.output import say, say_json
from threepio_client.cli.same_command import say_bad_others
from threepio_client.cli.source import Source, open_source
from threepio_client.line import plain_text
from threepio_client.printable import BYTES_PER_TOKEN, number_of
from threepio_client.runstate import LIVE_STATES, State
from threepio_client.views import VIEW_VERSION
from threepio_client.wording import failure_lines

EXAMPLE = "Example: threepio failures latest --budget 2000"
FAILURES_SHOWN: Final = 20


def failures(
    run: RunReference = "latest",
    as_json: AsJson = False,
    show_all: Annotated[bool, typer.Option("--all", help="List every failure, not only every cause.")] = False,
    budget: Budget = None,
    keyword: Annotated[
        str, typer.Option("-k", metavar="TEXT", parser=plain_text, help="Only node ids that contain this.")
    ] = "",
    file: Annotated[
        str, typer.Option(metavar="PATH", parser=plain_text, help="Only tests of this file or directory.")
    ] = "",
    cause: Annotated[
        str, typer.Option(metavar="ID|FILE:LINE", help="Only this cause: the number in brackets, or the file and line.")
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            metavar="RUN", parser=plain_text, autocompletion=run_references, help="Only what did not fail in that run."
        ),
    ] = "",
) -> None:
    """Say what failed in a run and why, grouped by cause. Exit code 0 if nothing did, else 1."""
    check_budget(budget, as_json)
    with open_source() as source:
        answer = source.failures(run)
        before = _names(source, since) if since else frozenset()
        view = answer["status"]
        say_bad_others(source, view)
    place = _below(view["rootdir"], file)
    found = [
        failure
        for failure in answer["failures"]
        if keyword in failure["nodeid"]
        and _is_in(failure["nodeid"], place)
        and _is_of(failure["error"], cause.strip("[]"))
        and failure["nodeid"] not in before
    ]
    causes = group(found)
    if as_json:
        say_json(_answer(view, causes, found))
    else:
        head_line = f"run {view['run_id']}: {view['state']}, {_counted(found, causes, len(answer['failures']))}"
        if not answer["failures"] and view["state"] not in LIVE_STATES and view["state"] != State.PASSED:
            head_line += f"; {view['verdict']['text']}"
        say(head_line)
        if show_all or (cause and budget is None):
            for line in failure_lines(found, len(found) if show_all else FAILURES_SHOWN):
                say(line)
        else:
            room = None if budget is None else max(budget - len(head_line) // BYTES_PER_TOKEN - 1, 1)
            for line in cause_lines(causes, view["rootdir"], run_id=view["run_id"], budget=room):
                say(line)
    if found:
        raise typer.Exit(1)


def _answer(view: dict[str, Any], causes: list[Cause], found: list[dict[str, Any]]) -> answers.Failures:
    cause_of = {failure["seq"]: item.fingerprint for item in causes for failure in item.failures}
    listed: list[answers.Failure] = [
        {**cast(answers.BadResult, failure), "cause": cause_of[failure["seq"]]} for failure in found
    ]
    return {
        "schema_version": VIEW_VERSION,
        "run_id": view["run_id"],
        "state": view["state"],
        "causes": [_row(item) for item in causes],
        "failures": listed,
    }


def _names(source: Source, reference: str) -> frozenset[str]:
    return frozenset(failure["nodeid"] for failure in source.failures(reference)["failures"])


def _below(rootdir: str, path: str) -> str:
    """Return a path as node ids have it: relative to the rootdir, if it is given in another way and is there."""
    if not path:
        return ""
    try:
        found, top = os.path.realpath(path), os.path.realpath(rootdir)
    except (OSError, ValueError):  # the working directory is gone, or there is a NUL in it
        return path
    is_there = os.path.exists(found) and not os.path.exists(os.path.join(rootdir, path))
    is_from_here = os.path.isabs(path) or path.split("/", 1)[0] in {".", ".."}
    if not rootdir or not (is_there or is_from_here):
        return path
    below = os.path.relpath(found, top)
    return "" if below == "." else below


def _is_in(nodeid: str, place: str) -> bool:
    file = nodeid.partition("::")[0]
    return not place or file == place or file.startswith(place.rstrip("/") + "/")


def _is_of(error: dict[str, Any], cause: str) -> bool:
    if ":" in cause:
        return f"/{error.get('location', '')}".endswith(f"/{cause}")
    return fingerprint(error).startswith(cause)


def _row(cause: Cause) -> answers.Cause:
    return {
        "cause": cause.fingerprint,
        "count": cause.count,
        "error_type": cause.error_type,
        "message": message_of(cause.example["error"]),
        "location": cause.place or None,
        "example": cause.example["nodeid"],
    }


def _counted(found: list[dict[str, Any]], causes: list[Cause], of: int) -> str:
    if not found:
        return "nothing failed" if not of else f"none of its {of} failures is like that"
    what = number_of(len(found), "failure") + (f" of {of}" if len(found) < of else "")
    return f"{what}, {number_of(len(causes), 'cause')}"
