"""The answer of `threepio status`, for the command and for its plain form; not here: typer, `--watch`."""

from __future__ import annotations

from typing import Any

from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.views import is_good
from threepio_client.wording import elsewhere, status_lines


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
            for line in answer_lines(view, reference):
                say(line)
    return is_good(view)


def answer_lines(view: dict[str, Any], reference: str) -> list[str]:
    """Return the lines of `threepio status` for a run that was asked for by this reference."""
    first, *others = status_lines(view)
    said = elsewhere(view["rootdir"], view["started"]) if reference == "latest" else ""
    return [first, *([f"  {said}"] if said else []), *others]
