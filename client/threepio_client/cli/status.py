"""`threepio status`: what runs, what became of a run."""

from __future__ import annotations

import json

import typer

from threepio_client.cli.options import AsJson, RunReference
from threepio_client.cli.output import say
from threepio_client.cli.source import open_source
from threepio_client.cli.text import status_lines
from threepio_client.views import is_good

EXAMPLE = "Example: threepio status latest --json"


def status(run: RunReference = "latest", as_json: AsJson = False) -> None:
    """Say how a run is. Exit code 0: passed, or running without a failure so far; else 1."""
    with open_source() as source:
        view = source.status(run)
    say(json.dumps(view, indent=2) if as_json else "\n".join(status_lines(view)))
    if not is_good(view):
        raise typer.Exit(1)
