"""Other runs that go on: the latest run may be a short one that was begun after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threepio_client.printable import one_line

if TYPE_CHECKING:
    from threepio_client.cli.source import Source


def also_live(source: Source, view: dict[str, Any]) -> list[str]:
    """Return a line for each run that goes on, but for this one and those of its command.

    Args:
        source: where to ask.
        view: the status answer of a run.
    """
    return [
        one_line(f"also: run {row['run_id']} is {row['state']}{_progress(row)}: threepio status {row['run_id']}")
        for row in source.live_runs()
        if row["run_id"] != view["run_id"] and (not view["command_id"] or row["command_id"] != view["command_id"])
    ]


def _progress(row: dict[str, Any]) -> str:
    of = f"{row['finished']:,} of {row['collected']:,} in " if row["collected"] else ""
    return f" ({of}{row['rootdir']})" if row["rootdir"] else ""
