"""`threepio failures`: what failed, and why."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from threepio_client.cli.options import AsJson, RunReference
from threepio_client.cli.output import say
from threepio_client.cli.source import open_source
from threepio_client.cli.text import FAILURES_SHOWN, failure_lines
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio failures latest --all"


def failures(
    run: RunReference = "latest",
    as_json: AsJson = False,
    show_all: Annotated[bool, typer.Option("--all", help="List every failure.")] = False,
) -> None:
    """List what failed in a run, with message and place. Exit code 0 if nothing did, else 1."""
    with open_source() as source:
        answer = source.failures(run)
    view, found = answer["status"], answer["failures"]
    if as_json:
        head = {"schema_version": VIEW_VERSION, "run_id": view["run_id"], "state": view["state"]}
        say(json.dumps({**head, "failures": found}, indent=2))
    else:
        what = f"{len(found)} failures" if len(found) != 1 else "1 failure"
        say(f"run {view['run_id']}: {view['state']}, {what if found else 'nothing failed'}")
        for line in failure_lines(found, len(found) if show_all else FAILURES_SHOWN):
            say(line)
        if len(found) > FAILURES_SHOWN and not show_all:
            say(f"  all of them: threepio failures {view['run_id']} --all")
    if found:
        raise typer.Exit(1)
