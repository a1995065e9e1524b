"""The other runs of a command that begins several, as tox and make do: `NAME`, `NAME-2` ..."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from threepio_client.errors import NoSuchRun
from threepio_client.paths import numbered
from threepio_client.printable import one_line
from threepio_client.views import is_good

if TYPE_CHECKING:
    from threepio_client.cli.source import Source

SHOWN: Final = 5


def runs_of_command(source: Source, view: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the status answers of the runs that one command of `threepio run` began, the first one first.

    Args:
        source: where to ask.
        view: the answer of one of them, which is among those returned.
    """
    run_id, found = view["run_id"], [view]
    if not view["command_id"]:
        return found
    # It may be the first one, whose id is the command's, or a later one; others have the ids next to its own.
    own = re.fullmatch(r"(.+)-([1-9][0-9]*)", run_id)
    if own is not None and int(own[2]) > 1:
        name, number = own[1], int(own[2])
        found = [*reversed([*_following(source, view, name, number, -1)]), *found]
        found += _following(source, view, name, number, 1)
    if found == [view]:
        found += _following(source, view, run_id, 1, 1)
    return found


def _following(source: Source, view: dict[str, Any], name: str, number: int, step: int) -> Iterator[dict[str, Any]]:
    """Yield the answers of the command's runs whose numbers come after this one, or before it, until one is none of it."""
    while (number := number + step) > 0:
        try:
            other = source.status(numbered(name, number))
        except NoSuchRun:
            return
        if other["run_id"] != numbered(name, number) or other["command_id"] != view["command_id"]:
            return
        yield other


def others_line(view: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Return what became of the command's other runs, the bad ones first; empty if there are none."""
    others = sorted((run for run in runs if run["run_id"] != view["run_id"]), key=is_good)
    if not others:
        return ""
    said = ", ".join(f"{run['run_id']} {run['state']}" for run in others[:SHOWN])
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    see = "" if is_good(others[0]) else f"; see threepio status {others[0]['run_id']}"
    return one_line(f"its command has other runs: {said}{more}{see}")
