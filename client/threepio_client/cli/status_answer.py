"""The answer of `threepio status`, for the command and for its plain form; not here: typer, `--watch`."""

from __future__ import annotations

from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.cli.text import status_lines
from threepio_client.views import is_good


def print_status(reference: str, as_json: bool) -> bool:
    """Print how a run is; return whether that is good.

    Raises:
        NoSuchRun: there is no such run, or several.
    """
    with open_source() as source:
        view = source.status(reference)
        if as_json:
            say_json(view)
        else:
            for line in status_lines(view):
                say(line)
    return is_good(view)
