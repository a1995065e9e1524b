"""`threepio status`: what runs, what became of a run. Its plain form does not come here: see `plain.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from threepio_client.cli.options import AsJson, RunReference
from threepio_client.cli.source import open_source
from threepio_client.cli.status_answer import print_status
from threepio_client.views import is_good

EXAMPLE = "Example: threepio status latest --json"


def status(
    run: RunReference = "latest",
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it until it is over or Ctrl-C; without RUN every run that lives.")
    ] = False,
) -> None:
    """Say how a run is. Exit code 0: passed, or running without a failure so far; else 1."""
    if watch and as_json:
        raise typer.BadParameter("--watch and --json do not go together: see threepio events --follow")
    if watch:
        from threepio_client.cli.watch import watch as watch_run  # rich takes time to import

        with open_source() as source:
            is_all_good = all(is_good(view) for view in watch_run(source, run))
    else:
        is_all_good = print_status(run, as_json)
    if not is_all_good:
        raise typer.Exit(1)
