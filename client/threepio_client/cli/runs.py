"""`threepio runs`: the newest runs."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from threepio_client.cli.options import AsJson
from threepio_client.cli.output import one_line, say
from threepio_client.cli.source import open_source
from threepio_client.cli.text import counts_text, duration
from threepio_client.runfiles import NO_RUNS
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio runs --limit 5"


def runs(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, the latest first.")] = 20,
) -> None:
    """List the newest runs, the latest first."""
    with open_source() as source:
        rows = source.runs(limit)
    if as_json:
        say(json.dumps({"schema_version": VIEW_VERSION, "runs": rows}, indent=2))
        return
    if not rows:
        say(NO_RUNS, to_stderr=True)
    width = max((len(row["run_id"]) for row in rows), default=0)
    for row in rows:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["started"])) if row["started"] else "?"
        line = (
            f"{row['run_id']:{width}}  {started}  {row['state']:<11}  {duration(row['duration_s']):>12}  "
            f"{counts_text(row['counts'])}  {row['rootdir']}"
        )
        say(one_line(line))
