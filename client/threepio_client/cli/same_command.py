"""The other runs of a command that begins several, as tox and make do: `NAME`, `NAME-2` ..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from threepio_client.cli.output import say
from threepio_client.printable import one_line
from threepio_client.views import is_good

if TYPE_CHECKING:
    from threepio_client.cli.source import Source

SHOWN: Final = 5


def runs_of_command(source: Source, view: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the status answers of the runs that one command of `threepio run` began, the first one first.

    Those that tests of its runs started are left out: what these are worth, their tests know.

    Args:
        source: where to ask.
        view: the answer of one of them, which is among those returned; the others are among the newest SOUGHT runs.
    """
    if not view["command_id"]:
        return [view]
    run_ids = source.newest_of_command(view["command_id"])
    if view["run_id"] not in run_ids:
        run_ids.append(view["run_id"])
    found = [view if run_id == view["run_id"] else source.status(run_id) for run_id in reversed(run_ids)]
    return [one for one in found if one is view or one["parent_run_id"] not in run_ids]


def say_bad_others(source: Source, view: dict[str, Any]) -> bool:
    """Say on stderr if another run of the command is bad: the answer about this one must not be taken for all of it.

    Returns:
        Whether one is.
    """
    runs = runs_of_command(source, view)
    is_one_bad = any(not is_good(run) for run in runs if run["run_id"] != view["run_id"])
    if is_one_bad:
        say(f"threepio: {others_line(view, runs)}", to_stderr=True)
    return is_one_bad


def others_line(view: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Return what became of the command's other runs, the bad ones first; empty if there are none."""
    others = sorted((run for run in runs if run["run_id"] != view["run_id"]), key=is_good)
    if not others:
        return ""
    said = ", ".join(f"{run['run_id']} {run['state']}" for run in others[:SHOWN])
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    see = "" if is_good(others[0]) else f"; see threepio status {others[0]['run_id']}"
    return one_line(f"its command has other runs: {said}{more}{see}")
