"""The answer of `threepio status`, for the command and for its plain form; not here: typer, `--watch`."""

from __future__ import annotations

import os
from typing import Any

from threepio_client.cli.output import one_line, say, say_json
from threepio_client.cli.source import open_source
from threepio_client.cli.text import clock_time, status_lines
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
            first, *others = status_lines(view)
            said = _elsewhere(view) if reference == "latest" else ""
            for line in (first, *([said] if said else []), *others):
                say(line)
    return is_good(view)


def _elsewhere(view: dict[str, Any]) -> str:
    """Return a line that says where and when the latest run was, if that was not here; else an empty text."""
    rootdir = view["rootdir"]
    try:
        here, there = os.getcwd() + os.sep, os.path.realpath(rootdir) + os.sep
    except (OSError, ValueError, TypeError):
        return ""
    if not rootdir or here.startswith(there) or there.startswith(here):
        return ""
    return one_line(f"  of another directory: {rootdir}, begun {clock_time(view['started'])}")
