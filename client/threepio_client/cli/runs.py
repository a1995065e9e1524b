"""`threepio runs`: the newest runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, cast

import typer

from threepio_client import answers
from threepio_client.cli.options import AsJson
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import MOST, open_source
from threepio_client.errors import SettingsError
from threepio_client.printable import one_line
from threepio_client.runfiles import NO_RUNS
from threepio_client.runstate import State
from threepio_client.views import VIEW_VERSION
from threepio_client.wording import clock_time, counts_text, duration

EXAMPLE = "Example: threepio runs --project . --state failed --limit 5"


def runs(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST, help="How many, the latest first.")] = 20,
    project: Annotated[
        str, typer.Option(metavar="DIR", help="Only runs whose rootdir is this directory or below it.")
    ] = "",
    branch: Annotated[str, typer.Option(help="Only runs of this branch.")] = "",
    state: Annotated[State | None, typer.Option(help="Only runs in this state.")] = None,
) -> None:
    """List the newest runs, the latest first."""
    top = _real(project) if project else ""
    with open_source() as source:
        rows = [
            row
            for row in source.runs(MOST if top or branch or state else limit + 1)
            if (not top or Path(_real(row["rootdir"])).is_relative_to(top))
            and branch in ("", row["branch"])
            and state in (None, row["state"])
        ]
        is_empty = not rows and not source.runs(1)
    rows, has_more = rows[:limit], len(rows) > limit
    if as_json:
        answer: answers.Runs = {"schema_version": VIEW_VERSION, "runs": cast(list[answers.RunRow], rows)}
        say_json(answer)
        return
    if not rows:
        say(NO_RUNS if is_empty else "no run is like that: threepio runs lists all", to_stderr=True)
    width = max((len(row["run_id"]) for row in rows), default=0)
    for row in rows:
        started = clock_time(row["started"]) if row["started"] else "?"
        line = (
            f"{row['run_id']:{width}}  {started}  {row['state']:<11}  {duration(row['duration_s']):>12}  "
            f"{counts_text(row['counts'])}  {row['rootdir']}" + (f" ({row['branch']})" if row["branch"] else "")
        )
        say(one_line(line))
    if has_more:
        say(f"there are more runs than these {limit}: --limit shows them", to_stderr=True)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL in it: nothing is named so
        return path
    except OSError as error:  # relative, in a directory that is gone
        raise SettingsError(f"{path} cannot be found: {error.strerror}. Name the whole path") from error
